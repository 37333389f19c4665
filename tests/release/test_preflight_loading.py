"""Preflight's dynamic part on the real Triton: it loads under a scratch name, answers, in time, and leaves nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import BringUp
from tests.factories import a_release
from tests.release.good_releases import FILES, TARGET, add_to_config, good_files, save_release, save_repository
from tests.release.own_triton import own_triton
from waypost.errors import TritonUnavailable
from waypost.exporter.proving import preflight_directory
from waypost.release import golden, lookups
from waypost.release.golden import Golden
from waypost.release.preflight import ScratchTriton, check_load, sweep_scratch_models
from waypost.release.store import GOLDEN, LOOKUPS, MODEL
from waypost.settings import EmbeddedStack, ExporterSettings, Parts

SIZES = lookups.from_bytes(FILES[LOOKUPS]).sizes
ASKED = golden.from_bytes(FILES[GOLDEN])


@pytest.fixture
def scratch(triton_stack: EmbeddedStack) -> Iterator[ScratchTriton]:
    repository = Path(triton_stack.triton_repository)
    before = sorted(repository.iterdir())
    yield ScratchTriton(triton_stack.triton_url, repository, "python", "cpu", 30)
    assert sorted(repository.iterdir()) == before  # nothing is left


def codes(files: dict[str, bytes], scratch: ScratchTriton, asked: Golden = ASKED) -> list[str]:
    return [finding.code for finding in check_load(files, SIZES, asked, scratch)]


@pytest.mark.parametrize("different", [{}, {"num_tags": 0}, {"num_users": 1, "num_posts": 1}])
def test_a_good_release_has_no_finding(different: dict[str, int], scratch: ScratchTriton) -> None:
    files, _ = good_files(**different)
    sizes, asked = lookups.from_bytes(files[LOOKUPS]).sizes, golden.from_bytes(files[GOLDEN])
    assert check_load(files, sizes, asked, scratch) == []


def test_a_model_that_does_not_load_is_named(scratch: ScratchTriton) -> None:
    assert codes({**FILES, MODEL: FILES[MODEL][:1000]}, scratch) == ["load-failed"]


def test_a_model_that_answers_wrongly_is_named(scratch: ScratchTriton) -> None:
    other, _ = a_release(seed=1)
    assert codes({**FILES, MODEL: other[MODEL]}, scratch) == ["golden-mismatch"]


def test_a_model_that_fails_the_questions_is_named(scratch: ScratchTriton) -> None:
    nobody = {**ASKED.inputs, "user_index": ASKED.inputs["user_index"] + np.int32(99)}
    asked = Golden(nobody, ASKED.post_index, ASKED.score)
    assert codes(FILES, scratch, asked) == ["answer-failed"]


def test_a_model_that_answers_too_late_is_named(triton_stack: EmbeddedStack, scratch: ScratchTriton) -> None:
    hurried = ScratchTriton(scratch.url, scratch.repository, "python", "cpu", 30, golden_seconds=1e-5)
    [finding] = check_load(FILES, SIZES, ASKED, hurried)
    assert finding.code == "golden-slow"
    assert "ms at best" in finding.what


def test_a_load_that_does_not_come_back_is_named(tmp_path: Path, bring_up: BringUp) -> None:
    """The stub needs more than a second to import ONNX Runtime."""
    bring_up("triton")  # skips where it cannot run
    with own_triton(tmp_path) as triton:
        impatient = ScratchTriton(triton.url, triton.models, "python", "cpu", 0.7)
        assert codes(FILES, impatient) == ["load-hung"]


def test_without_a_triton_nothing_is_said_of_the_release(tmp_path: Path) -> None:
    with pytest.raises(TritonUnavailable, match="failed to reach"):
        check_load(FILES, SIZES, ASKED, ScratchTriton("127.0.0.1:9", tmp_path, "python", "cpu", 2))


def test_what_a_killed_preflight_left_is_swept_after_an_hour(tmp_path: Path) -> None:
    left = [tmp_path / name for name in ("preflight_1", ".scratch-preflight_2", "preflight_3", "recommender")]
    for folder in left:
        (folder / "1").mkdir(parents=True)
        os.utime(folder, (0, 0) if folder.name != "preflight_3" else None)
    sweep_scratch_models(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(left[2:])


def test_a_repository_for_that_backend_is_loaded_as_it_is(tmp_path: Path, scratch: ScratchTriton) -> None:
    """Its own config and both versions: what no table of ours knows, that Triton may."""
    parts = Parts(triton_url=scratch.url, triton_repository=scratch.repository)
    repository = save_repository(tmp_path / "repository", "python", version=3)
    save_repository(repository, "python", version=12)
    assert preflight_directory(repository, TARGET, ExporterSettings(), parts) == []
    add_to_config(repository, 'parameters { key: "FORCE_CPU_ONLY_INPUT_TENSORS" value: { string_value: "perhaps" } }\n')
    [finding] = preflight_directory(repository, TARGET, ExporterSettings(), parts)
    assert finding.code == "load-failed"
    assert "FORCE_CPU_ONLY_INPUT_TENSORS" in finding.what


def test_folders_are_read_then_loaded(tmp_path: Path, triton_stack: EmbeddedStack, scratch: ScratchTriton) -> None:
    parts = Parts(triton_url=scratch.url, triton_repository=scratch.repository)
    release, repository = save_release(tmp_path), save_repository(tmp_path / "repository", "onnxruntime")
    assert preflight_directory(release, TARGET, ExporterSettings(), parts) == []
    hurried = ExporterSettings(golden_seconds=1e-5)
    assert [finding.code for finding in preflight_directory(repository, TARGET, hurried, parts)] == ["golden-slow"]

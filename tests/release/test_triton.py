"""The embedded Triton with a real release: loads, answers as ONNX Runtime does, batches, and fails clearly."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.factories import a_release
from waypost.errors import CorruptObject, TritonUnavailable
from waypost.model.signature import Row, pack
from waypost.release import golden, lookups
from waypost.release.onnx_runner import load_onnx
from waypost.release.preflight import (
    ScratchTriton,
    check_load,
)
from waypost.release.repository import assemble, keep_only, remove_model
from waypost.release.store import GOLDEN, LOOKUPS, MODEL
from waypost.release.triton import TritonModel
from waypost.settings import EmbeddedStack

FILES, FACTS = a_release()
SIZES = lookups.from_bytes(FILES[LOOKUPS]).sizes
ASKED = golden.from_bytes(FILES[GOLDEN])
NAME = "test_release"


@pytest.fixture
def repository(triton_stack: EmbeddedStack) -> Iterator[Path]:
    folder = Path(triton_stack.triton_repository)
    yield folder
    remove_model(folder, NAME)


@pytest.fixture
def model(triton_stack: EmbeddedStack, repository: Path) -> Iterator[TritonModel]:
    assemble(repository, 3, FILES, SIZES, "python", "cpu", NAME)
    model = TritonModel(triton_stack.triton_url, 5, 30, NAME)
    model.load()
    yield model
    model.unload()
    model.close()


def test_the_served_model_answers_the_golden_questions(model: TritonModel) -> None:
    assert model.golden_difference(3, ASKED) == ""


def test_a_wrong_golden_answer_is_noticed(model: TritonModel) -> None:
    wrong = golden.Golden(ASKED.inputs, ASKED.post_index, ASKED.score + np.float32(0.1))
    assert "other scores" in model.golden_difference(3, wrong)
    swapped = golden.Golden(ASKED.inputs, ASKED.post_index[:, ::-1], ASKED.score)
    assert "other posts" in model.golden_difference(3, swapped)


def test_requests_of_different_widths_at_once_get_their_own_answers(model: TritonModel) -> None:
    infer = load_onnx(FILES[MODEL], threads=1)
    batches = [pack([Row(i % 12, recent_posts=list(range(i % 7)))] * (1 + i % 3), SIZES) for i in range(40)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda inputs: model.infer(3, dict(inputs)), batches))
    for inputs, outputs in zip(batches, answers, strict=True):
        expected = infer(dict(inputs))
        np.testing.assert_allclose(outputs["score"], expected["score"], rtol=1e-5)
        assert (outputs["post_index"] == expected["post_index"]).all()


def test_a_new_version_is_served_beside_the_old_and_the_old_can_go(model: TritonModel, repository: Path) -> None:
    files, _ = a_release(seed=1)
    assemble(repository, 4, files, SIZES, "python", "cpu", NAME)
    model.load()
    assert model.golden_difference(3, ASKED) == ""
    assert model.golden_difference(4, golden.from_bytes(files[GOLDEN])) == ""
    keep_only(repository, [4], NAME)
    model.load()
    assert model.golden_difference(4, golden.from_bytes(files[GOLDEN])) == ""
    with pytest.raises(TritonUnavailable):
        model.golden_difference(3, ASKED)


def test_a_version_that_is_not_loaded_is_one_clear_error(model: TritonModel) -> None:
    with pytest.raises(TritonUnavailable, match="failed to infer test_release"):
        model.infer(9, dict(ASKED.inputs))


def test_a_triton_that_is_not_there_is_one_clear_error() -> None:
    model = TritonModel("127.0.0.1:9", 2, 2)
    with pytest.raises(TritonUnavailable, match=r"127\.0\.0\.1:9 failed to infer"):
        model.infer(1, dict(ASKED.inputs))
    model.close()


def scratch(stack: EmbeddedStack) -> ScratchTriton:
    return ScratchTriton(stack.triton_url, Path(stack.triton_repository), "python", "cpu", 30)


def test_preflight_finds_nothing_in_a_right_release_and_leaves_nothing(triton_stack: EmbeddedStack) -> None:
    before = sorted(Path(triton_stack.triton_repository).iterdir())
    assert check_load(FILES, SIZES, ASKED, scratch(triton_stack)) == []
    assert sorted(Path(triton_stack.triton_repository).iterdir()) == before


def test_preflight_notices_a_model_that_triton_cannot_load(triton_stack: EmbeddedStack) -> None:
    findings = check_load({**FILES, MODEL: FILES[MODEL][:1000]}, SIZES, ASKED, scratch(triton_stack))
    assert [finding.code for finding in findings] == ["load-failed"]


def test_preflight_notices_a_model_that_answers_wrongly(triton_stack: EmbeddedStack) -> None:
    other, _ = a_release(seed=1)
    findings = check_load({**FILES, MODEL: other[MODEL]}, SIZES, ASKED, scratch(triton_stack))
    assert [finding.code for finding in findings] == ["golden-mismatch"]


def test_onnx_runtime_refuses_a_cut_model_with_one_clear_error() -> None:
    with pytest.raises(CorruptObject, match=r"ONNX Runtime refuses model\.onnx"):
        load_onnx(FILES[MODEL][:1000])


def test_without_a_triton_preflight_says_nothing_about_the_release(tmp_path: Path) -> None:
    with pytest.raises(TritonUnavailable, match="failed to reach"):
        check_load(FILES, SIZES, ASKED, ScratchTriton("127.0.0.1:9", tmp_path, "python", "cpu", 2))

"""The corpus of broken releases and repositories: each is named by its one code, with nothing misleading beside it.

With `-m faults` each must be named within ten seconds, and the slowest are printed."""

from __future__ import annotations

import pickle
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.factories import keyed_by_strings, some_tensors
from tests.release.broken_releases import CORPUS, OUR_KEY, TRUSTED, Broken, a_python, write_model_py
from tests.release.good_releases import FACTS, TARGET, good_files, publish_json, save_release, save_repository, sign
from waypost.model.signature import Backend, Device
from waypost.release.preflight import FAULTS, TARGETS, Finding, Node, check_directory, check_s3_address
from waypost.release.preflight.names import is_code
from waypost.release.store import TOKENIZER

LIMIT_SECONDS = 10.0  # issue 5
NAMES = [broken.name for broken in CORPUS]


def save(broken: Broken, folder: Path) -> Path:
    """The good one of its kind, broken."""
    path = save_release(folder) if broken.kind == "release" else save_repository(folder / "repository", broken.kind)
    broken.break_it(path)
    return path if path.exists() else next(folder.iterdir())  # it was renamed


def findings_of(broken: Broken, path: Path) -> list[Finding]:
    return check_directory(path, broken.target, broken.trusted, broken.node)


@pytest.mark.parametrize("broken", CORPUS, ids=NAMES)
def test_each_broken_one_is_named_by_its_code_and_by_no_other(broken: Broken, tmp_path: Path) -> None:
    found = findings_of(broken, save(broken, tmp_path))
    assert {finding.code for finding in found} == {broken.code}, [str(finding) for finding in found]
    for finding in found:
        assert finding.path
        assert finding.what
        assert "\n" not in str(finding)
        assert (finding.why, bool(finding.fix)) == (FAULTS[finding.code].why, True)


def test_the_corpus_is_large_and_says_each_thing_once() -> None:
    assert len(CORPUS) >= 100
    assert not [name for name, count in Counter(NAMES).items() if count > 1]
    assert len({broken.code for broken in CORPUS}) >= 65


@pytest.mark.faults
def test_every_broken_one_is_named_within_ten_seconds(tmp_path: Path) -> None:
    seconds: dict[str, float] = {}
    for number, broken in enumerate(CORPUS):
        path = save(broken, tmp_path / str(number))
        began = time.monotonic()
        assert findings_of(broken, path)
        seconds[broken.name] = time.monotonic() - began
    slowest = sorted(seconds, key=lambda name: -seconds[name])[:3]
    print(f"\n{len(seconds)} broken ones, slowest: " + ", ".join(f"{name} {seconds[name]:.3f} s" for name in slowest))
    assert max(seconds.values()) < LIMIT_SECONDS


GOOD: dict[str, dict[str, Any]] = {
    "as the exporter writes it": {},
    "one user, one post": {"num_users": 1, "num_posts": 1, "num_tags": 1},
    "more posts than an answer holds": {"num_users": 40, "num_posts": 300, "num_tags": 12},
    "no tags": {"num_tags": 0},
    "keys of text and UUID": {"tensors": keyed_by_strings(some_tensors())},
    "ids at both ends of int64": {"tensors": some_tensors(post_ids=np.array([-(2**63), *range(28), 2**63 - 1]))},
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("different", GOOD)
def test_a_good_release_has_no_finding(different: str, target: str, tmp_path: Path) -> None:
    files, facts = good_files(**GOOD[different])
    release = save_release(tmp_path, files, facts)
    assert check_directory(release, target) == []
    sign(release, OUR_KEY)
    assert check_directory(release, target, TRUSTED) == []


def test_a_tokenizer_may_know_fewer_words_than_the_model_has_rows_for(tmp_path: Path) -> None:
    release = save_release(tmp_path)
    publish_json(release, TOKENIZER, lambda tokenizer: tokenizer["model"]["vocab"].popitem())
    assert check_directory(release, TARGET) == []


@pytest.mark.parametrize(("backend", "device"), [("onnxruntime", "gpu"), ("onnxruntime", "cpu"), ("python", "cpu")])
@pytest.mark.parametrize("different", GOOD)
def test_a_good_repository_has_no_finding(different: str, backend: Backend, device: Device, tmp_path: Path) -> None:
    files, _ = good_files(**GOOD[different])
    repository = save_repository(tmp_path / "repository", backend, device, files)
    save_repository(repository, backend, device, files, version=12)
    node = Node(gpus=1, shared_memory_bytes=2**30, python=a_python(tmp_path / "python"), glibc=(2, 36))
    assert check_directory(repository, TARGET, node=node) == []


@pytest.mark.parametrize(
    ("different", "code"),
    [
        ({"numpy": "2.4.6"}, "node-numpy"),
        ({"stub": "3.12"}, "node-python"),
        ({"glibc": "2.41"}, "node-glibc"),
        ({"packages": ("numpy",)}, "model-py-import"),
    ],
)
def test_a_python_that_cannot_run_the_stub_is_named(different: dict[str, Any], code: str, tmp_path: Path) -> None:
    repository = save_repository(tmp_path / "repository", "python")
    node = Node(python=a_python(tmp_path / "python", **different), glibc=(2, 36))
    assert [finding.code for finding in check_directory(repository, TARGET, node=node)] == [code]


def test_an_import_that_tritons_python_does_not_have_is_named(tmp_path: Path) -> None:
    repository = save_repository(tmp_path / "repository", "python")
    write_model_py(lambda text: text.replace("import os\n", "import os\nimport torch_sparse.ops\n"))(repository)
    found = check_directory(repository, TARGET, node=Node(python=a_python(tmp_path / "python")))
    assert [(finding.code, finding.what) for finding in found] == [("model-py-import", "imports torch_sparse")]


@pytest.mark.parametrize(
    "address",
    [
        "s3://http://minio:9000/bucket/mod+els",
        "s3://https://minio:9000/bucket/models/nightly=1",
        "s3://http://minio_1:9000/bucket/models",
        "s3://minio:9000/bucket_name/models",
        "s3://http://minio/bucket/models",
        "s3://bucket/mod els",
    ],
)
def test_an_s3_address_that_triton_reads_otherwise_is_named(address: str) -> None:
    assert [finding.code for finding in check_s3_address(address)] == ["s3-characters"]


@pytest.mark.parametrize(
    "address",
    ["s3://bucket", "s3://bucket/models/", "s3://http://minio:9000/bucket/a/b-c_d.e", "s3://minio:9000/bucket"],
)
def test_an_s3_address_that_triton_reads_rightly_is_not(address: str) -> None:
    assert check_s3_address(address) == []


def test_several_faults_at_once_are_all_named(tmp_path: Path) -> None:
    chosen = ["two platforms", "a negative count", "sequences"]
    repository = save_repository(tmp_path / "repository", "onnxruntime")
    for broken in CORPUS:
        if broken.name in chosen:
            broken.break_it(repository)
    codes = {finding.code for finding in check_directory(repository, TARGET)}
    assert codes == {"config-platform", "config-instance-count", "config-scheduler"}


def test_a_known_format_is_not_taken_for_a_pickle_by_its_first_bytes() -> None:
    """A safetensors header of 1,152 bytes begins with b"\\x80\\x04", as a pickle does."""
    assert not is_code("lookups.safetensors", (1152).to_bytes(8, "little"))
    assert is_code("tables.bin", pickle.dumps({}))
    assert is_code("tables", b"#!/bin/sh\n")
    assert not is_code("notes.txt", b"hello")


def test_the_facts_of_the_good_release_are_those_that_are_checked() -> None:
    assert {"version", "release", "signature_version", "ir_version", "opset", "sizes"} <= set(FACTS)

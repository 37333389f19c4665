"""What preflight finds by reading the files; the load itself is tested on the real Triton in test_triton.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from tests.factories import a_release
from waypost.errors import PreflightFailed
from waypost.objects.bundle import MANIFEST, describe
from waypost.release import lookups
from waypost.release.preflight import check_directory, refuse, report_json
from waypost.release.repository import assemble
from waypost.release.store import GOLDEN, LOOKUPS, MODEL

FILES, FACTS = a_release()
SIZES = lookups.from_bytes(FILES[LOOKUPS]).sizes
TARGET = "26.07"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return a_folder(tmp_path / "release", FILES)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    assemble(folder, 1, FILES, SIZES, "onnxruntime", "gpu", companions=(GOLDEN, LOOKUPS))
    return folder


def a_folder(folder: Path, files: dict[str, bytes]) -> Path:
    """A release folder whose manifest fits its files."""
    folder.mkdir()
    for path, body in files.items():
        (folder / path).write_bytes(body)
    (folder / MANIFEST).write_bytes(describe(files, {"release": "r", **FACTS}).to_bytes())
    return folder


def codes(directory: Path, target: str = TARGET) -> list[str]:
    return [finding.code for finding in check_directory(directory, target)]


def changed_model(change: Callable[[onnx.ModelProto], None]) -> bytes:
    model = onnx.load_model_from_string(FILES[MODEL])
    change(model)
    body: bytes = model.SerializeToString()
    return body


def test_a_right_release_and_a_right_repository_have_no_findings(release: Path, repository: Path) -> None:
    for target in ("24.10", "25.07", "26.01", "26.07"):
        assert codes(release, target) == codes(repository, target) == []


@pytest.mark.parametrize("path", sorted(FILES))
def test_a_cut_file_is_named(release: Path, path: str) -> None:
    (release / path).write_bytes(FILES[path][:-1])
    findings = check_directory(release, TARGET)
    assert [(finding.code, finding.path) for finding in findings] == [("digest-mismatch", path)]


def test_a_missing_file_is_named(release: Path) -> None:
    (release / LOOKUPS).unlink()
    assert codes(release) == ["file-missing"]


def test_a_cut_manifest_is_named(release: Path) -> None:
    (release / MANIFEST).write_bytes(b'{"files": [')
    assert codes(release) == ["manifest-unreadable"]


def test_a_manifest_without_the_model_is_named(tmp_path: Path) -> None:
    files = {path: body for path, body in FILES.items() if path != MODEL}
    assert codes(a_folder(tmp_path / "release", files)) == ["file-unnamed"]


def rename_input(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.input[:] = ["users" if name == "user_index" else name for name in node.input]
    model.graph.input[0].name = "users"


def add_foreign_operators(model: onnx.ModelProto) -> None:
    model.opset_import.append(onnx.helper.make_opsetid("torch_sparse", 1))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda model: setattr(model, "ir_version", 14), ["onnx-ir-too-new"]),
        (lambda model: setattr(model.opset_import[0], "version", 27), ["onnx-opset-too-new"]),
        (add_foreign_operators, ["onnx-custom-ops"]),
        (rename_input, ["onnx-signature", "onnx-signature"]),
    ],
)
def test_a_model_that_the_target_would_refuse_is_named(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], expected: list[str]
) -> None:
    assert codes(a_folder(tmp_path / "release", {**FILES, MODEL: changed_model(change)})) == expected


def test_a_model_made_for_a_newer_triton_is_refused_for_an_older_one(tmp_path: Path) -> None:
    newer = changed_model(lambda model: setattr(model, "ir_version", 11))
    folder = a_folder(tmp_path / "release", {**FILES, MODEL: newer})
    assert codes(folder, "26.07") == []
    assert codes(folder, "25.07") == ["onnx-ir-too-new"]


def test_lookups_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    assert codes(a_folder(tmp_path / "release", {**FILES, LOOKUPS: b"garbage"})) == ["companion-unreadable"]


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (lambda folder: (folder / "config.pbtxt").unlink(), ["not-a-repository"]),
        (lambda folder: (folder / "config.pbtxt").write_text("name: \n{"), ["config-unreadable"]),
        (lambda folder: replace(folder, 'name: "recommender"', 'name: "recomender"'), ["config-signature"]),
        (lambda folder: replace(folder, "TYPE_INT64", "TYPE_INT32"), ["config-signature"]),
        (lambda folder: replace(folder, "max_batch_size: 256", "max_batch_size: 0"), ["config-signature"]),
        (lambda folder: replace(folder, '"onnxruntime"', '"pytorch"'), ["config-backend"]),
        (lambda folder: (folder / "1").rename(folder / "01"), ["version-name", "version-missing"]),
        (lambda folder: (folder / "1" / MODEL).unlink(), ["model-missing"]),
        (lambda folder: (folder / "2").mkdir(), ["model-missing"]),
        (lambda folder: (folder / "1" / MODEL).write_bytes(b"cut"), ["onnx-unreadable"]),
    ],
)
def test_a_broken_repository_is_named(
    repository: Path, break_it: Callable[[Path], object], expected: list[str]
) -> None:
    break_it(repository / "recommender")
    assert codes(repository) == expected


def replace(folder: Path, old: str, new: str) -> None:
    text = (folder / "config.pbtxt").read_text()
    assert old in text
    (folder / "config.pbtxt").write_text(text.replace(old, new))


def test_every_code_is_documented() -> None:
    source = Path(__file__).parents[2]
    text = "".join(
        (source / "src" / "waypost" / name).read_text() for name in ("release/preflight.py", "exporter/proving.py")
    )
    used = {
        part.split('"')[1] for part in text.split("_finding(")[1:] + text.split("Finding(")[1:] if part.startswith('"')
    }
    documented = (source / "docs" / "preflight.md").read_text()
    assert len(used) >= 15
    assert not {code for code in used if f"`{code}`" not in documented}


def test_a_refusal_says_everything_in_one_line(release: Path) -> None:
    (release / MODEL).write_bytes(b"")
    (release / GOLDEN).unlink()
    findings = check_directory(release, TARGET)
    with pytest.raises(PreflightFailed) as told:
        refuse(findings)
    assert "\n" not in str(told.value)
    assert MODEL in str(told.value)
    assert GOLDEN in str(told.value)
    report = json.loads(report_json(findings))
    assert not report["ok"]
    assert set(report["findings"][0]) == {"code", "path", "what", "why", "fix"}

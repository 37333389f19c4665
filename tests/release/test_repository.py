"""A release on local disk for Triton: whole or not at all, and nothing executable but our own."""

from __future__ import annotations

from pathlib import Path

from tests.factories import a_release
from waypost.model.signature import MODEL_NAME, config_pbtxt
from waypost.release import lookups
from waypost.release.repository import assemble, keep_only
from waypost.release.store import LOOKUPS, MODEL

FILES, _ = a_release()
SIZES = lookups.from_bytes(FILES[LOOKUPS]).sizes


def assembled(folder: Path, version: int = 1, files: dict[str, bytes] | None = None, name: str = MODEL_NAME) -> Path:
    return assemble(folder, version, files or FILES, SIZES, "python", "cpu", name)


def test_the_executable_file_comes_from_the_package_whatever_the_release_holds(tmp_path: Path) -> None:
    target = assembled(tmp_path, files={**FILES, "model.py": b"raise SystemExit", "padding.json": b"{}"})
    package = Path(__file__).parents[2] / "src" / "waypost" / "release" / "triton_model.py"
    assert (target / "model.py").read_bytes() == package.read_bytes()
    assert sorted(path.name for path in target.iterdir()) == ["__pycache__", "model.onnx", "model.py", "padding.json"]
    assert (target / "__pycache__").read_bytes() == b"", "a file, where Python would put compiled code"


def test_the_config_is_what_this_package_says_whatever_was_there(tmp_path: Path) -> None:
    config = assembled(tmp_path, name="other").parent / "config.pbtxt"
    config.write_text("something else")
    assembled(tmp_path, 2, name="other")
    assert config.read_text() == config_pbtxt("python", "cpu").replace(MODEL_NAME, "other")


def test_a_version_that_is_there_is_replaced_and_never_trusted(tmp_path: Path) -> None:
    target = assembled(tmp_path)
    (target / MODEL).write_bytes(b"damaged")
    (target / "left-over").touch()
    assembled(tmp_path)
    assert (target / MODEL).read_bytes() == FILES[MODEL]
    assert not (target / "left-over").exists()


def test_only_the_wanted_versions_stay_and_no_scratch(tmp_path: Path) -> None:
    for version in (1, 2, 10):
        assembled(tmp_path, version)
    keep_only(tmp_path, [10])
    assert sorted(path.name for path in (tmp_path / MODEL_NAME).iterdir()) == ["10", "config.pbtxt"]
    assert [path.name for path in tmp_path.iterdir()] == [MODEL_NAME]
    keep_only(tmp_path / "nothing here", [1])


def test_what_a_killed_writer_left_is_swept_by_the_next_one_of_the_same_model(tmp_path: Path) -> None:
    left, other = tmp_path / f".scratch-{MODEL_NAME}" / "3", tmp_path / ".scratch-other" / "3"
    for folder in (left, other):
        folder.mkdir(parents=True)
        (folder / MODEL).write_bytes(b"half")
    assembled(tmp_path)
    assert not left.parent.exists()
    assert other.exists()

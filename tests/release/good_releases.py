"""Right releases and repositories, written to disk: what the broken ones of the preflight corpus are made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx

from tests.factories import a_release
from waypost.model.signature import MODEL_NAME, SIGNATURE_VERSION, Backend, Device
from waypost.objects.bundle import MANIFEST, Manifest, describe, parse_manifest
from waypost.release import lookups
from waypost.release.repository import assemble
from waypost.release.signing import SigningKey
from waypost.release.store import GOLDEN, LOOKUPS, MODEL

ID = "000001-0123abcd-deadbeef"
TARGET = "26.07"


def good_files(**different: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files and the facts of a release as the exporter writes them."""
    files, facts = a_release(**different)
    sizes = lookups.from_bytes(files[LOOKUPS]).sizes
    model = onnx.load_model_from_string(files[MODEL])
    return files, {
        **facts,
        "release": ID,
        "signature_version": SIGNATURE_VERSION,
        "triton_target": TARGET,
        "ir_version": model.ir_version,
        "opset": model.opset_import[0].version,
        "sizes": {"users": sizes.num_users, "posts": sizes.num_posts, "tags": sizes.num_tags, "interactions": 60},
    }


FILES, FACTS = good_files()


def save_release(parent: Path, files: Mapping[str, bytes] = FILES, facts: Mapping[str, Any] = FACTS) -> Path:
    """A release folder, called by the release's id, whose manifest fits its files."""
    folder = parent / str(facts["release"])
    folder.mkdir(parents=True)
    for path, body in files.items():
        (folder / path).write_bytes(body)
    (folder / MANIFEST).write_bytes(describe(files, facts).to_bytes())
    return folder


def save_repository(
    folder: Path, backend: Backend, device: Device = "cpu", files: Mapping[str, bytes] = FILES, version: int = 1
) -> Path:
    """A model repository with the companions that the exporter leaves beside the model."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = lookups.from_bytes(files[LOOKUPS]).sizes
    assemble(folder, version, files, sizes, backend, device, companions=(GOLDEN, LOOKUPS))
    return folder


def read_manifest(release: Path) -> Manifest:
    return parse_manifest((release / MANIFEST).read_bytes(), MANIFEST)


def state_facts(folder: Path, /, **facts: Any) -> None:
    """Change what the manifest says of the whole; None takes a fact away. Its files stay as they are."""
    manifest = read_manifest(folder)
    stated = {name: value for name, value in {**manifest.facts, **facts}.items() if value is not None}
    (folder / MANIFEST).write_bytes(Manifest(manifest.files, stated).to_bytes())


def publish_with(release: Path, **files: bytes | None) -> None:
    """The same release published with other files, every digest right; None leaves a file out.

    A dot in a file's name is written as two underscores."""
    facts = read_manifest(release).facts
    for name, body in files.items():
        path = release / name.replace("__", ".")
        path.unlink() if body is None else path.write_bytes(body)
    bodies = {path.name: path.read_bytes() for path in release.iterdir() if path.name != MANIFEST}
    (release / MANIFEST).write_bytes(describe(bodies, facts).to_bytes())


def publish_model(release: Path, change: Callable[[Any], object]) -> None:
    """The same release published with a model that `change` was done to."""
    publish_with(release, model__onnx=changed_model(change))


def changed_model(change: Callable[[Any], object], files: Mapping[str, bytes] = FILES) -> bytes:
    model = onnx.load_model_from_string(files[MODEL])
    change(model)
    body: bytes = model.SerializeToString()
    return body


def publish_json(release: Path, path: str, change: Callable[[Any], object]) -> None:
    """The same release published with a JSON file that `change` was done to."""
    content = json.loads((release / path).read_bytes())
    change(content)
    publish_with(release, **{path.replace(".", "__"): json.dumps(content).encode()})


def sign(release: Path, key: SigningKey) -> None:
    (release / MANIFEST).write_bytes(key.sign(read_manifest(release)).to_bytes())


def model_folder(repository: Path) -> Path:
    return repository / MODEL_NAME


def edit_config(repository: Path, old: str, new: str) -> None:
    path = model_folder(repository) / "config.pbtxt"
    text = path.read_text()
    assert old in text, old
    path.write_text(text.replace(old, new, 1))


def add_to_config(repository: Path, text: str) -> None:
    path = model_folder(repository) / "config.pbtxt"
    path.write_text(path.read_text() + text)

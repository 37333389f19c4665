"""A verified release as a Triton model repository on local disk: `<folder>/recommender/config.pbtxt` and
`<folder>/recommender/<version>/…`.

A version folder appears whole or not at all, and goes the same way: it is written beside its place, flushed, and
renamed into it. One process at a time writes the folder of one model.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib import resources
from pathlib import Path

from waypost.model.signature import MODEL_NAME, Backend, Device, Sizes, config_pbtxt
from waypost.release.store import MODEL


def assemble(
    folder: Path,
    version: int,
    files: Mapping[str, bytes],
    sizes: Sizes,
    backend: Backend,
    device: Device,
    name: str = MODEL_NAME,
    companions: Iterable[str] = (),
) -> Path:
    """Write the version and its config under `folder`; returns the version's folder. Other versions are left alone.

    `companions` are files of the release to lie beside the model; Triton does not read them.
    """
    model_folder = folder / name
    model_folder.mkdir(parents=True, exist_ok=True)
    wanted = {**_version_files(files, sizes, backend), **{path: files[path] for path in companions}}
    with _scratch(folder, name) as scratch:
        draft = scratch / str(version)
        draft.mkdir()
        for path, body in wanted.items():
            _write(draft / path, body)
        _sync(draft)
        target = model_folder / draft.name
        if target.exists():  # the same release again, or what a killed worker left: never trusted, always replaced
            target.rename(scratch / "replaced")
        draft.rename(target)
        config = config_pbtxt(backend, device).replace(f'name: "{MODEL_NAME}"', f'name: "{name}"').encode()
        _write(scratch / "config.pbtxt", config)
        (scratch / "config.pbtxt").rename(model_folder / "config.pbtxt")
        _sync(model_folder)
        _sync(folder)
    return target


def keep_only(folder: Path, versions: Iterable[int], name: str = MODEL_NAME) -> None:
    """Remove every other version: Triton loads all it finds in the folder."""
    wanted = {str(version) for version in versions}
    entries = (folder / name).iterdir() if (folder / name).exists() else ()
    unwanted = [entry for entry in entries if entry.is_dir() and entry.name not in wanted]
    if unwanted:
        with _scratch(folder, name) as scratch:
            for entry in unwanted:
                entry.rename(scratch / entry.name)  # gone at once and whole, whatever happens while it is removed
            _sync(folder / name)


@contextmanager
def _scratch(folder: Path, name: str) -> Iterator[Path]:
    """A folder beside the model's, on the same disk; what a killed process left in it is removed first."""
    scratch = folder / f".scratch-{name}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def remove_model(folder: Path, name: str) -> None:
    shutil.rmtree(folder / name, ignore_errors=True)


def _version_files(files: Mapping[str, bytes], sizes: Sizes, backend: Backend) -> dict[str, bytes]:
    """What the backend needs; executable code comes from this package only."""
    chosen = {MODEL: files[MODEL]}
    if backend == "python":
        chosen["model.py"] = resources.files("waypost.release").joinpath("triton_model.py").read_bytes()
        chosen["padding.json"] = json.dumps(asdict(sizes)).encode()
        # A file where Python would make a folder for compiled code: Triton would take the version for a changed one
        # and load it a second time with the next.
        chosen["__pycache__"] = b""
    return chosen


def _write(path: Path, body: bytes) -> None:
    with path.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """A rename or a new file is on disk only once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

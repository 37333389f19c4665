"""A verified release as a Triton model repository on local disk: `<folder>/recommender/config.pbtxt` and
`<folder>/recommender/<version>/…`.

A version folder appears whole or not at all: it is written beside its place, flushed, and renamed into it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
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
    scratch = folder / f".{name}-{version}-{os.getpid()}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for path, body in {**_version_files(files, sizes, backend), **{path: files[path] for path in companions}}.items():
        _write(scratch / path, body)
    target = model_folder / str(version)
    if target.exists():  # the same release again, or what a killed worker left: never trusted, always replaced
        shutil.rmtree(target)
    scratch.rename(target)
    config = config_pbtxt(backend, device).replace(f'name: "{MODEL_NAME}"', f'name: "{name}"')
    _replace(model_folder / "config.pbtxt", config.encode())
    return target


def keep_only(folder: Path, versions: Iterable[int], name: str = MODEL_NAME) -> None:
    """Remove every other version: Triton loads all it finds in the folder."""
    wanted = {str(version) for version in versions}
    for entry in (folder / name).iterdir() if (folder / name).exists() else ():
        if entry.is_dir() and entry.name not in wanted:
            shutil.rmtree(entry)


def remove_model(folder: Path, name: str) -> None:
    shutil.rmtree(folder / name, ignore_errors=True)


def _version_files(files: Mapping[str, bytes], sizes: Sizes, backend: Backend) -> dict[str, bytes]:
    """What the backend needs; executable code comes from this package only."""
    chosen = {MODEL: files[MODEL]}
    if backend == "python":
        chosen["model.py"] = resources.files("waypost.release").joinpath("triton_model.py").read_bytes()
        chosen["padding.json"] = json.dumps(asdict(sizes)).encode()
    return chosen


def _replace(path: Path, body: bytes) -> None:
    scratch = path.with_name(f".{path.name}-{os.getpid()}")
    _write(scratch, body)
    scratch.replace(path)


def _write(path: Path, body: bytes) -> None:
    with path.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())

"""Preflight: would this release, or this Triton repository, load and answer rightly? Asked before anybody serves it.

First what can be read from the files (no Triton needed), then a real load in a Triton under a name of its own, with
the golden questions. Each finding says what is wrong, where, why it would fail, and what to do; docs/preflight.md
lists the codes."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from waypost.errors import CorruptObject, PreflightFailed, TritonUnavailable
from waypost.model.signature import INPUTS, MODEL_NAME, OUTPUTS, Backend, Device, Sizes, Tensor, config_pbtxt
from waypost.objects.bundle import MANIFEST, Manifest, check, parse_manifest
from waypost.release import golden, lookups
from waypost.release.repository import assemble, remove_model
from waypost.release.store import GOLDEN, LOOKUPS, MODEL
from waypost.release.triton import TritonModel

SCRATCH_PREFIX = "preflight_"
ABANDONED_SECONDS = 3_600  # a scratch model of a killed preflight is swept after this
# Triton release -> (highest IR version, highest opset) of its ONNX Runtime. Source: the ORT version in NVIDIA's release
# notes and ORT's compatibility table; tried with the CPU wheels of the same ORT versions.
TARGETS = {
    "24.10": (10, 21),
    "25.05": (10, 22),
    "25.06": (10, 22),
    "25.07": (10, 22),
    "25.11": (11, 23),
    "25.12": (11, 23),
    "26.01": (11, 23),
    "26.04": (13, 25),
    "26.05": (13, 25),
    "26.06": (13, 25),
    "26.07": (13, 26),
}
_ONNX_TYPES = {onnx.TensorProto.INT32: "INT32", onnx.TensorProto.INT64: "INT64", onnx.TensorProto.FLOAT: "FP32"}


@dataclass(frozen=True)
class Finding:
    code: str
    path: str
    what: str
    why: str
    fix: str

    def __str__(self) -> str:
        return f"{self.code} {self.path}: {self.what}; {self.fix}"


@dataclass(frozen=True)
class ScratchTriton:
    """A Triton that may load a model under a scratch name, and the folder it loads models from."""

    url: str
    repository: Path
    backend: Backend
    device: Device
    timeout_seconds: float


def report_json(findings: list[Finding]) -> str:
    return json.dumps({"ok": not findings, "findings": [asdict(finding) for finding in findings]})


def refuse(findings: list[Finding]) -> None:
    """Raises PreflightFailed naming the findings, when there are any."""
    if findings:
        raise PreflightFailed("preflight: " + "; ".join(str(finding) for finding in findings))


def check_directory(directory: Path, target: str) -> list[Finding]:
    """Findings about a release folder (one with manifest.json) or a Triton model repository, without any Triton."""
    if (directory / MANIFEST).is_file():
        return check_release(read_release_folder(directory), target)
    return list(_check_repository(directory, target))


def read_release_folder(directory: Path) -> dict[str, bytes]:
    """Every file that lies in a release folder, manifest included."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file()}


def check_release(files: Mapping[str, bytes], target: str) -> list[Finding]:
    """Findings about a release's files (manifest.json among them), without any Triton."""
    try:
        manifest = parse_manifest(files[MANIFEST], MANIFEST)
        findings = list(_check_digests(manifest, files))
    except CorruptObject as error:
        return [
            _finding(
                "manifest-unreadable", MANIFEST, str(error), "nothing can be verified", "publish the release again"
            )
        ]
    if findings:
        return findings
    return [*_check_model(files[MODEL], MODEL, target), *_check_companions(files)]


def _check_digests(manifest: Manifest, files: Mapping[str, bytes]) -> Iterator[Finding]:
    named = {entry.path for entry in manifest.files}
    for path in sorted({MODEL, LOOKUPS, GOLDEN} - named):
        yield _finding("file-unnamed", path, "the manifest does not name it", "a release needs it", "publish again")
    for entry in manifest.files:
        if entry.path not in files:
            yield _finding("file-missing", entry.path, "missing", "the manifest names it", "fetch the release again")
            continue
        try:
            check(entry, files[entry.path], "release")
        except CorruptObject as error:
            yield _finding("digest-mismatch", entry.path, str(error), "it is not what was published", "fetch it again")


def _check_model(body: bytes, path: str, target: str) -> Iterator[Finding]:
    try:
        model = onnx.load_model_from_string(body)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's and onnx's errors have no common class but this
        cause = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        yield _finding("onnx-unreadable", path, cause, "ONNX Runtime would refuse it", "export again")
        return
    highest_ir, highest_opset = TARGETS[target]
    opset = max((entry.version for entry in model.opset_import), default=0)
    if model.ir_version > highest_ir:
        what = f"IR version {model.ir_version}, Triton {target} reads {highest_ir}"
        yield _finding("onnx-ir-too-new", path, what, "the load fails", "export with a lower IR version")
    if opset > highest_opset:
        what = f"opset {opset}, Triton {target} knows {highest_opset}"
        yield _finding("onnx-opset-too-new", path, what, "the load fails", "export with a lower opset")
    foreign = sorted({entry.domain for entry in model.opset_import} - {"", "ai.onnx"})
    if foreign:
        yield _finding("onnx-custom-ops", path, f"operators of {foreign}", "Triton has no kernel", "use plain ONNX")
    yield from _check_tensors(model.graph.input, INPUTS, path, {entry.name for entry in model.graph.initializer})
    yield from _check_tensors(model.graph.output, OUTPUTS, path, set())


def _check_tensors(
    values: Iterable[Any], expected: tuple[Tensor, ...], path: str, initializers: set[str]
) -> Iterator[Finding]:
    found = {value.name: value.type.tensor_type for value in values if value.name not in initializers}
    wanted = {tensor.name: tensor for tensor in expected}
    for name in sorted(set(found) ^ set(wanted)):
        what = f"tensor {name} is {'unexpected' if name in found else 'missing'}"
        yield _finding("onnx-signature", path, what, "the worker sends the signature's tensors", "export again")
    for name in sorted(set(found) & set(wanted)):
        actual, rank = _ONNX_TYPES.get(found[name].elem_type, "other"), len(found[name].shape.dim)
        if actual != wanted[name].triton_type or rank != 1 + len(wanted[name].dims):
            what = f"tensor {name} is {actual} of rank {rank}, not {wanted[name].triton_type} of rank 2"
            yield _finding("onnx-signature", path, what, "Triton refuses the config", "export again")


def _check_companions(files: Mapping[str, bytes]) -> Iterator[Finding]:
    """The files beside the model must be readable and speak of the same numbers of rows."""
    try:
        lookups.from_bytes(files[LOOKUPS])
        golden.from_bytes(files[GOLDEN])
    except CorruptObject as error:
        yield _finding("companion-unreadable", LOOKUPS, str(error), "the worker cannot use it", "publish again")


def _check_repository(directory: Path, target: str) -> Iterator[Finding]:
    folder = directory / MODEL_NAME
    if not (folder / "config.pbtxt").is_file():
        what = f"no {MODEL_NAME}/config.pbtxt and no manifest.json"
        yield _finding("not-a-repository", str(directory), what, "nothing to load", "name a release or a repository")
        return
    yield from _check_config(folder / "config.pbtxt")
    versions = [entry for entry in sorted(folder.iterdir()) if entry.is_dir()]
    usable = [
        entry
        for entry in versions
        if entry.name.isascii() and entry.name.isdigit() and str(int(entry.name)) == entry.name != "0"
    ]
    for entry in versions:
        if entry not in usable:
            what = "not a positive number without leading zeros"
            yield _finding("version-name", f"{MODEL_NAME}/{entry.name}", what, "Triton ignores it", "rename the folder")
    if not usable:
        yield _finding("version-missing", MODEL_NAME, "no version folder", "the load fails or hangs", "add a version")
    for entry in usable:
        path = f"{MODEL_NAME}/{entry.name}/{MODEL}"
        if (entry / MODEL).is_file():
            yield from _check_model((entry / MODEL).read_bytes(), path, target)
        else:
            yield _finding("model-missing", path, "missing", "the load fails or hangs", "assemble the version again")


def _check_config(path: Path) -> Iterator[Finding]:
    where = f"{MODEL_NAME}/config.pbtxt"
    try:
        config = text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        cause = (str(error).splitlines() or ["not text"])[0]
        yield _finding(
            "config-unreadable", where, cause, "Triton refuses the file", "write it again by `waypost exporter`"
        )
        return
    if config.backend not in ("onnxruntime", "python"):
        what = f"backend {config.backend!r}"
        yield _finding("config-backend", where, what, "Triton has no such backend", 'use "onnxruntime" or "python"')
        return
    backend: Backend = "python" if config.backend == "python" else "onnxruntime"
    expected = text_format.Parse(config_pbtxt(backend, "cpu"), model_config_pb2.ModelConfig())
    for field in ("name", "max_batch_size", "input", "output"):
        if getattr(config, field) != getattr(expected, field):
            what = f"{field} is not what model/signature.py says"
            yield _finding("config-signature", where, what, "Triton refuses it or the worker", "write it again")


def check_load(files: Mapping[str, bytes], sizes: Sizes, asked: golden.Golden, triton: ScratchTriton) -> list[Finding]:
    """Load the release in a real Triton under a scratch name and ask the golden questions; nothing of it stays.

    Raises TritonUnavailable when there is no Triton to ask, which says nothing about the release.
    """
    name = f"{SCRATCH_PREFIX}{os.getpid()}"
    sweep_scratch_models(triton.repository)
    model = TritonModel(triton.url, triton.timeout_seconds, triton.timeout_seconds, name)
    model.require_live()
    try:
        assemble(triton.repository, 1, files, sizes, triton.backend, triton.device, name)
        model.load()
        different = model.golden_difference(1, asked)
        why, fix = "it would answer wrongly", "compare the runtimes; export again"
        return [_finding("golden-mismatch", GOLDEN, different, why, fix)] if different else []
    except TritonUnavailable as error:
        return [_finding("load-failed", MODEL, str(error), "a worker could not load it either", "see Triton's log")]
    finally:
        _discard(model, triton.repository)


def sweep_scratch_models(repository: Path) -> None:
    """Remove scratch models that a killed preflight left behind."""
    for entry in repository.glob(f"{SCRATCH_PREFIX}*"):
        if time.time() - entry.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(entry, ignore_errors=True)


def _discard(model: TritonModel, repository: Path) -> None:
    try:
        model.unload()
    except TritonUnavailable:
        pass  # it never loaded, or that Triton is gone: nothing of the scratch model is left in it
    finally:
        model.close()
        remove_model(repository, model.name)


def _finding(code: str, path: str, what: str, why: str, fix: str) -> Finding:
    return Finding(code, path, what, why, fix)

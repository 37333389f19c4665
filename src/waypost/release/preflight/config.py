"""config.pbtxt as Triton reads it: by the same protobuf, then against the graph that it describes.

The protobuf is tritonclient's; a field that it does not know is a field that Triton refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from waypost.model.signature import INPUTS, MAX_BATCH, MODEL_NAME, OUTPUTS, Tensor
from waypost.release.preflight.findings import Finding, finding
from waypost.release.preflight.onnx_model import DYNAMIC, Graph, Port
from waypost.release.preflight.warmup import check_warmup

CONFIG = "config.pbtxt"
BACKENDS = ("onnxruntime", "python")
_PLATFORM = "onnxruntime_onnx"
MAX_INSTANCES = 16  # copies of all tables; more is a typing error
_UNKNOWN_FIELD = "has no field named"
_UNKNOWN_VALUE = "has no value named"
_TWO_SCHEDULERS = "scheduling_choice"


def read_config(path: Path, where: str) -> tuple[Any, list[Finding]]:
    """The ModelConfig, or None and why Triton would refuse the file."""
    if not path.is_file():
        return None, [finding("config-missing", where, "missing")]
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig()), []
    except (text_format.ParseError, UnicodeDecodeError) as error:
        cause = (str(error).splitlines() or ["not text"])[0]
    if _UNKNOWN_FIELD in cause:
        return None, [finding("config-unknown-field", where, cause)]
    if _UNKNOWN_VALUE in cause:
        return None, [finding("config-unknown-value", where, cause)]
    if _TWO_SCHEDULERS in cause:
        return None, [finding("config-scheduler", where, cause)]
    return None, [finding("config-unreadable", where, cause)]


def backend_of(config: Any) -> str:
    """`platform` is the older way to say it."""
    return str(config.backend) or ("onnxruntime" if config.platform == _PLATFORM else str(config.platform))


def check_config(config: Any, folder: Path, where: str) -> list[Finding]:
    """Findings about the configuration by itself and the folder that it lies in, without the graph."""
    if config.platform == "ensemble" or config.HasField("ensemble_scheduling"):
        return [finding("config-ensemble", where, "an ensemble")]
    return [
        *_check_name(config, folder, where),
        *_check_backend(config, where),
        *_check_batching(config, where),
        *_check_instances(config, where),
        *_check_scheduling(config, where),
        *_check_environment(config, folder, where),
    ]


def _check_name(config: Any, folder: Path, where: str) -> Iterator[Finding]:
    if config.name != folder.name:
        yield finding("folder-name", where, f"the folder is {folder.name}, the name {config.name!r}")
    elif config.name != MODEL_NAME:
        yield finding("folder-name", where, f"the model is called {config.name}")


def _check_backend(config: Any, where: str) -> Iterator[Finding]:
    if backend_of(config) not in BACKENDS:
        yield finding("config-backend", where, f"backend {backend_of(config)!r}")
    elif config.platform and (config.platform != _PLATFORM or config.backend == "python"):
        yield finding("config-platform", where, f"platform {config.platform!r} with backend {config.backend!r}")


def _check_batching(config: Any, where: str) -> Iterator[Finding]:
    if config.max_batch_size < MAX_BATCH:
        what = f"max_batch_size is {config.max_batch_size}, the worker sends up to {MAX_BATCH} rows"
        yield finding("config-batch-size", where, what)
        return
    preferred = list(config.dynamic_batching.preferred_batch_size)
    if any(not 1 <= size <= config.max_batch_size for size in preferred):
        what = f"preferred_batch_size {preferred} with max_batch_size {config.max_batch_size}"
        yield finding("config-preferred-batch", where, what)


def _check_instances(config: Any, where: str) -> Iterator[Finding]:
    group = model_config_pb2.ModelInstanceGroup
    for entry in config.instance_group:
        if not 0 <= entry.count <= MAX_INSTANCES:
            yield finding("config-instance-count", where, f"count {entry.count}")
        if entry.gpus and entry.kind not in (group.KIND_GPU, group.KIND_AUTO):
            what = f"gpus {list(entry.gpus)} on {group.Kind.Name(entry.kind)}"
            yield finding("config-instance-gpus", where, what)


def _check_scheduling(config: Any, where: str) -> Iterator[Finding]:
    if config.HasField("version_policy") and not config.version_policy.HasField("all"):
        yield finding("config-version-policy", where, f"{config.version_policy.WhichOneof('policy_choice')}")
    elif not config.HasField("version_policy"):
        yield finding("config-version-policy", where, "none, which is the latest version alone")
    if config.HasField("sequence_batching"):
        yield finding("config-scheduler", where, "sequence_batching")
    if config.model_transaction_policy.decoupled:
        yield finding("config-decoupled", where, "decoupled: true")


def _check_environment(config: Any, folder: Path, where: str) -> Iterator[Finding]:
    if "EXECUTION_ENV_PATH" in config.parameters:
        named = config.parameters["EXECUTION_ENV_PATH"].string_value
        if not Path(named.replace("$$TRITON_MODEL_DIRECTORY", str(folder))).exists():
            yield finding("config-environment", where, f"EXECUTION_ENV_PATH is {named}")


def check_against_graph(config: Any, graph: Graph | None, versions: list[Path], where: str) -> list[Finding]:
    """Findings where inputs, outputs and warm-up are not the graph's; the signature's when there is no right graph."""
    python = backend_of(config) == "python"
    inputs = graph.inputs if graph else _ports(INPUTS)
    outputs = graph.outputs if graph else _ports(OUTPUTS)
    findings = [
        *_check_tensors("input", config.input, inputs, INPUTS, where),
        *_check_tensors("output", config.output, outputs, OUTPUTS, where),
        *_check_ragged(config, python, where),
        *_check_file(config, versions, where),
    ]
    return findings or check_warmup(config, where, versions[0].parent if versions else None)


def _ports(tensors: tuple[Tensor, ...]) -> dict[str, Port]:
    return {tensor.name: Port(tensor.triton_type, (DYNAMIC, *tensor.dims)) for tensor in tensors}


def _check_tensors(
    kind: str, entries: Any, ports: Mapping[str, Port], signature: tuple[Tensor, ...], where: str
) -> Iterator[Finding]:
    found = {entry.name: entry for entry in entries}
    unexpected, missing = sorted(set(found) - set(ports)), sorted(set(ports) - set(found))
    if unexpected or missing:
        told = [*(f"{name} is not in the graph" for name in unexpected), *(f"{name} is missing" for name in missing)]
        yield finding("config-tensor-name", where, f"{kind}: {', '.join(told)}")
    wanted = {tensor.name: tensor.dims for tensor in signature}
    for name in sorted(set(found) & set(ports)):
        yield from _check_tensor(f"{kind} {name}", found[name], ports[name], wanted.get(name), where)


def _check_tensor(what: str, entry: Any, port: Port, wanted: tuple[int, ...] | None, where: str) -> Iterator[Finding]:
    dims, in_graph = tuple(entry.dims), port.dims[1:]
    found_type = model_config_pb2.DataType.Name(entry.data_type).removeprefix("TYPE_")
    if found_type != port.triton_type:
        yield finding("config-tensor-type", where, f"{what} is {found_type}, in the graph {port.triton_type}")
    if not dims or any(dim == 0 or dim < DYNAMIC for dim in dims):
        yield finding("config-dims", where, f"{what} has dims {list(dims)}")
    elif len(dims) != len(in_graph) or any(
        config != graph and not (graph == DYNAMIC and wanted and config == wanted[place])
        for place, (config, graph) in enumerate(zip(dims, in_graph, strict=False))
    ):
        yield finding("config-tensor-shape", where, f"{what} has dims {list(dims)}, in the graph {list(in_graph)}")
    odd = [field for field in ("reshape", "is_shape_tensor", "optional", "format") if _is_set(entry, field)]
    if odd:
        yield finding("config-tensor-options", where, f"{what} has {', '.join(odd)}")


def _is_set(entry: Any, field: str) -> bool:
    return any(descriptor.name == field for descriptor, _ in entry.ListFields())


def _check_ragged(config: Any, python: bool, where: str) -> Iterator[Finding]:
    """Our model.py pads and stacks requests itself; the onnxruntime backend cannot."""
    lists = {tensor.name for tensor in INPUTS if DYNAMIC in tensor.dims}
    ragged = {entry.name for entry in config.input if entry.allow_ragged_batch}
    if ragged and not python:
        yield finding("config-ragged", where, f"allow_ragged_batch on {', '.join(sorted(ragged))}")
    elif python and lists - ragged and lists <= {entry.name for entry in config.input}:
        yield finding("config-ragged", where, f"no allow_ragged_batch on {', '.join(sorted(lists - ragged))}")


def _check_file(config: Any, versions: list[Path], where: str) -> Iterator[Finding]:
    named = config.default_model_filename
    if named and any(not (version / named).exists() for version in versions):
        yield finding("config-model-file", where, f"default_model_filename is {named}")

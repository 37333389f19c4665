"""model.onnx against the target Triton's ONNX Runtime, against model/signature.py, and against itself.

Operators are looked up in the `onnx` package's own schemas, so no list of them is kept here. Nothing is run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from waypost.model.signature import INPUTS, OUTPUTS, Sizes, Tensor
from waypost.release.preflight.findings import Finding, finding
from waypost.release.preflight.targets import Target

_TYPES = {
    onnx.TensorProto.INT32: "INT32",
    onnx.TensorProto.INT64: "INT64",
    onnx.TensorProto.FLOAT: "FP32",
    onnx.TensorProto.DOUBLE: "FP64",
    onnx.TensorProto.FLOAT16: "FP16",
    onnx.TensorProto.BOOL: "BOOL",
    onnx.TensorProto.STRING: "STRING",
}
_PLAIN = ("", "ai.onnx")
_CONTRIB = ("com.microsoft", "ai.onnx.ml")
_TRAINING = ("ai.onnx.training", "ai.onnx.preview.training", "ai.onnx.preview", "com.microsoft.training")
DYNAMIC = -1
# The tables of exporter/served.onnxtxt: name -> the scalar that names their padding row, where there is one.
_TABLES = {
    "num_users": ("user_own", None),
    "num_posts": ("post_vector", "num_posts"),
    "num_tags": ("tag_message", "num_tags"),
    "num_tokens": ("token_message", "num_tokens"),
}


@dataclass(frozen=True)
class Port:
    """An input or output as the graph has it."""

    triton_type: str
    dims: tuple[int, ...]  # batch first; -1: any


@dataclass(frozen=True)
class Graph:
    """What the rest of a release is compared with."""

    inputs: dict[str, Port]
    outputs: dict[str, Port]
    ir_version: int
    opset: int
    sizes: Sizes | None  # None: not our graph's tables


def read_graph(body: bytes, path: str) -> tuple[onnx.ModelProto | None, list[Finding]]:
    """The parsed file, or None and why not."""
    try:
        model = onnx.load_model_from_string(body)
    except Exception as error:  # protobuf's errors have no common class but this
        return None, [finding("onnx-unreadable", path, _first_line(error))]
    if not model.graph.node:
        return None, [finding("onnx-unreadable", path, f"{len(body)} bytes without a graph")]
    if any(isinstance(name, bytes) for name in _names(model)):
        return None, [finding("onnx-unreadable", path, "a name that is not UTF-8")]
    return model, []


def _names(model: Any) -> Iterator[str | bytes]:
    """Every name that is compared or told; protobuf gives bytes for one that is not text."""
    yield from (entry.domain for entry in model.opset_import)
    for values in (model.graph.input, model.graph.output, model.graph.initializer):
        yield from (value.name for value in values)
    for node in _nodes(model.graph):
        yield from (node.domain, node.op_type)


def check_model(body: bytes, path: str, target: Target, target_name: str) -> tuple[Graph | None, list[Finding]]:
    """What the file says of itself, and every finding about it; without a graph when it cannot be read."""
    model, findings = read_graph(body, path)
    if model is None:
        return None, findings
    findings = list(_check_versions(model, path, target, target_name))
    findings += _check_operators(model, path) or _check_external(model, path)
    if not findings:
        findings += _check_whole(body, path) or [*_check_finite(model, path), *_check_tables(model, path)]
    graph = _to_graph(model)
    findings += [*_check_tensors(graph.inputs, INPUTS, path), *_check_tensors(graph.outputs, OUTPUTS, path)]
    return graph, findings


def _check_versions(model: Any, path: str, target: Target, target_name: str) -> Iterator[Finding]:
    where = f"Triton {target_name} (ONNX Runtime {target.onnxruntime})"
    if model.ir_version > target.ir_version:
        yield finding("onnx-ir-too-new", path, f"IR version {model.ir_version}, {where} reads {target.ir_version}")
    opset = _opset(model)
    if opset > target.opset:
        needed = max((_since(node.op_type, opset) for node in model.graph.node), default=opset)
        can = f"; its operators need {needed}" if needed <= target.opset else ""
        yield finding("onnx-opset-too-new", path, f"opset {opset}, {where} knows {target.opset}{can}")


def _check_operators(model: Any, path: str) -> list[Finding]:
    """One finding for each kind of fault, naming its operators."""
    opset = _opset(model)
    named = {(entry.domain, "") for entry in model.opset_import if entry.domain not in _PLAIN}
    used = {(node.domain, node.op_type) for node in _nodes(model.graph)}
    faults: dict[str, set[str]] = {}
    for domain, operator in sorted(used | named):
        code = _operator_fault(domain, operator, opset)
        if code:
            faults.setdefault(code, set()).add(f"{domain}::{operator}".removeprefix("::").removesuffix("::"))
    return [finding(code, path, f"{', '.join(sorted(names))} at opset {opset}") for code, names in faults.items()]


def _operator_fault(domain: str, operator: str, opset: int) -> str:
    if domain in _TRAINING:
        return "onnx-training-ops"
    if domain in _CONTRIB:
        return "onnx-contrib-ops"
    if domain not in _PLAIN:
        return "onnx-custom-ops"
    history = _history().get(operator)
    if history is None:
        return "onnx-op-unknown"
    present = [removed for since, removed in history if since <= opset]
    if not present:
        return "onnx-op-too-new"
    return "onnx-op-removed" if present[-1] else ""


@cache
def _history() -> dict[str, list[tuple[int, bool]]]:
    """Operator of plain ONNX -> (opset, whether it was removed there), ascending."""
    history: dict[str, list[tuple[int, bool]]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain in _PLAIN:
            history.setdefault(schema.name, []).append((schema.since_version, schema.deprecated))
    return {name: sorted(entries) for name, entries in history.items()}


def _since(operator: str, opset: int) -> int:
    """The opset that brought the operator as it is at `opset`."""
    return max((since for since, _ in _history().get(operator, []) if since <= opset), default=opset)


def _check_external(model: Any, path: str) -> list[Finding]:
    outside = [
        entry.value
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    ]
    return [finding("onnx-external-data", path, f"weights in {', '.join(sorted(set(outside)))}")] if outside else []


def _check_whole(body: bytes, path: str) -> list[Finding]:
    try:
        onnx.checker.check_model(body)  # the bytes: given the model, it writes them again, which costs seconds
    except Exception as error:  # onnx's errors have no common class but this
        return [finding("onnx-invalid", path, _first_line(error))]
    return []


def _check_finite(model: Any, path: str) -> list[Finding]:
    broken = [
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
        and not np.isfinite(_array(tensor)).all()
    ]
    return [finding("onnx-not-finite", path, f"NaN or infinity in {', '.join(broken)}")] if broken else []


def _check_tables(model: Any, path: str) -> Iterator[Finding]:
    """The graph tells padding by comparing with a scalar, which must be the number of its table's last row."""
    tables = {tensor.name: tensor for tensor in model.graph.initializer}
    for table, scalar in _TABLES.values():
        if scalar is None or table not in tables or scalar not in tables:
            continue
        rows, padding = tables[table].dims[0], int(np.ravel(_array(tables[scalar]))[0])
        if padding != rows - 1:
            yield finding("onnx-tables", path, f"{table} has {rows} rows, {scalar} says {padding}")


def _to_graph(model: Any) -> Graph:
    tables = {tensor.name: tensor for tensor in model.graph.initializer}
    known = all(table in tables and tables[table].dims for table, _ in _TABLES.values())
    return Graph(
        inputs={value.name: _port(value) for value in model.graph.input if value.name not in tables},
        outputs={value.name: _port(value) for value in model.graph.output},
        ir_version=model.ir_version,
        opset=_opset(model),
        sizes=Sizes(**{size: tables[table].dims[0] - 1 for size, (table, _) in _TABLES.items()}) if known else None,
    )


def _port(value: Any) -> Port:
    tensor = value.type.tensor_type
    dims = tuple(dim.dim_value if dim.HasField("dim_value") else DYNAMIC for dim in tensor.shape.dim)
    return Port(_TYPES.get(tensor.elem_type, "other"), dims)


def _check_tensors(found: dict[str, Port], expected: tuple[Tensor, ...], path: str) -> Iterator[Finding]:
    wanted = {tensor.name: tensor for tensor in expected}
    unexpected, missing = sorted(set(found) - set(wanted)), sorted(set(wanted) - set(found))
    if unexpected or missing:
        told = [*(f"{name} is unexpected" for name in unexpected), *(f"{name} is missing" for name in missing)]
        yield finding("onnx-signature", path, ", ".join(told))
    for name in sorted(set(found) & set(wanted)):
        port, tensor = found[name], wanted[name]
        if port.triton_type != tensor.triton_type or len(port.dims) != 1 + len(tensor.dims):
            what = f"{name} is {port.triton_type} of rank {len(port.dims)}, not {tensor.triton_type} of rank 2"
            yield finding("onnx-signature", path, what)
        elif port.dims[0] != DYNAMIC:
            yield finding("onnx-batch-fixed", path, f"{name} has batches of {port.dims[0]}")
        elif expected is INPUTS and not _fits(port.dims[1:], tensor.dims):
            yield finding("onnx-signature", path, f"{name} has dims {list(port.dims[1:])}, not {list(tensor.dims)}")


def _fits(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether whatever the worker may send goes in."""
    return all(dim in (DYNAMIC, want) for dim, want in zip(found, wanted, strict=True))


def _nodes(graph: Any) -> Iterator[Any]:
    """Every node, those of the branches of If and Loop too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _opset(model: Any) -> int:
    return max((entry.version for entry in model.opset_import if entry.domain in _PLAIN), default=0)


def _array(tensor: Any) -> NDArray[Any]:
    array: NDArray[Any] = numpy_helper.to_array(tensor)
    return array


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"

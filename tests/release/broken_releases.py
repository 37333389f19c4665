"""The corpus: a good release or repository, one thing broken in it, and the one code that preflight must give.

From the faults of docs/field-notes.md, of Triton's and ONNX Runtime's issue threads (preflight/faults_*.py names them),
and of what a half-published release can look like."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import TensorProto, helper, numpy_helper

from tests.factories import a_release
from tests.release.good_releases import (
    FILES,
    TARGET,
    add_to_config,
    edit_config,
    model_folder,
    publish_json,
    publish_model,
    publish_with,
    sign,
    state_facts,
)
from waypost.model.signature import INPUTS
from waypost.objects.bundle import MANIFEST
from waypost.release import lookups
from waypost.release.preflight import Node, TritonPython
from waypost.release.signing import NO_KEYS, SigningKey, TrustedKeys
from waypost.release.store import GOLDEN, LOOKUPS, MODEL, POPULAR, TOKENIZER

Kind = Literal["release", "onnxruntime", "python"]
OUR_KEY, OTHER_KEY = SigningKey(Ed25519PrivateKey.generate()), SigningKey(Ed25519PrivateKey.generate())
TRUSTED = TrustedKeys([OUR_KEY.public])
NOTHING_KNOWN, NO_GPU, TWO_GPUS = Node(), Node(gpus=0), Node(gpus=2)


@dataclass(frozen=True)
class Broken:
    name: str  # what somebody did, in words
    code: str
    kind: Kind
    break_it: Callable[[Path], object]  # given the release folder or the repository
    node: Node = NOTHING_KNOWN
    trusted: TrustedKeys = NO_KEYS
    target: str = TARGET


def release(name: str, code: str, break_it: Callable[[Path], object], **more: Any) -> Broken:
    return Broken(name, code, "release", break_it, **more)


def repository(name: str, code: str, break_it: Callable[[Path], object], **more: Any) -> Broken:
    return Broken(name, code, "onnxruntime", break_it, **more)


def python(name: str, code: str, break_it: Callable[[Path], object], **more: Any) -> Broken:
    return Broken(name, code, "python", break_it, **more)


def flip_byte(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def sign_then_change(folder: Path) -> None:
    sign(folder, OUR_KEY)
    state_facts(folder, made_at="2026-02-02T00:00:00+00:00")


def link_out(path: Path) -> None:
    elsewhere = path.parents[3] / "elsewhere.onnx"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("model-of-yesterday.onnx")


def rename_release(folder: Path, name: str) -> None:
    state_facts(folder, release=name)
    folder.rename(folder.parent / name)


FROM_RELEASE = [
    release("half published: no manifest", "manifest-unreadable", lambda r: (r / MANIFEST).unlink()),
    release("manifest cut", "manifest-unreadable", lambda r: cut(r / MANIFEST)),
    release(
        "a space added to the manifest",
        "manifest-unreadable",
        lambda r: (r / MANIFEST).write_bytes((r / MANIFEST).read_bytes() + b" "),
    ),
    release("model cut by an interrupted upload", "digest-mismatch", lambda r: cut(r / MODEL)),
    release("one bit of the lookups flipped", "digest-mismatch", lambda r: flip_byte(r / LOOKUPS)),
    release("lookups not uploaded", "file-missing", lambda r: (r / LOOKUPS).unlink()),
    release("published without popular.json", "file-unnamed", lambda r: publish_with(r, popular__json=None)),
    release("a file added later", "file-unlisted", lambda r: (r / "notes.txt").write_text("hello")),
    release("model.py published", "executable-file", lambda r: publish_with(r, model__py=b"import os\n")),
    release("model.py added later", "executable-file", lambda r: (r / "model.py").write_text("import os\n")),
    release(
        "a pickle published",
        "executable-file",
        lambda r: publish_with(r, tables__bin=pickle.dumps({"a": 1})),
    ),
    release("model is a link out", "symlink-outside", lambda r: link_to_nothing(r / MODEL)),
    release(
        "folder of another release",
        "release-name",
        lambda r: state_facts(r, release="000001-ffff0000-00000000"),
    ),
    release("version not that of the id", "release-version", lambda r: state_facts(r, version=2)),
    release("no version", "release-version", lambda r: state_facts(r, version=None)),
    release("not signed", "signature-wrong", lambda r: None, trusted=TRUSTED),
    release("signed by a stranger", "signature-wrong", lambda r: sign(r, OTHER_KEY), trusted=TRUSTED),
    release("changed after it was signed", "signature-wrong", sign_then_change, trusted=TRUSTED),
    release("a plus sign in the id", "s3-characters", lambda r: rename_release(r, "nightly+1")),
    release("manifest of another export", "facts-model", lambda r: state_facts(r, opset=16)),
    release(
        "manifest of another night",
        "facts-sizes",
        lambda r: state_facts(r, sizes={"users": 11, "posts": 30, "tags": 5, "interactions": 60}),
    ),
    release("made for other tensors", "tensors-version", lambda r: state_facts(r, signature_version=2)),
]


def rename_input(model: Any) -> None:
    for node in model.graph.node:
        node.input[:] = ["users" if name == "user_index" else name for name in node.input]
    model.graph.input[0].name = "users"


def add_node(model: Any, operator: str, domain: str = "", version: int = 1) -> None:
    """One more node that nothing depends on."""
    model.graph.node.append(helper.make_node(operator, ["one"], [f"{operator}_out"], domain=domain))
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, version))


def put_outside(model: Any) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == "post_vector")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="post_vector.bin")


def set_table(model: Any, name: str, change: Callable[[Any], Any]) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))


def with_nan(table: Any) -> Any:
    table[3, 2] = np.nan
    return table


def fix_batch(model: Any) -> None:
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 1


def set_type(model: Any) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    cast = helper.make_node("Cast", ["user_index"], ["user_index_32"], to=TensorProto.INT32)
    for node in model.graph.node:
        node.input[:] = ["user_index_32" if name == "user_index" else name for name in node.input]
    model.graph.node.insert(0, cast)


def lose_node(model: Any) -> None:
    del model.graph.node[2]


def of_model(name: str, code: str, change: Callable[[Any], object], **more: Any) -> Broken:
    return Broken(name, code, "release", lambda r: publish_changed(r, change), **more)


def publish_changed(folder: Path, change: Callable[[Any], object]) -> None:
    """Facts about the model are left out, so that the model alone is wrong."""
    publish_model(folder, change)
    state_facts(folder, ir_version=None, opset=None)


FROM_MODEL = [
    release(
        "model is an error page",
        "onnx-unreadable",
        lambda r: publish_with(r, model__onnx=b"<html>404</html>"),
    ),
    release("model is empty", "onnx-unreadable", lambda r: publish_with(r, model__onnx=b"")),
    of_model("a node lost", "onnx-invalid", lose_node),
    of_model("IR version of onnx 1.23", "onnx-ir-too-new", lambda m: setattr(m, "ir_version", 14)),
    of_model("IR 11 on Triton 25.07", "onnx-ir-too-new", lambda m: setattr(m, "ir_version", 11), target="25.07"),
    of_model("opset of onnx 1.23", "onnx-opset-too-new", lambda m: setattr(m.opset_import[0], "version", 28)),
    of_model(
        "opset 23 on Triton 25.07",
        "onnx-opset-too-new",
        lambda m: setattr(m.opset_import[0], "version", 23),
        target="25.07",
    ),
    of_model("an operator that never was", "onnx-op-unknown", lambda m: add_node(m, "TopKay")),
    of_model("an operator of opset 24", "onnx-op-too-new", lambda m: add_node(m, "Swish")),
    of_model("an operator removed in opset 10", "onnx-op-removed", lambda m: add_node(m, "Upsample")),
    of_model("operators of PyG", "onnx-custom-ops", lambda m: add_node(m, "ptr2ind", "torch_sparse")),
    of_model("operators of Microsoft", "onnx-contrib-ops", lambda m: add_node(m, "Gelu", "com.microsoft")),
    of_model("a training operator", "onnx-training-ops", lambda m: add_node(m, "Adam", "ai.onnx.preview.training")),
    of_model("weights beside the model", "onnx-external-data", put_outside),
    of_model("NaN in a table", "onnx-not-finite", lambda m: set_table(m, "post_vector", with_nan)),
    of_model("padding counted as a post", "onnx-tables", lambda m: set_table(m, "num_posts", lambda n: n + 1)),
    of_model("batch dimension fixed", "onnx-batch-fixed", fix_batch),
    of_model("input renamed", "onnx-signature", rename_input),
    of_model("input of another type", "onnx-signature", set_type),
]


def lookups_of_another_night() -> bytes:
    files, _ = a_release(num_posts=29)
    return files[LOOKUPS]


def shuffled_lookups() -> bytes:
    found = lookups.from_bytes(FILES[LOOKUPS])
    return lookups.to_bytes(replace(found, post_ids=found.post_ids[::-1].copy()))


def set_score(golden: Any) -> None:
    golden["score"][0][0] = float("nan")


def set_row(golden: Any) -> None:
    golden["inputs"]["recent_posts"][0][0] = 99


def set_place(popular: Any) -> None:
    popular["posts"][0] = 77


FROM_COMPANIONS = [
    release(
        "lookups are garbage",
        "lookups-unreadable",
        lambda r: publish_with(r, lookups__safetensors=b"x" * 99),
    ),
    release(
        "lookups of another night",
        "lookups-differ",
        lambda r: publish_with(r, lookups__safetensors=lookups_of_another_night()),
    ),
    release(
        "post ids out of order",
        "lookups-inconsistent",
        lambda r: publish_with(r, lookups__safetensors=shuffled_lookups()),
    ),
    release("golden answers cut", "golden-unreadable", lambda r: publish_with(r, golden__json=FILES[GOLDEN][:-9])),
    release(
        "no golden question",
        "golden-unreadable",
        lambda r: publish_json(r, GOLDEN, lambda g: g.update(post_index=[], score=[])),
    ),
    release("golden answer NaN", "golden-not-finite", lambda r: publish_json(r, GOLDEN, set_score)),
    release("a golden answer lost", "golden-shape", lambda r: publish_json(r, GOLDEN, lambda g: g["score"].pop())),
    release(
        "golden asks for a post that is not there",
        "golden-range",
        lambda r: publish_json(r, GOLDEN, set_row),
    ),
    release("tokenizer is garbage", "tokenizer-unreadable", lambda r: publish_with(r, tokenizer__json=b"{}")),
    release(
        "tokenizer of another night",
        "tokenizer-differs",
        lambda r: publish_json(r, TOKENIZER, lambda t: t["model"]["vocab"].update(porto=6)),
    ),
    release(
        "popular.json cut",
        "popular-unreadable",
        lambda r: publish_with(r, popular__json=FILES[POPULAR][:-9]),
    ),
    release("popular names a strange post", "popular-posts", lambda r: publish_json(r, POPULAR, set_place)),
    release(
        "popular backwards",
        "popular-posts",
        lambda r: publish_json(r, POPULAR, lambda p: p["scores"].reverse()),
    ),
    release(
        "popular of another version",
        "popular-version",
        lambda r: publish_json(r, POPULAR, lambda p: p.update(version=7)),
    ),
]

WARMUP = 'model_warmup [ { name: "first" batch_size: BATCH inputs [ INPUTS ] } ]\n'


def warm_up(batch: int = 1, key: str = "user_index", value: str = "dims: [ 1 ] zero_data: true") -> str:
    """A sample for every input, one of which is called `key` and given by `value`."""
    entries = [
        f'{{ key: "{t.name}" value: {{ data_type: TYPE_INT32 dims: [ 1 ] zero_data: true }} }}' for t in INPUTS[1:]
    ]
    entries.append(f'{{ key: "{key}" value: {{ data_type: TYPE_INT32 {value} }} }}')
    return WARMUP.replace("BATCH", str(batch)).replace("INPUTS", ", ".join(entries))


def config(name: str, code: str, old: str, new: str, kind: Kind = "onnxruntime", **more: Any) -> Broken:
    return Broken(name, code, kind, lambda r: edit_config(r, old, new), **more)


def added(name: str, code: str, text: str, kind: Kind = "onnxruntime", **more: Any) -> Broken:
    return Broken(name, code, kind, lambda r: add_to_config(r, text), **more)


BATCHING = "dynamic_batching {\n  max_queue_delay_microseconds: 1000\n}"
LATEST = "version_policy {\n  latest {\n    num_versions: 1\n  }\n}"
FROM_CONFIG = [
    repository("no config.pbtxt", "config-missing", lambda r: (model_folder(r) / "config.pbtxt").unlink()),
    repository(
        "config.pbtxt is not text",
        "config-unreadable",
        lambda r: (model_folder(r) / "config.pbtxt").write_bytes(b"\xff\xfe"),
    ),
    config("a bracket lost", "config-unreadable", "input [", "input"),
    config("a field misspelt", "config-unknown-field", "max_batch_size", "max_batchsize"),
    config("FP32 without TYPE_", "config-unknown-value", "TYPE_FP32", "FP32"),
    config("a typing error in the name", "folder-name", '"recommender"', '"recomender"'),
    repository("the folder renamed", "folder-name", lambda r: model_folder(r).rename(r / "recomender")),
    config("an unknown backend", "config-backend", '"onnxruntime"', '"onnx"'),
    config(
        "two platforms",
        "config-platform",
        'backend: "onnxruntime"',
        'backend: "onnxruntime"\nplatform: "tensorrt_plan"',
    ),
    config("an ensemble", "config-ensemble", BATCHING, 'ensemble_scheduling { step [ { model_name: "a" } ] }'),
    added("a file that no version has", "config-model-file", 'default_model_filename: "net.onnx"\n'),
    config("no batching", "config-batch-size", "max_batch_size: 256", "max_batch_size: 0"),
    config("smaller batches than the worker's", "config-batch-size", "max_batch_size: 256", "max_batch_size: 8"),
    config(
        "preferred above the largest batch",
        "config-preferred-batch",
        "dynamic_batching {",
        "dynamic_batching {\n  preferred_batch_size: [ 512 ]",
    ),
    config("an output misspelt", "config-tensor-name", '"score"', '"scores"'),
    config("an input misspelt", "config-tensor-name", '"user_index"', '"user_idx"', "python"),
    config("an input of another type", "config-tensor-type", "TYPE_INT32", "TYPE_INT64"),
    config("another length", "config-tensor-shape", "dims: [ 1 ]", "dims: [ 2 ]"),
    config("the batch written as a dim", "config-tensor-shape", "dims: [ 1 ]", "dims: [ -1, 1 ]"),
    config("a dim of 0", "config-dims", "dims: [ -1 ]", "dims: [ 0 ]"),
    config("ragged for onnxruntime", "config-ragged", "dims: [ -1 ]", "dims: [ -1 ]\n    allow_ragged_batch: true"),
    config("a reshape", "config-tensor-options", "dims: [ 1 ]", "dims: [ 1 ]\n    reshape: { shape: [ ] }"),
    config("a negative count", "config-instance-count", "count: 1", "count: -1"),
    config("GPUs for a CPU", "config-instance-gpus", "count: 1", "count: 1\n    gpus: [ 0 ]"),
    config("only the latest version", "config-version-policy", "version_policy {\n  all {\n  }\n}", LATEST),
    config("sequences", "config-scheduler", BATCHING, "sequence_batching { }"),
    added("sequences and batching", "config-scheduler", "sequence_batching { }\n"),
    added("decoupled answers", "config-decoupled", "model_transaction_policy { decoupled: true }\n"),
    added(
        "a Python environment that is not there",
        "config-environment",
        'parameters { key: "EXECUTION_ENV_PATH" value: { string_value: "/nowhere/env.tar.gz" } }\n',
        "python",
    ),
    added("a warm-up input misspelt", "warmup-input", warm_up(key="user_idx")),
    added("a warm-up input too long", "warmup-shape", warm_up(value="dims: [ 2 ] zero_data: true")),
    added("too many warm-up rows", "warmup-batch", warm_up(batch=512)),
    added("random rows to warm up", "warmup-data", warm_up(value="dims: [ 1 ] random_data: true")),
    added("a warm-up file that is not there", "warmup-data", warm_up(value='dims: [ 1 ] input_data_file: "rows.bin"')),
    config("a GPU that is not there", "node-gpu", "KIND_CPU", "KIND_GPU", node=NO_GPU),
    config("the third of two GPUs", "node-gpu", "KIND_CPU", "KIND_GPU\n    gpus: [ 2 ]", node=TWO_GPUS),
]


def move_into_own_folder(folder: Path) -> None:
    """As if the model's own folder had been named instead of the repository."""
    for entry in model_folder(folder).iterdir():
        entry.rename(folder / entry.name)
    model_folder(folder).rmdir()


def empty_repository(folder: Path) -> None:
    model_folder(folder).rename(folder.parent / "moved-away")


def lose_versions(folder: Path) -> None:
    (model_folder(folder) / "1").rename(folder.parent / "moved-away")


def put_beside(folder: Path) -> None:
    (model_folder(folder) / "1" / MODEL).rename(model_folder(folder) / MODEL)
    lose_versions(folder)


def rename_version(name: str) -> Callable[[Path], object]:
    return lambda r: (model_folder(r) / "1").rename(model_folder(r) / name)


def write_model_py(change: Callable[[str], str]) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        path = model_folder(folder) / "1" / "model.py"
        path.write_text(change(path.read_text()))

    return write


def a_python(
    folder: Path,
    numpy: str = "1.26.4",
    stub: str = "3.11",
    glibc: str = "2.34",
    packages: tuple[str, ...] = ("numpy", "onnxruntime"),
) -> TritonPython:
    """An environment as far as preflight looks at it: what is installed, and what the stub is linked to."""
    folder.mkdir(parents=True)
    for package in packages:
        (folder / package).mkdir()
    (folder / f"numpy-{numpy}.dist-info").mkdir()
    path = folder / "triton_python_backend_stub"
    path.write_bytes(b"\x7fELF\x00libpython%s.so.1.0\x00GLIBC_2.4\x00GLIBC_%s\x00" % (stub.encode(), glibc.encode()))
    return TritonPython(folder, "3.11", path)


FROM_FOLDERS = [
    repository("an empty folder", "not-a-repository", empty_repository),
    repository("the model's own folder", "not-a-repository", move_into_own_folder),
    repository("version 01", "version-name", rename_version("01")),
    repository("version 0", "version-name", rename_version("0")),
    repository("version latest", "version-name", rename_version("latest")),
    repository("no version folder", "version-missing", lose_versions),
    repository("the model beside config.pbtxt", "version-missing", put_beside),
    repository("a version half published: empty", "version-empty", lambda r: (model_folder(r) / "2").mkdir()),
    repository(
        "a version half published: no model", "model-missing", lambda r: (model_folder(r) / "1" / MODEL).unlink()
    ),
    repository("the model is a link out", "symlink-outside", lambda r: link_out(model_folder(r) / "1" / MODEL)),
    repository(
        "a name that S3 takes and Triton does not",
        "s3-characters",
        lambda r: (model_folder(r) / "1" / "read me.txt").write_text(""),
    ),
    repository(
        "lookups of another night beside the model",
        "lookups-differ",
        lambda r: (model_folder(r) / "1" / LOOKUPS).write_bytes(lookups_of_another_night()),
    ),
    python("no model.py", "model-py-missing", lambda r: (model_folder(r) / "1" / "model.py").unlink()),
    python(
        "model.py with a syntax error", "model-py-syntax", write_model_py(lambda text: text.replace("def ", "df ", 1))
    ),
    python(
        "model.py with another class",
        "model-py-class",
        write_model_py(lambda text: text.replace("class TritonPythonModel", "class Model")),
    ),
    python("somebody else's model.py", "model-py-foreign", write_model_py(lambda text: text + "\nprint('hello')\n")),
    python(
        "padding of another night",
        "padding-differs",
        lambda r: (model_folder(r) / "1" / "padding.json").write_text(json.dumps({"num_posts": 3})),
    ),
    python(
        "64 MiB of /dev/shm for two",
        "node-shared-memory",
        lambda r: edit_config(r, "count: 1", "count: 2"),
        node=Node(shared_memory_bytes=64 * 2**20),
    ),
]
CORPUS = [*FROM_RELEASE, *FROM_MODEL, *FROM_COMPANIONS, *FROM_CONFIG, *FROM_FOLDERS]

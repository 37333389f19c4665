"""A trained model in the store: `checkpoints/<name>/` with its weights, whose they are, and a metadata.json to read.

    model.safetensors    the weights that are served: they have learned everything up to the night
    blind.safetensors    those that were judged: they never saw the night's holdout, and a later night starts from them
    nodes.safetensors    the keys of the rows' users, posts and tags
    tokenizer.json       which makes the tokens that the rows of `token` stand for
    report.html          the page of that night's judgement, where there is one
    metadata.json        fingerprint, settings, scores, git commit …

A bundle like every other: the manifest comes last and carries digests, so a half-written checkpoint does not exist and
a damaged one is noticed. Loading runs no code from the files; what does not fit is CorruptObject, never used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from safetensors import SafetensorError
from safetensors import torch as safetensors

from waypost.errors import CorruptObject
from waypost.graph.tensors import KeyType
from waypost.model.graphsage import GraphSAGE
from waypost.model.nodes import NodeKeys, decode_nodes, encode_nodes, key_types
from waypost.objects.bundle import MANIFEST, load_files, load_manifest, save_bundle
from waypost.objects.protocols import ObjectStore

PREFIX = "checkpoints"
WEIGHTS, BLIND, NODES, TOKENIZER = "model.safetensors", "blind.safetensors", "nodes.safetensors", "tokenizer.json"
METADATA, REPORT = "metadata.json", "report.html"
SERVED_FILES = frozenset({WEIGHTS, METADATA})  # all that a release is made of
WHOLE_FILES = frozenset({WEIGHTS, BLIND, NODES, TOKENIZER, METADATA})
FORMAT = 2
_REMEDY = "run `waypost trainer` to make a new one"


@dataclass(frozen=True)
class Checkpoint:
    """What a release is made of."""

    model: GraphSAGE
    metadata: dict[str, Any]  # what was given to save_checkpoint: fingerprint, settings, scores, git commit …


@dataclass(frozen=True)
class WholeCheckpoint(Checkpoint):
    """And what another night, or a refresh, starts from."""

    blind: GraphSAGE  # of the model's shape
    nodes: NodeKeys  # of the rows of both
    tokenizer: str


def save_checkpoint(store: ObjectStore, name: str, checkpoint: WholeCheckpoint, report: str | None = None) -> None:
    """Names sort by time; the metadata must be JSON. Raises StoreUnavailable, with no checkpoint of that name then.

    `report` is a page of HTML.
    """
    described = {
        **checkpoint.metadata,
        "format": FORMAT,
        "shape": checkpoint.model.shape(),
        "key_types": key_types(checkpoint.nodes),
        "tokenizer_sha256": _sha256(checkpoint.tokenizer.encode()),
    }
    files = {
        WEIGHTS: _encode(checkpoint.model),
        BLIND: _encode(checkpoint.blind),
        NODES: encode_nodes(checkpoint.nodes),
        TOKENIZER: checkpoint.tokenizer.encode(),
        METADATA: (json.dumps(described, indent=2, sort_keys=True) + "\n").encode(),
    }
    if report is not None:
        files[REPORT] = report.encode()
    save_bundle(store, f"{PREFIX}/{name}", files, {"format": FORMAT})


def load_checkpoint(store: ObjectStore, name: str) -> Checkpoint:
    """Raises CorruptObject for files that are absent, truncated, foreign or of another format; StoreUnavailable."""
    files, metadata = _load(store, name, SERVED_FILES)
    return Checkpoint(_parse_model(files[WEIGHTS], metadata["shape"], _where(name, WEIGHTS)), metadata)


def load_whole_checkpoint(store: ObjectStore, name: str) -> WholeCheckpoint:
    """The same with everything that a later night needs. Raises as `load_checkpoint` does."""
    files, metadata = _load(store, name, WHOLE_FILES)
    model = _parse_model(files[WEIGHTS], metadata["shape"], _where(name, WEIGHTS))
    blind = _parse_model(files[BLIND], metadata["shape"], _where(name, BLIND))
    nodes = decode_nodes(files[NODES], metadata["key_types"], _where(name, NODES))
    rows = {"num_users": len(nodes.users), "num_posts": len(nodes.posts), "num_tags": len(nodes.tags)}
    if not rows.items() <= model.shape().items():
        raise CorruptObject(f"{_where(name, NODES)} names other rows than the weights have", _REMEDY)
    if _sha256(files[TOKENIZER]) != metadata.get("tokenizer_sha256"):
        raise CorruptObject(f"{_where(name, TOKENIZER)} is not the one the weights were trained with", _REMEDY)
    return WholeCheckpoint(model, metadata, blind, nodes, files[TOKENIZER].decode())


def load_metadata(store: ObjectStore, name: str) -> dict[str, Any]:
    """The readable part alone. Raises as `load_checkpoint` does."""
    return _load(store, name, frozenset({METADATA}))[1]


def list_checkpoints(store: ObjectStore) -> list[str]:
    """The names of the whole ones, newest first."""
    end = f"/{MANIFEST}"
    keys = [found.key for found in store.list(f"{PREFIX}/") if found.key.endswith(end) and found.key.count("/") == 2]
    return sorted((key.removeprefix(f"{PREFIX}/").removesuffix(end) for key in keys), reverse=True)


def latest_checkpoint(store: ObjectStore) -> str | None:
    """The name of the newest whole checkpoint; None when there is none."""
    return next(iter(list_checkpoints(store)), None)


def remove_checkpoint(store: ObjectStore, name: str) -> None:
    """The manifest first: killed in between, what is left is no checkpoint. Raises StoreUnavailable."""
    store.delete([f"{PREFIX}/{name}/{MANIFEST}"])
    store.delete([info.key for info in store.list(f"{PREFIX}/{name}/")])


def _load(store: ObjectStore, name: str, wanted: frozenset[str]) -> tuple[dict[str, bytes], dict[str, Any]]:
    where = f"{PREFIX}/{name}"
    manifest = load_manifest(store, where)
    if manifest is None:
        raise CorruptObject(f"there is no checkpoint {where}", _REMEDY)
    if (found := manifest.facts.get("format", FORMAT)) != FORMAT:
        raise CorruptObject(f"{where} is of format {found}, this version of Waypost reads {FORMAT}", _REMEDY)
    if missing := wanted - {entry.path for entry in manifest.files}:
        raise CorruptObject(f"{where} lacks {', '.join(sorted(missing))}", _REMEDY)
    files = load_files(store, where, manifest, wanted.__contains__)
    return files, _parse_metadata(files[METADATA], _where(name, METADATA))


def _where(name: str, file: str) -> str:
    return f"{PREFIX}/{name}/{file}"


def _parse_metadata(body: bytes, where: str) -> dict[str, Any]:
    try:
        metadata = json.loads(body)
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict) or not _is_described(metadata):
        raise CorruptObject(f"{where} is not the metadata of a checkpoint of format {FORMAT}", _REMEDY)
    return metadata


def _is_described(metadata: Mapping[str, Any]) -> bool:
    types = metadata.get("key_types")
    return (
        metadata.get("format") == FORMAT
        and isinstance(metadata.get("shape"), dict)
        and isinstance(types, dict)
        and {types.get("user"), types.get("post")} <= set(get_args(KeyType))
    )


def _encode(model: GraphSAGE) -> bytes:
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    encoded: bytes = safetensors.save(weights)
    return encoded


def _parse_model(body: bytes, shape: dict[str, int], where: str) -> GraphSAGE:
    try:
        model = GraphSAGE(**shape)
        model.load_state_dict(safetensors.load(body))
    except (SafetensorError, RuntimeError, TypeError) as error:
        raise CorruptObject(f"{where} does not fit: {str(error).splitlines()[0]}", _REMEDY) from None
    return model


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()

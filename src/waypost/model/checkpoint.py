"""A trained model in the store: `checkpoints/<name>/` with model.safetensors and a metadata.json that people can read.

A bundle like every other: the manifest comes last and carries digests, so a half-written checkpoint does not exist and
a damaged one is noticed. Loading runs no code from the files; what does not fit is CorruptObject, never used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError
from safetensors import torch as safetensors

from waypost.errors import CorruptObject
from waypost.model.graphsage import GraphSAGE
from waypost.objects.bundle import MANIFEST, load_files, load_manifest, save_bundle
from waypost.objects.protocols import ObjectStore

PREFIX = "checkpoints"
WEIGHTS, METADATA = "model.safetensors", "metadata.json"
FORMAT = 1
_REMEDY = "run `waypost trainer` to make a new one"


@dataclass(frozen=True)
class Checkpoint:
    model: GraphSAGE
    metadata: dict[str, Any]  # what save_checkpoint was given: fingerprint, settings, scores, git commit …


def save_checkpoint(store: ObjectStore, name: str, model: GraphSAGE, metadata: Mapping[str, Any]) -> None:
    """Names sort by time; `metadata` must be JSON. Raises StoreUnavailable."""
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    described = {**metadata, "format": FORMAT, "shape": model.shape()}
    files = {
        WEIGHTS: safetensors.save(weights),
        METADATA: (json.dumps(described, indent=2, sort_keys=True) + "\n").encode(),
    }
    save_bundle(store, f"{PREFIX}/{name}", files, {"format": FORMAT})


def load_checkpoint(store: ObjectStore, name: str) -> Checkpoint:
    """Raises CorruptObject for files that are absent, truncated, foreign or of another format; StoreUnavailable."""
    where = f"{PREFIX}/{name}"
    manifest = load_manifest(store, where)
    if manifest is None:
        raise CorruptObject(f"there is no checkpoint {where}", _REMEDY)
    files = load_files(store, where, manifest, lambda path: path in {WEIGHTS, METADATA})
    if missing := {WEIGHTS, METADATA} - set(files):
        raise CorruptObject(f"{where} lacks {', '.join(sorted(missing))}", _REMEDY)
    metadata = _parse_metadata(files[METADATA], where)
    return Checkpoint(_parse_model(files[WEIGHTS], metadata["shape"], where), metadata)


def latest_checkpoint(store: ObjectStore) -> str | None:
    """The name of the newest whole checkpoint; None when there is none."""
    end = f"/{MANIFEST}"
    keys = [found.key for found in store.list(f"{PREFIX}/") if found.key.endswith(end)]
    return max(keys).removeprefix(f"{PREFIX}/").removesuffix(end) if keys else None


def _parse_metadata(body: bytes, where: str) -> dict[str, Any]:
    try:
        metadata = json.loads(body)
    except ValueError:
        metadata = None
    if (
        not isinstance(metadata, dict)
        or metadata.get("format") != FORMAT
        or not isinstance(metadata.get("shape"), dict)
    ):
        raise CorruptObject(f"{where}/{METADATA} is not the metadata of a checkpoint of format {FORMAT}", _REMEDY)
    return metadata


def _parse_model(body: bytes, shape: dict[str, int], where: str) -> GraphSAGE:
    try:
        model = GraphSAGE(**shape)
        model.load_state_dict(safetensors.load(body))
    except (SafetensorError, RuntimeError, TypeError) as error:
        raise CorruptObject(f"{where}/{WEIGHTS} does not fit: {str(error).splitlines()[0]}", _REMEDY) from None
    return model

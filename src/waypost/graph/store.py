"""GraphTensors in S3, under `tensors/<fingerprint>/`, so that an unchanged graph is never read from Postgres twice.

One safetensors file and the tokenizer that made the token ids, as a bundle: verified before use, rebuilt when corrupt.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from waypost.errors import CorruptObject
from waypost.graph.snapshot import FORMAT
from waypost.graph.tensors import Csr, GraphTensors, Interactions
from waypost.objects.bundle import load_files, load_manifest, save_bundle
from waypost.objects.protocols import ObjectStore

logger = logging.getLogger(__name__)
_GRAPH, _TOKENIZER = "graph.safetensors", "tokenizer.json"


@dataclass(frozen=True, eq=False)
class CachedGraph:
    tensors: GraphTensors
    tokenizer: str  # tokenizer.json, which made tensors.post_tokens


def save_tensors(store: ObjectStore, fingerprint: str, graph: CachedGraph) -> None:
    """Write the bundle; its manifest comes last, so a half-written one is not there."""
    tensors = graph.tensors
    facts = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "users": tensors.num_users,
        "posts": tensors.num_posts,
        "tags": tensors.num_tags,
        "interactions": len(tensors.interactions),
    }
    files = {_GRAPH: to_bytes(tensors), _TOKENIZER: graph.tokenizer.encode()}
    save_bundle(store, f"tensors/{fingerprint}", files, facts)


def load_tensors(store: ObjectStore, fingerprint: str) -> CachedGraph | None:
    """The cached graph of that fingerprint; None when it is not there, or not whole, and so has to be built again."""
    prefix = f"tensors/{fingerprint}"
    try:
        manifest = load_manifest(store, prefix)
        if manifest is None:
            return None
        if manifest.facts.get("format") != FORMAT:
            raise CorruptObject(f"{prefix} is of format {manifest.facts.get('format')}, not {FORMAT}")
        files = load_files(store, prefix, manifest)
        return CachedGraph(from_bytes(files[_GRAPH]), files[_TOKENIZER].decode())
    except CorruptObject as error:
        logger.warning("cached tensors refused, rebuilding", extra={"cause": str(error)})
        return None


def to_bytes(tensors: GraphTensors) -> bytes:
    """One safetensors file; the same graph gives the same bytes."""
    body: bytes = safetensors.save(
        {
            "user_ids": tensors.user_ids,
            "post_ids": tensors.post_ids,
            "tag_ids": tensors.tag_ids,
            "post_author": tensors.post_author,
            "post_created_at": tensors.post_created_at,
            "post_tags.indptr": tensors.post_tags.indptr,
            "post_tags.indices": tensors.post_tags.indices,
            "post_tokens.indptr": tensors.post_tokens.indptr,
            "post_tokens.indices": tensors.post_tokens.indices,
            "interactions.user": tensors.interactions.user,
            "interactions.post": tensors.interactions.post,
            "interactions.kind": tensors.interactions.kind,
            "interactions.created_at": tensors.interactions.created_at,
            "names": _json_array({"tags": tensors.tag_names, "kinds": tensors.kinds}),
        }
    )
    return body


def from_bytes(body: bytes) -> GraphTensors:
    """The inverse of to_bytes. Raises CorruptObject."""
    try:
        arrays: dict[str, NDArray[Any]] = safetensors.load(body)
        names = json.loads(arrays["names"].tobytes())
        return GraphTensors(
            user_ids=arrays["user_ids"],
            post_ids=arrays["post_ids"],
            tag_ids=arrays["tag_ids"],
            tag_names=tuple(names["tags"]),
            kinds=tuple(names["kinds"]),
            post_author=arrays["post_author"],
            post_created_at=arrays["post_created_at"],
            post_tags=Csr(arrays["post_tags.indptr"], arrays["post_tags.indices"]),
            post_tokens=Csr(arrays["post_tokens.indptr"], arrays["post_tokens.indices"]),
            interactions=Interactions(
                arrays["interactions.user"],
                arrays["interactions.post"],
                arrays["interactions.kind"],
                arrays["interactions.created_at"],
            ),
        )
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CorruptObject(f"not a graph of ours: {type(error).__name__}") from None


def _json_array(content: object) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(content).encode(), np.uint8)

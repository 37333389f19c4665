"""Which user, post and tag each row of a model's tables is: kept beside the weights, so that another night finds them.

A row is found again by the app's own key, an integer, a text or a UUID, never by its position. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from waypost.errors import CorruptObject
from waypost.graph.indexing import ABSENT, IdIndex
from waypost.graph.tensors import GraphTensors, Int32Array, Int64Array, KeyType
from waypost.graph.texts import Texts

Keys = Int64Array | Texts


@dataclass(frozen=True, eq=False)
class NodeKeys:
    users: Keys  # [num_users] distinct, by row
    posts: Keys  # [num_posts]
    tags: Int64Array  # [num_tags]
    user_key_type: KeyType
    post_key_type: KeyType


def nodes_of(tensors: GraphTensors) -> NodeKeys:
    return NodeKeys(
        users=tensors.user_ids if tensors.user_keys is None else tensors.user_keys,
        posts=tensors.post_ids if tensors.post_keys is None else tensors.post_keys,
        tags=tensors.tag_ids,
        user_key_type=tensors.user_key_type,
        post_key_type=tensors.post_key_type,
    )


def rows_in(known: Keys, wanted: Keys) -> Int32Array:
    """[len(wanted)] for each wanted key its row in `known`, ABSENT where it is not there or keys are of other types."""
    if isinstance(known, Texts) and isinstance(wanted, Texts):
        row = {known.raw(index): index for index in range(len(known))}
        found = (row.get(wanted.raw(index), ABSENT) for index in range(len(wanted)))
        return np.fromiter(found, np.int32, len(wanted))
    if isinstance(known, Texts) or isinstance(wanted, Texts):
        return np.full(len(wanted), ABSENT, np.int32)
    return IdIndex(known).rows(wanted)


def encode_nodes(nodes: NodeKeys) -> bytes:
    arrays = {**_arrays("users", nodes.users), **_arrays("posts", nodes.posts), "tags.ids": nodes.tags}
    body: bytes = safetensors.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    return body


def decode_nodes(body: bytes, types: Mapping[str, KeyType], where: str) -> NodeKeys:
    """`types` as `key_types` gave them. Raises CorruptObject for what cannot be keys."""
    try:
        arrays = safetensors.load(body)
        nodes = NodeKeys(
            users=_keys(arrays, "users", types["user"]),
            posts=_keys(arrays, "posts", types["post"]),
            tags=_integers(arrays["tags.ids"]),
            user_key_type=types["user"],
            post_key_type=types["post"],
        )
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CorruptObject(f"{where} holds no keys of ours: {type(error).__name__} {error}") from None
    return nodes


def key_types(nodes: NodeKeys) -> dict[str, KeyType]:
    return {"user": nodes.user_key_type, "post": nodes.post_key_type}


def _arrays(name: str, keys: Keys) -> dict[str, NDArray[np.generic]]:
    if isinstance(keys, Texts):
        return {f"{name}.data": keys.data, f"{name}.offsets": keys.offsets}
    return {f"{name}.ids": keys}


def _keys(arrays: Mapping[str, NDArray[np.generic]], name: str, key_type: KeyType) -> Keys:
    if key_type == "integer":
        return _integers(arrays[f"{name}.ids"])
    offsets, data = _integers(arrays[f"{name}.offsets"]), arrays[f"{name}.data"]
    follow = len(offsets) and offsets[0] == 0 and offsets[-1] == len(data) and bool((np.diff(offsets) >= 0).all())
    if data.dtype != np.uint8 or not follow:
        raise ValueError(f"{name} do not fit together")
    return Texts(data.astype(np.uint8, copy=False), offsets)


def _integers(array: NDArray[np.generic]) -> Int64Array:
    if array.dtype != np.int64 or array.ndim != 1:
        raise ValueError("not a list of integers")
    return array.astype(np.int64, copy=False)

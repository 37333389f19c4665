"""The single truth about what goes into the served model and what comes out.

It generates config.pbtxt, drives the exporter's check and packs the worker's request, so that the three cannot
disagree. Every list input is padded with its own out-of-range row (`Sizes`), whose vector is zero: padding never
changes an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SIGNATURE_VERSION = 1
MODEL_NAME = "recommender"
MAX_ITEMS = (
    100  # the largest k a caller may ask for; the model always returns so many (fewer when there are fewer posts)
)
MAX_BATCH = 256  # rows in one call
ALLOWED, FORBIDDEN_SCORE = (
    1,
    -1e30,
)  # a post that must not be returned scores this; anything below half of it is not an item

Backend = Literal["onnxruntime", "python"]
Device = Literal["gpu", "cpu"]


@dataclass(frozen=True)
class Tensor:
    name: str
    dtype: type[np.generic]
    dims: tuple[int, ...]  # without the batch dimension; -1: any length from 1
    doc: str

    @property
    def triton_type(self) -> str:
        """`INT32`; config.pbtxt writes it with TYPE_ before it."""
        return {np.int32: "INT32", np.int64: "INT64", np.float32: "FP32"}[self.dtype]


INPUTS = (
    Tensor("user_index", np.int32, (1,), "row of the user; num_users for one the model does not know"),
    Tensor("recent_posts", np.int32, (-1,), "post rows the user touched since the night, padded with num_posts"),
    Tensor("query_tokens", np.int32, (-1,), "token ids of the query, padded with num_tokens"),
    Tensor("profile_tags", np.int32, (-1,), "tag rows that stand for the user's taste, padded with num_tags"),
    Tensor("restricted", np.int32, (1,), "1: only allowed_posts may be returned; 0: any post"),
    Tensor("allowed_posts", np.int32, (-1,), "post rows, padded with num_posts; read when restricted"),
    Tensor("blocked_posts", np.int32, (-1,), "post rows never returned, padded with num_posts"),
)
OUTPUTS = (
    Tensor("post_index", np.int64, (-1,), "post rows, best first"),
    Tensor("score", np.float32, (-1,), "their scores, descending; FORBIDDEN_SCORE from where no post was left"),
)


@dataclass(frozen=True)
class Sizes:
    """How many rows the served tables have; the number itself is the padding row."""

    num_users: int
    num_posts: int
    num_tags: int
    num_tokens: int

    @property
    def num_items(self) -> int:
        """How many posts one answer of the model holds."""
        return min(MAX_ITEMS, self.num_posts)


@dataclass(frozen=True)
class Row:
    """One user's part of a batch, in indices, unpadded."""

    user_index: int
    recent_posts: Sequence[int] | NDArray[np.int32] = ()
    query_tokens: Sequence[int] | NDArray[np.int32] = ()
    profile_tags: Sequence[int] | NDArray[np.int32] = ()
    restricted: bool = False
    allowed_posts: Sequence[int] | NDArray[np.int32] = ()
    blocked_posts: Sequence[int] | NDArray[np.int32] = ()


def pack(rows: Sequence[Row], sizes: Sizes) -> dict[str, NDArray[np.int32]]:
    """Input name -> int32 [len(rows), longest], padded."""
    padding = {
        "recent_posts": sizes.num_posts,
        "query_tokens": sizes.num_tokens,
        "profile_tags": sizes.num_tags,
        "allowed_posts": sizes.num_posts,
        "blocked_posts": sizes.num_posts,
    }
    packed = {name: _padded([getattr(row, name) for row in rows], value) for name, value in padding.items()}
    packed["user_index"] = np.array([[row.user_index] for row in rows], np.int32)
    packed["restricted"] = np.array([[int(row.restricted)] for row in rows], np.int32)
    return packed


def _padded(lists: Sequence[Sequence[int] | NDArray[np.int32]], value: int) -> NDArray[np.int32]:
    """Lengths are rounded up to a power of two: few distinct shapes, so that Triton can batch across requests."""
    longest = max(1, *(len(entries) for entries in lists)) if lists else 1
    packed = np.full((len(lists), 1 << (longest - 1).bit_length()), value, np.int32)
    for row, entries in zip(packed, lists, strict=True):
        row[: len(entries)] = entries
    return packed


def config_pbtxt(backend: Backend, device: Device) -> str:
    """Triton's model configuration, as text. `python` is the embedded Triton's way to run the same ONNX file."""
    ragged = backend == "python"  # our model.py pads and stacks requests itself; the onnxruntime backend cannot
    blocks = [
        f'name: "{MODEL_NAME}"',
        f'backend: "{backend}"',
        f"max_batch_size: {MAX_BATCH}",
        *[_tensor_block("input", tensor, ragged) for tensor in INPUTS],
        *[_tensor_block("output", tensor, False) for tensor in OUTPUTS],
        f"instance_group [\n  {{\n    kind: KIND_{device.upper()}\n    count: 1\n  }}\n]",
        "dynamic_batching {\n  max_queue_delay_microseconds: 1000\n}",
        "version_policy {\n  all {\n  }\n}",
    ]
    return "# Generated from src/waypost/model/signature.py; do not edit.\n" + "\n".join(blocks) + "\n"


def _tensor_block(kind: str, tensor: Tensor, ragged: bool) -> str:
    lines = [
        f'    name: "{tensor.name}"',
        f"    data_type: TYPE_{tensor.triton_type}",
        f"    dims: [ {', '.join(str(dim) for dim in tensor.dims)} ]",
        *(["    allow_ragged_batch: true"] if ragged and -1 in tensor.dims else []),
    ]
    return f"{kind} [\n  {{\n" + "\n".join(lines) + "\n  }\n]"


def check_inputs(arrays: dict[str, NDArray[Any]]) -> None:
    """Raises ValueError when the arrays are not what the model takes: Triton itself accepts more than it should."""
    for tensor in INPUTS:
        array = arrays.get(tensor.name)
        if array is None or array.dtype != tensor.dtype or array.ndim != 2:
            raise ValueError(f"input {tensor.name} must be {tensor.dtype.__name__} [batch, n]")

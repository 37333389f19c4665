"""ServingTables -> model.onnx: the graph is written in ONNX's own text syntax (served.onnxtxt), the tables are
attached.

Written by hand rather than traced, so that the operators, the opset and the IR version are ours and loadable by every
Triton since 24.10, whatever the versions of torch and onnx that happen to be installed.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from waypost.model.serving import ServingTables
from waypost.model.signature import FORBIDDEN_SCORE, Sizes

IR_VERSION, OPSET = 8, 17  # accepted by every ONNX Runtime since 1.12, so by Triton 22.07 and later


def sizes_of(tables: ServingTables) -> Sizes:
    return Sizes(
        num_users=len(tables.user_own),
        num_posts=len(tables.post_vector),
        num_tags=len(tables.tag_message),
        num_tokens=len(tables.token_message),
    )


def to_onnx(tables: ServingTables) -> bytes:
    """The served model as one ONNX file, checked. It answers what `reference_scores` answers from the same tables."""
    text = resources.files("waypost.exporter").joinpath("served.onnxtxt").read_text(encoding="utf-8")
    model = onnx.parser.parse_model(_without_comments(text))
    for name, array in _initializers(tables).items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model)
    body: bytes = model.SerializeToString()
    return body


def _initializers(tables: ServingTables) -> dict[str, NDArray[Any]]:
    sizes = sizes_of(tables)
    count = tables.user_state_count.astype(np.float32)[:, None]
    ones = np.ones((sizes.num_posts, 1), np.float32)
    return {
        "user_own": np.vstack([tables.user_own, tables.default_own[None, :]]),
        "user_state_sum": _with_zero_row(tables.user_state_sum),
        "user_state_count": _with_zero_row(count),
        "post_message": _with_zero_row(tables.post_message),
        "post_vector": _with_zero_row(np.hstack([tables.post_vector, ones])),
        "token_message": _with_zero_row(tables.token_message),
        "tag_message": _with_zero_row(tables.tag_message),
        "weight": np.ascontiguousarray(tables.weight.T),
        "alpha": np.array(tables.alpha, np.float32),
        "num_posts": np.array([[sizes.num_posts]], np.int32),
        "num_tokens": np.array([[sizes.num_tokens]], np.int32),
        "num_tags": np.array([[sizes.num_tags]], np.int32),
        "num_items": np.array([sizes.num_items], np.int64),
        "one": np.array(1, np.float32),
        "zero": np.array(0, np.float32),
        "zero_index": np.array(0, np.int32),
        "forbidden_score": np.array(FORBIDDEN_SCORE, np.float32),
        "axis_1": np.array([1], np.int64),
        "axis_2": np.array([2], np.int64),
    }


def _with_zero_row(table: NDArray[Any]) -> NDArray[np.float32]:
    """The padding row of the signature: it adds nothing wherever it is summed."""
    return np.vstack([table, np.zeros((1, table.shape[1]))]).astype(np.float32)


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))

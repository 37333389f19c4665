"""The python-backend model of the embedded Triton: it runs the release's model.onnx in ONNX Runtime.

Copied beside model.onnx as `model.py`, from this package and never from S3. It must import nothing of waypost: it
runs in Triton's own Python. All requests of a batch are stacked into one call, padded with the row that adds nothing.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

OUTPUTS = ("post_index", "score")
# The padding row of each list input is the last row of its table; that is how the model itself tells padding.
PADDING_TABLES = {
    "recent_posts": "num_posts",
    "allowed_posts": "num_posts",
    "blocked_posts": "num_posts",
    "query_tokens": "num_tokens",
    "profile_tags": "num_tags",
}


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        if int(np.__version__.split(".")[0]) >= 2:
            raise RuntimeError(f"numpy {np.__version__} makes every output of this Triton empty: install numpy<2")
        folder = os.path.join(args["model_repository"], args["model_version"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("WAYPOST_TRITON_THREADS", "0"))
        self._session = onnxruntime.InferenceSession(
            os.path.join(folder, "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        with open(os.path.join(folder, "padding.json"), encoding="utf-8") as file:
            sizes = json.load(file)
        self._padding = {name: int(sizes[table]) for name, table in PADDING_TABLES.items()}
        self._inputs = [node.name for node in self._session.get_inputs()]

    def execute(self, requests: list[Any]) -> list[Any]:
        batches = [
            {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
            for request in requests
        ]
        rows = [len(batch["user_index"]) for batch in batches]
        stacked = {name: self._stack(name, [batch[name] for batch in batches]) for name in self._inputs}
        outputs = self._session.run(list(OUTPUTS), stacked)
        ends = np.cumsum(rows)
        return [self._response(outputs, end - count, end) for count, end in zip(rows, ends, strict=True)]

    def _stack(self, name: str, arrays: list[Any]) -> Any:
        if len(arrays) == 1:
            return arrays[0]
        width = max(array.shape[1] for array in arrays)
        return np.concatenate(
            [
                np.pad(array, ((0, 0), (0, width - array.shape[1])), constant_values=self._padding.get(name, 0))
                for array in arrays
            ]
        )

    def _response(self, outputs: list[Any], start: int, end: int) -> Any:
        tensors = [
            pb_utils.Tensor(name, np.ascontiguousarray(output[start:end]))
            for name, output in zip(OUTPUTS, outputs, strict=True)
        ]
        return pb_utils.InferenceResponse(output_tensors=tensors)

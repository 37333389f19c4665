"""The release's own model file in ONNX Runtime, in this process: for the offline verb and the exporter's golden
answers."""

from __future__ import annotations

from typing import Any

import onnxruntime
from numpy.typing import NDArray

from waypost.errors import CorruptObject
from waypost.model.signature import OUTPUTS, check_inputs
from waypost.release.answering import Infer


def load_onnx(model: bytes, threads: int = 0) -> Infer:
    """`threads` 0: all cores. Raises CorruptObject when ONNX Runtime refuses the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common class but this
        raise CorruptObject(f"ONNX Runtime refuses model.onnx: {str(error).splitlines()[0]}") from error
    names = [tensor.name for tensor in OUTPUTS]

    def infer(inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        check_inputs(inputs)
        return dict(zip(names, session.run(names, inputs), strict=True))

    return infer

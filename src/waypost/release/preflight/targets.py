"""Which ONNX Runtime a Triton release carries, and what that one reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    onnxruntime: str
    ir_version: int  # the highest it reads
    opset: int  # the highest it knows


_ORT_1_19 = Target("1.19.2", 10, 21)
_ORT_1_22 = Target("1.22.0", 10, 22)
_ORT_1_23 = Target("1.23.2", 11, 23)
_ORT_1_24 = Target("1.24.4", 13, 25)
_ORT_1_27 = Target("1.27.0", 13, 26)

# Sources: `ort_version` in build.py of triton-inference-server/server, at each release's tag; the table of
# https://onnxruntime.ai/docs/reference/compatibility.html; IR and opset tried with the CPU wheels of the same versions.
# A release that is not here was not looked at: it is refused by name rather than guessed.
TARGETS = {
    "24.10": _ORT_1_19,
    "25.05": _ORT_1_22,
    "25.06": _ORT_1_22,
    "25.07": _ORT_1_22,
    "25.11": _ORT_1_23,
    "25.12": _ORT_1_23,
    "26.01": _ORT_1_23,
    "26.04": _ORT_1_24,
    "26.05": _ORT_1_24,
    "26.06": _ORT_1_24,
    "26.07": _ORT_1_27,
}

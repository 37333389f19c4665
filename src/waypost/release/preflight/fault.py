"""Fault: one kind of thing that can be wrong, as docs/preflight.md lists it."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    what: str
    why: str  # a release with it would fail
    fix: str
    source: str = ""  # where it was met: a thread of Triton's or ONNX Runtime's users, or "seen" on Triton 2.51


AGAIN = "publish the release again with `waypost exporter`"
FETCH = "fetch the release again"
EXPORT = "export again with plain operators at the pinned opset and IR version (exporter/onnx_graph.py)"
WRITE = "write the repository again with `waypost exporter --repository`"

"""The end of a process whose verb is done: everything said is flushed, every thread of ours has ended, and it is gone.

What would come after that is the native libraries' own end: OpenBLAS joins its threads, gRPC, ONNX Runtime and OpenMP
take theirs apart, in destructors that nobody bounds. Once, under load, an exporter whose release was published and told
stayed for 400 s. Nothing of ours happens there, so the process does not go there.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from contextlib import suppress


class Ending:
    """`armed` before a verb runs, so that what it registers for the interpreter's end comes first."""

    def __init__(self) -> None:
        self._code: int | None = None

    def arm(self) -> None:
        atexit.register(self._leave)  # the first to be registered is the last to run, threads were joined before

    def done(self, code: int) -> int:
        """The verb returned with this exit code. Where it did not, by an accident of ours, Python ends as always."""
        self._code = code
        return code

    def _leave(self) -> None:
        if self._code is None:
            return
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # its reader is gone, or it was closed
                stream.flush()
        os._exit(self._code)

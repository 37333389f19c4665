"""A stack for the doctor: real parts that are well, and the faults that are planted in them."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from waypost.clock import Clock, SystemClock
from waypost.doctor.findings import Finding
from waypost.verbs.doctor import look

NOBODY = "127.0.0.1:9"  # the discard service, which no machine runs any more
QUIET = argparse.Namespace(namespace=None)


def findings(environ: Mapping[str, str], clock: Clock | None = None) -> list[Finding]:
    """As `waypost doctor` would print them in this environment."""
    return list(look(QUIET, environ, clock or SystemClock()))


def wrong(found: list[Finding]) -> list[tuple[str, str]]:
    """Level and part of what is not well."""
    return [(finding.level, finding.part) for finding in found if finding.level in ("bad", "warn")]


def of(found: list[Finding], part: str) -> Finding:
    """The worst that was found of a part."""
    return next(finding for finding in found if finding.part == part)


@contextmanager
def silent_server() -> Iterator[str]:
    """host:port of a server that takes every connection and never says a word, as a stopped process does."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"127.0.0.1:{server.getsockname()[1]}"

"""`waypost local run`: everything in the foreground, from an empty folder to the first recommendation.

Standard output gets exactly two lines, `ready <url>` and the sample answer; the rest goes to standard error. The
night is a parameter, because this package knows no other process.
"""

from __future__ import annotations

import json
import logging
import signal
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from waypost.errors import LocalStackError, NoRelease
from waypost.graph.loading import load_directory
from waypost.graph.postgres import SessionLimits, open_snapshot
from waypost.local.layout import Layout
from waypost.local.reasons_reading import ReasonsReader
from waypost.local.reasons_server import reasons_told
from waypost.local.serving import read_published
from waypost.local.stack import down, read_died, up, up_serving
from waypost.local.world import write_world
from waypost.logs import stage
from waypost.objects.protocols import ObjectStore
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.questions import AppKey
from waypost.release import lookups
from waypost.release.opening import file_of
from waypost.release.pointer import read_pointer
from waypost.release.signing import TrustedKeys, trusted_keys
from waypost.release.store import LOOKUPS, load_release
from waypost.settings import (
    LoadSettings,
    LocalSettings,
    Part,
    Parts,
    SharedSettings,
    read_settings,
    read_shared,
    resolve_parts,
)

logger = logging.getLogger(__name__)
ALL_PARTS: tuple[Part, ...] = ("postgres", "s3", "sqs", "triton")
WORLD_SEED = 1
FIRST_ANSWER_SECONDS = 60.0  # a worker fetches, loads and proves a release in a few; a slow disk gets its time
SAMPLE_DEADLINE_MS = 2_000
READ_TIMEOUT_SECONDS = 30.0
HOLDS_ANYTHING = """
    SELECT (EXISTS (SELECT FROM users) OR EXISTS (SELECT FROM posts) OR EXISTS (SELECT FROM tags)
        OR EXISTS (SELECT FROM interactions))::int
"""
WATCH_SECONDS = 2.0  # how soon a part that died is started again


def start(environ: Mapping[str, str]) -> Parts:
    """Have the whole stack running in the background; where its parts are."""
    shared, settings = read_shared(environ), read_settings(LocalSettings, environ)
    if shared.embedded == "never":
        resolve_parts(shared, ALL_PARTS, None)  # raises when there is anything to embed
    with stage(logger, "embedded stack up", folder=str(shared.local_dir)):
        stack = up(shared.local_dir, settings, shared, ALL_PARTS)
        up_serving(shared.local_dir, environ)
    return resolve_parts(shared, ALL_PARTS, stack, environ.get("AWS_REGION"))


def run(environ: Mapping[str, str], night: Callable[[], object], *, once: bool, load: Path | None) -> int:
    """Up, data, night, first answer; then watch until a signal, or stop at once with `once`. Always goes down again."""
    shared, settings = read_shared(environ), read_settings(LocalSettings, environ)
    stopping = _stop_event()
    try:
        parts = start(environ)
        _have_data(parts, environ, settings, load)
        store = S3ObjectStore(s3_client(parts.s3), parts.bucket)
        if read_pointer(store) is None:
            night()
        url, answer = _first_answer(shared, store, trusted_keys(parts))
        print(f"ready {url}\n{json.dumps(answer)}", flush=True)  # noqa: T201
        if not once:
            with reasons_told(ReasonsReader(store, trusted_keys(parts)).served, Layout.of(shared.local_dir).reasons):
                _watch(shared, environ, stopping)
        return 0
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):  # a second one must not leave processes behind
            signal.signal(number, signal.SIG_IGN)
        with stage(logger, "embedded stack down"):
            down(shared.local_dir)


def _stop_event() -> threading.Event:
    """Set by SIGTERM; Ctrl-C interrupts at once, so that a long night can be stopped too."""
    stopping = threading.Event()

    def stop(number: int, frame: object) -> None:
        stopping.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    return stopping


def _have_data(parts: Parts, environ: Mapping[str, str], settings: LocalSettings, load: Path | None) -> None:
    """Fill an empty database; one that holds anything is left as it is, and so are tables that a mapping names."""
    if load is None and read_shared(environ).mapping_file is not None:
        logger.info("the mapping's own tables are read as they are, nothing is generated")
        return
    dsn = read_settings(LoadSettings, environ).postgres_dsn or parts.postgres_owner_dsn
    if _read_number(dsn, HOLDS_ANYTHING) != 0:
        return
    if load is not None:
        load_directory(dsn, load)
        return
    with tempfile.TemporaryDirectory(prefix="waypost-world-") as folder:
        with stage(logger, "world generated", interactions=settings.interactions):
            write_world(Path(folder), settings.interactions, WORLD_SEED)
        load_directory(dsn, Path(folder))


def _read_number(dsn: str, sql: str) -> int:
    """The one number that `sql` selects; NULL is 0. Raises PostgresUnavailable, SchemaError."""
    with open_snapshot(dsn, SessionLimits(connections=1, statement_timeout_seconds=READ_TIMEOUT_SECONDS)) as sessions:
        ((number,),) = sessions.first.fetch(sql)
    return int(number or 0)


def _first_answer(shared: SharedSettings, store: ObjectStore, trusted: TrustedKeys) -> tuple[str, dict[str, Any]]:
    """Ask as a known user until the model answers: the worker may still be loading the release."""
    layout = Layout.of(shared.local_dir)
    user = _known_user(store, trusted)
    deadline = time.monotonic() + FIRST_ANSWER_SECONDS
    last = "it did not answer"
    while time.monotonic() < deadline:
        published = read_published(layout, "gateway")
        if published is not None:
            try:
                answer = ask(published.url, {"user_id": user, "k": 5, "deadline_ms": SAMPLE_DEADLINE_MS})
                if answer["source"] == "graphsage":
                    return published.url, answer
                last = f"it answered from {answer['source']}"
            except OSError as error:
                last = str(error)
        time.sleep(0.2)
    raise LocalStackError(
        f"no answer of the model within {FIRST_ANSWER_SECONDS:.0f} s: {last}", f"see the logs in {layout.logs}"
    )


def _known_user(store: ObjectStore, trusted: TrustedKeys) -> AppKey:
    """The first user of whom the served release knows anything, as the app names him."""
    held = read_pointer(store)
    if held is None:
        raise NoRelease("no release was ever published", "run `waypost night` first")
    wanted = held.pointer
    _, files = load_release(store, wanted.release, trusted, version=wanted.version, wanted=lambda path: path == LOOKUPS)
    known = lookups.from_bytes(file_of(files, LOOKUPS))
    rows = np.flatnonzero(known.user_has_state)[:1]
    if not len(rows):
        raise LocalStackError("the release knows nothing of any user", "see `waypost schema check`")
    return known.users_at(rows)[0]


def ask(url: str, body: dict[str, object]) -> dict[str, Any]:
    """POST /recommend. Raises OSError, HTTP errors included."""
    request = urllib.request.Request(  # noqa: S310  a loopback URL that our own gateway wrote
        f"{url}/recommend", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=SAMPLE_DEADLINE_MS / 1_000 + 5) as response:  # noqa: S310
        answer: dict[str, Any] = json.load(response)
        return answer


def _watch(shared: SharedSettings, environ: Mapping[str, str], stopping: threading.Event) -> None:
    """Start again what dies, until a signal."""
    while not stopping.wait(WATCH_SECONDS):
        died = read_died(shared.local_dir)
        if died:
            logger.warning("parts died, starting them again", extra={"parts": ",".join(died)})
            start(environ)

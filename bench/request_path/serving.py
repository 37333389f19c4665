"""The real parts, as an operator runs them on one machine: S3 and SQS, Triton, worker, gateway, a process each."""

from __future__ import annotations

import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.progress import say
from bench.request_path.release import publish_release
from waypost.local.layout import Layout, PartName
from waypost.local.serving import read_published
from waypost.local.stack import down, up, up_serving
from waypost.local.supervisor import Supervisor
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.release.signing import load_signing_key
from waypost.settings import EmbeddedStack, LocalSettings, Part, read_settings, read_shared

PARTS: tuple[Part, ...] = ("s3", "sqs", "triton")
READY_SECONDS = 120.0  # to fetch, verify and load a release of 230 MB
LOOK_SECONDS = 0.1
AS_IN_A_CLUSTER = {"WAYPOST_GATEWAY_STATUS_PAGE": "off"}  # the embedded stack has it on
MIN_FREE_BYTES = 2**31  # the release in S3, in the worker's folder of kept ones and in Triton's


@dataclass(frozen=True)
class Serving:
    """A stack that serves the release."""

    folder: Path
    stack: EmbeddedStack

    @property
    def gateway_url(self) -> str:
        return self._published("gateway")[0]

    @property
    def metrics_urls(self) -> dict[str, str]:
        return {part: self._published(part)[1] for part in ("gateway", "worker")}

    def pid(self, part: PartName) -> int:
        """Of the process that leads the part; the emulator, Triton and their like have children."""
        leader = Supervisor(Layout.of(self.folder)).read_leader(part)
        assert leader is not None, f"{part} is gone"
        return leader.process.pid

    def restart(self, settings: Mapping[str, str], *parts: PartName) -> None:
        """Gateway and worker with other settings; returns when both are ready."""
        up_serving(self.folder, _environment(settings), parts or ("gateway", "worker"))
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        urls = [self.gateway_url, self.metrics_urls["worker"].removesuffix("/metrics")]
        eventually(lambda: all(answers(f"{url}/readyz") for url in urls), READY_SECONDS)

    def _published(self, part: PartName) -> tuple[str, str]:
        found = read_published(Layout.of(self.folder), part)
        assert found is not None, f"{part} says nowhere where it is"
        return found.url, found.metrics_url


@contextmanager
def serving(settings: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """The whole stack under a temporary folder, gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="waypost-bench-", ignore_cleanup_errors=True) as folder:
        local_dir = Path(folder) / "stack"
        free = MIN_FREE_BYTES
        stack = up(local_dir, read_settings(LocalSettings, {}), read_shared({}), PARTS, min_free_bytes=free)
        try:
            say("making and publishing a release over 200,000 posts")
            store = S3ObjectStore(s3_client(stack.aws()), stack.bucket)
            publish_release(store, load_signing_key(Path(stack.signing_key_file)))
            up_serving(local_dir, _environment(settings or {}))
            found = Serving(local_dir, stack)
            found.wait_until_ready()
            yield found
        finally:
            down(local_dir)


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WAYPOST_", "AWS_"))}
    return {**inherited, **AS_IN_A_CLUSTER, **settings}


def eventually(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not come to pass within {seconds:.0f} s")
        time.sleep(LOOK_SECONDS)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False

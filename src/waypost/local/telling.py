"""`waypost local status`: every part's state, and whether that is as it should be.

Before the first release gateway and worker live and wait for it; that is as it should be. With a release it is not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection

from waypost.errors import WaypostError
from waypost.local.stack import read_stack
from waypost.local.status import read_status
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.release.pointer import read_pointer
from waypost.settings import SharedSettings, resolve_parts

POINTER_SECONDS = 2.0  # S3 answers in milliseconds; a status that hangs tells nothing
FIRST_RELEASE = "waiting for the first release: run `waypost night`"
NOT_SERVED = "a release is published and not served yet; if this stays so, run `waypost doctor`"


def tell_status(shared: SharedSettings, region: str | None, *, as_json: bool) -> int:
    """Print every part's state; 0 when all are up or wait for the first release, else 1."""
    status = read_status(shared.local_dir)
    exit_code, remark = judge(
        [str(part["state"]) for part in status["parts"].values()], lambda: _is_released(shared, region)
    )
    if as_json:
        print(json.dumps(status))  # noqa: T201
        return exit_code
    for name, part in status["parts"].items():
        print(f"{name:9} {part['state']:10} pid {part['pid'] or '-':<8} {part['url'] or ''}")  # noqa: T201
    if remark:
        print(remark)  # noqa: T201
    return exit_code


def judge(states: Collection[str], is_released: Callable[[], bool]) -> tuple[int, str | None]:
    """The exit code, and what else there is to say. `is_released` is asked only where it matters."""
    if not set(states) <= {"up", "waiting"}:
        return 1, None
    if "waiting" not in states:
        return 0, None
    return (1, NOT_SERVED) if is_released() else (0, FIRST_RELEASE)


def _is_released(shared: SharedSettings, region: str | None) -> bool:
    """Whether a release was ever published; where S3 does not say, something is wrong and waiting is in vain."""
    try:
        parts = resolve_parts(shared, ["s3"], read_stack(shared.local_dir), region)
        client = s3_client(parts.s3, read_timeout_seconds=POINTER_SECONDS, attempts=1)
        return read_pointer(S3ObjectStore(client, parts.bucket)) is not None
    except WaypostError:
        return True

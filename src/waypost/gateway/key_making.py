"""Making an API key: its hash is added to the keys file, the key itself is returned and kept nowhere.

The file is replaced whole and at once, so that a gateway that reads it meanwhile sees the old one or the new one, and
only one such change is made at a time. What the file would then say is checked before it is written.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from waypost.errors import UsageError
from waypost.gateway.keys import RECOMMEND, ApiKey, load_api_keys, parse_api_keys, read_entries
from waypost.gateway.quotas import Quota

KEY_BYTES = 32  # of randomness: nobody guesses it, and a plain digest protects it
PREFIX = "wp_"  # so that a scanner for lost secrets knows it
PRIVATE_FILE = 0o600


def make_key(file: Path, name: str, tenant: str | None, quota: Quota, scopes: Sequence[str] = (RECOMMEND,)) -> str:
    """The new key. Without a quota it shares its tenant's. Raises UsageError, SettingsError when the file is wrong,
    OSError."""
    file = file.resolve()  # a link stays one
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    with _alone_in(file.parent):
        held = load_api_keys(file) if file.exists() else ()
        if name in {one.id for one in held}:
            raise UsageError(f"a key with the id {name} exists", "choose another; --tenant joins it to the same tenant")
        entry = _entry(name, tenant or name, key, quota, scopes, held)
        entries = read_entries(file.read_text()) if held else []
        text = json.dumps({"keys": [*entries, entry]}, indent=2) + "\n"
        _require_whole(text)
        _replace(file, text)
    return key


def _entry(
    name: str, tenant: str, key: str, quota: Quota, scopes: Sequence[str], held: Sequence[ApiKey]
) -> dict[str, Any]:
    if quota == Quota():
        quota = next((one.quota for one in held if one.tenant == tenant), quota)
    stated = {field: value for field, value in asdict(quota).items() if value is not None}
    digest = hashlib.sha256(key.encode()).hexdigest()
    made = datetime.now(UTC).date().isoformat()  # its age is watched
    return {"id": name, "tenant": tenant, "sha256": digest, "scopes": list(scopes), "created": made, **stated}


def _require_whole(text: str) -> None:
    try:
        parse_api_keys(text)
    except ValueError as error:
        raise UsageError(str(error), "state the tenant's quota as its other keys do, or none") from None


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _replace(file: Path, text: str) -> None:
    mode = file.stat().st_mode & 0o777 if file.exists() else PRIVATE_FILE
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w") as new:
            new.write(text)
            new.flush()
            os.fsync(new.fileno())
        os.chmod(name, mode)
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise

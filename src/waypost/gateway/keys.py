"""API keys: who may ask. The file holds only SHA-256 digests, so reading it lets nobody in; it is read again when it
changes.

One JSON object a line, or {"keys": [...]}: {"id": "app", "sha256": "<64 hex>", "scopes": ["recommend"]}. A key is a
long random string (`openssl rand -hex 32`), which is why a plain digest is enough.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from waypost.errors import SettingsError

RECOMMEND = "recommend"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BEARER = "bearer "
Verdict = Literal["allowed", "unknown", "out of scope"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ApiKey:
    id: str
    sha256: str
    scopes: frozenset[str]


class ApiKeys:
    """Without a file everybody may ask, and the gateway binds to loopback only."""

    def __init__(self, path: Path | None) -> None:
        """Raises SettingsError when the file cannot be read or is not a keys file."""
        self._path = path
        self._stamp = _stamp(path)
        self._keys = load_api_keys(path) if path else ()

    @property
    def asked_for(self) -> bool:
        return self._path is not None

    def judge(self, authorization: str | None, scope: str = RECOMMEND) -> Verdict:
        """The header's verdict; in the same time for every wrong key."""
        if self._path is None:
            return "allowed"
        if authorization is None or authorization[: len(_BEARER)].lower() != _BEARER:
            return "unknown"
        given = hashlib.sha256(authorization[len(_BEARER) :].strip().encode(errors="replace")).hexdigest()
        found = [key for key in self._keys if hmac.compare_digest(key.sha256, given)]
        if not found:
            return "unknown"
        return "allowed" if scope in found[0].scopes else "out of scope"

    def reload(self) -> None:
        """Read the file again if it changed; a file that is wrong now leaves the keys as they were."""
        stamp = _stamp(self._path)
        if self._path is None or stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = load_api_keys(self._path)
        except SettingsError as error:
            logger.warning("API keys stay as they were", extra={"cause": str(error)})
        else:
            logger.info("API keys read again", extra={"keys": len(self._keys)})


def load_api_keys(path: Path) -> Sequence[ApiKey]:
    """Raises SettingsError naming the file and what is wrong with it."""
    try:
        return parse_api_keys(path.read_text())
    except OSError as error:
        raise SettingsError(f"the API keys file {path} cannot be read: {error.strerror}", _REMEDY) from None
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"the API keys file {path} is wrong: {error}", _REMEDY) from None


_REMEDY = 'write {"keys": [{"id": …, "sha256": …, "scopes": ["recommend"]}]} to WAYPOST_GATEWAY_API_KEYS_FILE'


def parse_api_keys(text: str) -> Sequence[ApiKey]:
    """Raises ValueError, KeyError or TypeError for anything that is not a keys file."""
    keys = tuple(_api_key(entry) for entry in _entries(text))
    if not keys:
        raise ValueError("it holds no key")
    return keys


def _entries(text: str) -> list[Any]:
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    if not isinstance(whole, dict):
        raise TypeError("it is no JSON object")
    return list(whole.get("keys", [whole]))


def _api_key(entry: dict[str, Any]) -> ApiKey:
    if not _SHA256.fullmatch(str(entry["sha256"]).lower()):
        raise ValueError(f"the sha256 of key {entry['id']} is not 64 hexadecimal digits")
    scopes = entry.get("scopes", [RECOMMEND])
    if not isinstance(scopes, list):
        raise ValueError(f"the scopes of key {entry['id']} are no list")
    return ApiKey(str(entry["id"]), str(entry["sha256"]).lower(), frozenset(map(str, scopes)))


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """Changes whenever the file does, also when a secret's symbolic link is moved."""
    if path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino

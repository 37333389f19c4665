"""API keys: who may ask, and for which tenant. The file holds only SHA-256 digests, so reading it lets nobody in; it is
read again when it changes, so a key is rotated without a restart: add the new one, move the callers, take the old one.

One JSON object a line, or {"keys": [...]}: {"id": "app", "sha256": "<64 hex>", "scopes": ["recommend"]}, where wanted
with "tenant" (the id when absent) and its quota: "requests_per_second", "burst", "concurrency". A key is a long random
string, which is why a plain digest is enough: `waypost gateway key` makes one. It is looked up by its digest, which
tells a guesser's stopwatch nothing about the key, and then compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from waypost.errors import SettingsError
from waypost.gateway.quotas import Quota

RECOMMEND = "recommend"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BEARER = b"bearer "
_NO_DIGEST = bytes(32)
_FIELDS = frozenset({"created", "id", "sha256", "scopes", "tenant", "requests_per_second", "burst", "concurrency"})
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ApiKey:
    id: str
    digest: bytes  # SHA-256 of the key
    scopes: frozenset[str]
    tenant: str
    quota: Quota  # the tenant's


ANYBODY = ApiKey("anybody", _NO_DIGEST, frozenset({RECOMMEND}), "anybody", Quota())


class ApiKeys:
    """Without a file everybody may ask, as one tenant, and the gateway binds to loopback only."""

    def __init__(self, path: Path | None) -> None:
        """Raises SettingsError when the file cannot be read or is not a keys file."""
        self._path = path
        self._stamp = _stamp(path)
        self._hold(load_api_keys(path) if path else ())

    @property
    def asked_for(self) -> bool:
        return self._path is not None

    @property
    def quotas(self) -> Mapping[str, Quota]:
        """Of each tenant; another object after each change of the file."""
        return self._quotas

    def find(self, authorization: bytes | None) -> ApiKey | None:
        """The key that the header carries, in the same time for every wrong one; None for none of ours."""
        if self._path is None:
            return ANYBODY
        if authorization is None or authorization[: len(_BEARER)].lower() != _BEARER:
            return None
        digest = hashlib.sha256(authorization[len(_BEARER) :].strip()).digest()
        found = self._by_digest.get(digest, ANYBODY)
        return found if hmac.compare_digest(found.digest, digest) else None

    def _hold(self, keys: Sequence[ApiKey]) -> None:
        self._by_digest = {key.digest: key for key in keys}
        self._quotas = {key.tenant: key.quota for key in keys}

    def reload(self) -> None:
        """Read the file again if it changed; a file that is wrong now leaves the keys as they were."""
        stamp = _stamp(self._path)
        if self._path is None or stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._hold(load_api_keys(self._path))
        except SettingsError as error:
            logger.warning("API keys stay as they were", extra={"cause": str(error)})
        else:
            logger.info("API keys read again", extra={"keys": len(self._by_digest)})


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
    keys = tuple(_api_key(entry) for entry in read_entries(text))
    if not keys:
        raise ValueError("it holds no key")
    stated: dict[str, Quota] = {}
    for key in keys:
        if stated.setdefault(key.tenant, key.quota) != key.quota:
            raise ValueError(f"the keys of tenant {key.tenant} state different quotas")
    return keys


def read_entries(text: str) -> list[Any]:
    """The file's entries, unchecked. Raises ValueError or TypeError."""
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    if not isinstance(whole, dict):
        raise TypeError("it is no JSON object")
    return list(whole.get("keys", [whole]))


def _api_key(entry: dict[str, Any]) -> ApiKey:
    name = entry["id"]
    if not _SHA256.fullmatch(str(entry["sha256"]).lower()):
        raise ValueError(f"the sha256 of key {name} is not 64 hexadecimal digits")
    scopes = entry.get("scopes", [RECOMMEND])
    if not isinstance(scopes, list):
        raise ValueError(f"the scopes of key {name} are no list")
    if unknown := sorted(entry.keys() - _FIELDS):  # a quota that is misspelled would limit nobody
        raise ValueError(f"key {name} has an unknown field: {unknown[0]}")
    quota = Quota(
        _limit(entry, "requests_per_second", float), _limit(entry, "burst", int), _limit(entry, "concurrency", int)
    )
    tenant = str(entry.get("tenant", name))
    return ApiKey(str(name), bytes.fromhex(str(entry["sha256"])), frozenset(map(str, scopes)), tenant, quota)


N = TypeVar("N", int, float)


def _limit(entry: dict[str, Any], field: str, kind: type[N]) -> N | None:
    value = entry.get(field)
    if value is None:
        return None
    if type(value) not in (int, kind) or not 0 < value < math.inf:
        raise ValueError(f"{field} of key {entry['id']} is no number above 0")
    return kind(value)


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """Changes whenever the file does, also when a secret's symbolic link is moved."""
    if path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino

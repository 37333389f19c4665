"""Signatures of messages and replies: HMAC-SHA256 over the exact bytes, in base64, with the name of its key.

The first key of the file signs and every key verifies, so a key is changed by putting the new one second, then first,
then dropping the old one. A signature says that a part of ours wrote the bytes, not that they are well-formed.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from waypost.errors import BadSignature, SettingsError

MIN_SECRET_BYTES = 16  # shorter secrets can be guessed
REMEDY = "see WAYPOST_MESSAGE_KEYS_FILE"


@dataclass(frozen=True)
class MessageKey:
    id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class Signature:
    key_id: str
    value: str  # base64


class Keyring:
    """Raises SettingsError when there is no key to sign with."""

    def __init__(self, keys: Sequence[MessageKey]) -> None:
        if not keys:
            raise SettingsError("the message keys file holds no key", REMEDY)
        self._signing = keys[0]
        self._by_id = {key.id: key for key in reversed(keys)}  # of two with one id the first counts

    def sign(self, body: bytes) -> Signature:
        return Signature(self._signing.id, _signature(self._signing, body))

    def derive(self, purpose: bytes) -> bytes:
        """A key for something else, the same wherever this key signs; `purpose` must be no message (no JSON)."""
        return hmac.digest(self._signing.secret, purpose, "sha256")

    def verify(self, body: bytes, key_id: str | None, value: str | None) -> None:
        """Raises BadSignature unless one of our keys signed exactly these bytes."""
        if not key_id or not value:
            raise BadSignature("the message is not signed")
        key = self._by_id.get(key_id)
        if key is None:
            raise BadSignature("the message is signed by an unknown key")
        if not hmac.compare_digest(_signature(key, body).encode(), value.encode(errors="replace")):
            raise BadSignature("the signature does not fit the message")


def load_keyring(path: Path) -> Keyring:
    """Raises SettingsError naming the file when it cannot be read or is not a keys file."""
    try:
        return parse_keyring(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"the message keys file {path} cannot be read: {error.strerror}", REMEDY) from None
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise SettingsError(f'{path} is not {{"keys": [{{"id": …, "secret": base64}}]}}', REMEDY) from None


def parse_keyring(content: bytes) -> Keyring:
    """Raises ValueError, KeyError or TypeError for anything that is not a keys file."""
    keys = [
        MessageKey(str(key["id"]), base64.b64decode(key["secret"], validate=True))
        for key in json.loads(content)["keys"]
    ]
    if any(len(key.secret) < MIN_SECRET_BYTES for key in keys):
        raise SettingsError(f"a message key is shorter than {MIN_SECRET_BYTES} bytes", REMEDY)
    return Keyring(keys)


def _signature(key: MessageKey, body: bytes) -> str:
    return base64.b64encode(hmac.digest(key.secret, body, "sha256")).decode()

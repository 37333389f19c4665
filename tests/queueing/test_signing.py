"""Signatures: one of our keys over exactly these bytes, or nothing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path

import pytest

from waypost.errors import BadSignature, SettingsError
from waypost.queueing.signing import Keyring, MessageKey, load_keyring

OLD = MessageKey("2024", b"an old secret of ours")
NEW = MessageKey("2025", b"a new secret of ours!")
BODY = b'{"schema":1}'


def test_a_signature_is_the_base64_hmac_sha256_of_the_body() -> None:
    expected = base64.b64encode(hmac.new(NEW.secret, BODY, hashlib.sha256).digest()).decode()
    signature = Keyring([NEW, OLD]).sign(BODY)
    assert (signature.key_id, signature.value) == ("2025", expected)


def test_the_first_key_signs_and_every_key_verifies() -> None:
    signature = Keyring([OLD]).sign(BODY)
    ring = Keyring([NEW, OLD])
    ring.verify(BODY, signature.key_id, signature.value)
    assert ring.sign(BODY).key_id == "2025"


@pytest.mark.parametrize(
    ("body", "key_id", "value"),
    [
        (BODY + b" ", "2025", Keyring([NEW]).sign(BODY).value),
        (BODY, "2024", Keyring([NEW]).sign(BODY).value),
        (BODY, "2026", Keyring([NEW]).sign(BODY).value),
        (BODY, "2025", ""),
        (BODY, "2025", None),
        (BODY, None, Keyring([NEW]).sign(BODY).value),
        (BODY, "2025", "é\ud800"),
        (BODY, "2025", Keyring([NEW]).sign(BODY).value.rstrip("=")),
    ],
)
def test_anything_else_is_a_bad_signature(body: bytes, key_id: str | None, value: str | None) -> None:
    with pytest.raises(BadSignature):
        Keyring([NEW, OLD]).verify(body, key_id, value)


def test_a_keys_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "message-keys.json"
    keys = [{"id": key.id, "secret": base64.b64encode(key.secret).decode()} for key in (NEW, OLD)]
    file.write_text(json.dumps({"keys": keys}))
    assert load_keyring(file).sign(BODY) == Keyring([NEW]).sign(BODY)


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"keys": []}', '{"keys": [{"id": "1"}]}', '{"keys": [{"id": "1", "secret": "no base64!"}]}',
     '{"keys": [{"id": "1", "secret": "c2hvcnQ="}]}', '{"keys": {"id": "1"}}', '{"keys": [{"id": "1", "secret": 5}]}'],
)  # fmt: skip
def test_a_wrong_keys_file_is_one_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "message-keys.json"
    file.write_text(content)
    with pytest.raises(SettingsError) as refusal:
        load_keyring(file)
    assert "WAYPOST_MESSAGE_KEYS_FILE" in str(refusal.value)


def test_an_absent_keys_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.json cannot be read"):
        load_keyring(tmp_path / "nowhere.json")


def test_a_secret_is_never_printed() -> None:
    assert "secret of ours" not in repr(NEW)

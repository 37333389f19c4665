"""The embedded stack's own keys: made once per folder, private files, never printed."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from waypost.errors import LocalStackError
from waypost.local.layout import Layout, save_private

MESSAGE_KEY_BYTES = 32  # HMAC-SHA256 gains nothing from more than its block
PASSWORD_BYTES = 24


@dataclass(frozen=True)
class PostgresPasswords:
    superuser: str
    owner: str
    reader: str


@dataclass(frozen=True)
class AwsKeys:
    access_key_id: str
    secret_access_key: str


def load_or_make_postgres_passwords(layout: Layout) -> PostgresPasswords:
    """The server knows these by heart: with its data but without the file nobody gets in any more."""
    path = layout.secret("postgres")
    if layout.postgres.exists() and not path.exists():
        raise LocalStackError(
            f"{path} is missing but {layout.postgres} holds data", "restore the file or remove the data"
        )
    said = _load_or_make(
        path, lambda: asdict(PostgresPasswords(*(secrets.token_urlsafe(PASSWORD_BYTES) for _ in range(3))))
    )
    return PostgresPasswords(*_texts(path, said, "superuser", "owner", "reader"))


def load_or_make_aws_keys(layout: Layout) -> AwsKeys:
    path = layout.secret("aws")
    said = _load_or_make(
        path, lambda: asdict(AwsKeys("AKIA" + secrets.token_hex(8).upper(), secrets.token_urlsafe(30)))
    )
    return AwsKeys(*_texts(path, said, "access_key_id", "secret_access_key"))


def make_message_keys(layout: Layout) -> Path:
    """The file of the keys that sign messages: the first one signs, all of them verify."""
    path = layout.message_keys_file
    _load_or_make(path, lambda: {"keys": [{"id": "k1", "secret": _random_base64(MESSAGE_KEY_BYTES)}]})
    return path


def make_release_keys(layout: Layout) -> tuple[Path, Path]:
    """The file of the key that signs releases, and the file of the public keys that are trusted."""
    private, public = layout.signing_key_file, layout.release_keys_file
    if not private.exists():
        made = Ed25519PrivateKey.generate()
        save_private(private, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
    trusted = public.read_text() if public.exists() else ""
    half = _public_half(private)
    if half not in trusted:  # an earlier key stays: what it signed is still ours
        save_private(public, trusted + half)
    return private, public


def _public_half(private: Path) -> str:
    try:
        key = load_pem_private_key(private.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise LocalStackError(f"{private} cannot be read: {error}", "restore it or remove it") from None
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _random_base64(length: int) -> str:
    return base64.b64encode(secrets.token_bytes(length)).decode()


def _load_or_make(path: Path, make: Callable[[], dict[str, object]]) -> dict[str, object]:
    if not path.exists():
        save_private(path, json.dumps(make()))
    try:
        said = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise LocalStackError(f"{path} cannot be read: {error}", "restore it or remove it") from None
    return said if isinstance(said, dict) else {}


def _texts(path: Path, said: dict[str, object], *names: str) -> list[str]:
    missing = [name for name in names if not isinstance(said.get(name), str)]
    if missing:
        raise LocalStackError(f"{path} lacks {', '.join(missing)}", "restore it or remove it")
    return [str(said[name]) for name in names]

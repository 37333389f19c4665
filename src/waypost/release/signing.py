"""Who made a release: an Ed25519 signature inside its manifest, over the manifest's canonical bytes without it.

The manifest holds size and sha256 of every file, so one signature covers them all. The exporter signs with one key,
readers trust several: a key is changed by trusting the new one everywhere, then signing with it, then dropping the old
one. Keys are PEM files as `openssl genpkey -algorithm ed25519` writes them; a key's id is a digest of its public half.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import re
from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from waypost.errors import CorruptObject, SettingsError
from waypost.objects.bundle import Manifest
from waypost.settings import Parts

logger = logging.getLogger(__name__)
FIELD = "signature"  # of the manifest
KEY_ID_CHARACTERS = 16  # of the public key's sha256: enough to tell a handful of keys apart
SIGNING_KEY, TRUSTED_KEYS = "WAYPOST_EXPORTER_SIGNING_KEY_FILE", "WAYPOST_RELEASE_KEYS_FILE"
HOW_TO_MAKE = "make one with `openssl genpkey -algorithm ed25519 -out KEY.pem`"
HOW_TO_TRUST = "write its public half there with `openssl pkey -in KEY.pem -pubout`"
_PUBLIC_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


class SigningKey:
    """The private half; it signs manifests."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.id = key_id(key.public_key())

    @property
    def public(self) -> Ed25519PublicKey:
        return self._key.public_key()

    def sign(self, manifest: Manifest) -> Manifest:
        """The same manifest with its signature; one that was there before is replaced."""
        value = base64.b64encode(self._key.sign(signed_bytes(manifest))).decode()
        return Manifest(manifest.files, {**manifest.facts, FIELD: {"key_id": self.id, "ed25519": value}})


class TrustedKeys:
    """The public halves; without any, every manifest passes and only digests protect a release."""

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        self._keys = {key_id(key): key for key in keys}

    def __len__(self) -> int:
        return len(self._keys)

    def verify(self, manifest: Manifest) -> None:
        """Raises CorruptObject unless one of these keys signed exactly this manifest."""
        if not self._keys:
            return
        release = f"release {manifest.facts.get('release')}"
        named = signed_by(manifest)
        if named is None:
            raise CorruptObject(f"{release} is not signed", "publish again with `waypost exporter`, or roll back")
        key = self._keys.get(named)
        if key is None:
            raise CorruptObject(
                f"{release} is signed by the unknown key {named[:KEY_ID_CHARACTERS]}",
                f"add its public half to {TRUSTED_KEYS} if it is yours, else delete that release",
            )
        try:
            key.verify(_signature_of(manifest), signed_bytes(manifest))
        except (InvalidSignature, ValueError):
            raise CorruptObject(
                f"{release}: its manifest differs from what was signed", "publish again, or roll back"
            ) from None


NO_KEYS = TrustedKeys(())


def signed_bytes(manifest: Manifest) -> bytes:
    """What a signature is over: the canonical manifest without the signature."""
    facts = {name: value for name, value in manifest.facts.items() if name != FIELD}
    return Manifest(manifest.files, facts).to_bytes()


def signed_by(manifest: Manifest) -> str | None:
    """The id of the key that the manifest says it is signed with; None when it is not signed."""
    said = manifest.facts.get(FIELD)
    return str(said.get("key_id")) if isinstance(said, dict) else None


def key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:KEY_ID_CHARACTERS]


def _signature_of(manifest: Manifest) -> bytes:
    """Raises ValueError unless the field is exactly as `sign` writes it: another spelling is another manifest."""
    said = manifest.facts[FIELD]
    if set(said) != {"key_id", "ed25519"} or not isinstance(said["ed25519"], str):
        raise ValueError
    value = base64.b64decode(said["ed25519"], validate=True)
    if base64.b64encode(value).decode() != said["ed25519"]:  # base64 has spare bits
        raise ValueError
    return value


def load_signing_key(path: Path) -> SigningKey:
    """Raises SettingsError naming the file when it cannot be read or holds no private Ed25519 key."""
    try:
        key = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it asks for a password
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"{path} holds no private Ed25519 key in PEM without a password", HOW_TO_MAKE)
    return SigningKey(key)


def load_trusted_keys(path: Path) -> TrustedKeys:
    """One PEM block a key, one after the other. Raises SettingsError naming the file."""
    keys: list[Ed25519PublicKey] = []
    for block in _PUBLIC_PEM.findall(_read(path)):
        try:
            key = load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm, binascii.Error):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise SettingsError(f"{path} holds a key that is no public Ed25519 key in PEM", HOW_TO_TRUST)
        keys.append(key)
    if not keys:
        raise SettingsError(f"{path} holds no public Ed25519 key in PEM", HOW_TO_TRUST)
    return TrustedKeys(keys)


def trusted_keys(parts: Parts) -> TrustedKeys:
    """The keys whose releases this process believes, as set or embedded. Raises SettingsError."""
    if parts.release_keys_file is not None:
        return load_trusted_keys(parts.release_keys_file)
    _require_unsigned_allowed(parts, TRUSTED_KEYS, "the file of the public keys whose releases may be served")
    logger.warning("releases are checked by digest only", extra={"cause": f"{TRUSTED_KEYS} is not set"})
    return NO_KEYS


def signing_key(given: Path | None, parts: Parts) -> SigningKey | None:
    """The key to sign releases with: the one that is set, else the embedded one. Raises SettingsError.

    None where unsigned releases are allowed. A key whose own releases the readers' keys would refuse
    is refused here, before anything is made.
    """
    path = given or parts.signing_key_file
    if path is None:
        _require_unsigned_allowed(parts, SIGNING_KEY, "the file of the key that signs releases")
        return None
    key = load_signing_key(path)
    if parts.release_keys_file is not None:
        try:
            load_trusted_keys(parts.release_keys_file).verify(key.sign(Manifest((), {})))
        except CorruptObject:
            raise SettingsError(
                f"no reader would trust {path}: not in {parts.release_keys_file}", HOW_TO_TRUST
            ) from None
    return key


def _require_unsigned_allowed(parts: Parts, name: str, what: str) -> None:
    if not parts.unsigned_allowed:
        raise SettingsError(f"{name} is not set and WAYPOST_EMBEDDED=never", f"set it to {what}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror}", "make it readable, or name another file"
        ) from None

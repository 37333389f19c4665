"""Who made a release: keys in files, several trusted, and nothing that passes for a signature without being one."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from waypost.errors import CorruptObject, SettingsError
from waypost.objects.bundle import Manifest, describe, parse_manifest
from waypost.release.signing import (
    NO_KEYS,
    SigningKey,
    TrustedKeys,
    load_signing_key,
    load_trusted_keys,
    signed_by,
    signing_key,
    trusted_keys,
)
from waypost.settings import Parts

OLD, NEW, FOREIGN = (SigningKey(Ed25519PrivateKey.generate()) for _ in range(3))
PLAIN = describe({"model.onnx": b"1"}, {"release": "a", "version": 1, "scores": {"recall": 0.1}})


def public_pem(key: SigningKey) -> bytes:
    return key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def with_signature(**changes: Any) -> Manifest:
    signed = OLD.sign(PLAIN)
    return Manifest(signed.files, {**signed.facts, "signature": {**signed.facts["signature"], **changes}})


def test_what_a_trusted_key_signed_passes_also_after_a_key_was_changed() -> None:
    trusted = TrustedKeys([OLD.public, NEW.public])
    for key in (OLD, NEW):
        signed = key.sign(PLAIN)
        assert signed_by(signed) == key.id
        trusted.verify(signed)
        trusted.verify(parse_manifest(signed.to_bytes(), "x"))
    with pytest.raises(CorruptObject, match=f"release a is signed by the unknown key {OLD.id}"):
        TrustedKeys([NEW.public]).verify(OLD.sign(PLAIN))


def test_without_keys_everything_passes() -> None:
    NO_KEYS.verify(PLAIN)
    NO_KEYS.verify(FOREIGN.sign(PLAIN))
    assert signed_by(PLAIN) is None


def test_signing_again_replaces_the_signature() -> None:
    TrustedKeys([NEW.public]).verify(NEW.sign(OLD.sign(PLAIN)))


@pytest.mark.parametrize(
    "manifest",
    [
        PLAIN,
        FOREIGN.sign(PLAIN),
        Manifest(PLAIN.files, {**OLD.sign(PLAIN).facts, "version": 2}),
        Manifest((), OLD.sign(PLAIN).facts),
        with_signature(ed25519=FOREIGN.sign(PLAIN).facts["signature"]["ed25519"]),
        with_signature(ed25519=""),
        with_signature(ed25519="not base64!"),
        with_signature(ed25519=7),
        with_signature(ed25519=base64.b64encode(bytes(64)).decode()),
        with_signature(key_id=7),
        with_signature(more="x"),
        Manifest(PLAIN.files, {**PLAIN.facts, "signature": [1]}),
        Manifest(PLAIN.files, {**PLAIN.facts, "signature": {"key_id": OLD.id}}),
    ],
    ids=range(13),
)
def test_nothing_else_passes_for_a_signature(manifest: Manifest) -> None:
    with pytest.raises(CorruptObject):
        TrustedKeys([OLD.public]).verify(manifest)


def test_another_spelling_of_the_same_signature_is_refused() -> None:
    """The last character of 64 bytes in base64 has four spare bits: one flipped there decodes to the same bytes."""
    text = OLD.sign(PLAIN).facts["signature"]["ed25519"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = text[:-3] + alphabet[alphabet.index(text[-3]) ^ 1] + "=="
    assert base64.b64decode(other) == base64.b64decode(text)
    with pytest.raises(CorruptObject, match="differs from what was signed"):
        TrustedKeys([OLD.public]).verify(with_signature(ed25519=other))


def test_keys_that_openssl_made_are_read(tmp_path: Path) -> None:
    private, public = tmp_path / "key.pem", tmp_path / "keys.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True, timeout=30)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True, timeout=30)
    public.write_bytes(b"# the old one\n" + public_pem(OLD) + b"\n# the new one\n" + public.read_bytes())
    trusted = load_trusted_keys(public)
    assert len(trusted) == 2
    trusted.verify(load_signing_key(private).sign(PLAIN))
    trusted.verify(OLD.sign(PLAIN))


def test_anybody_can_check_a_signature_with_openssl(tmp_path: Path) -> None:
    signed = OLD.sign(PLAIN)
    (tmp_path / "keys.pem").write_bytes(public_pem(OLD))
    (tmp_path / "signature").write_bytes(base64.b64decode(signed.facts["signature"]["ed25519"]))
    for body, agrees in ((PLAIN.to_bytes(), True), (PLAIN.to_bytes() + b" ", False)):
        (tmp_path / "manifest").write_bytes(body)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "keys.pem", "-rawin", "-in", "manifest"]
        done = subprocess.run(
            [*command, "-sigfile", "signature"], cwd=tmp_path, capture_output=True, check=False, timeout=30
        )
        assert (done.returncode == 0) is agrees


def other_key() -> bytes:
    return generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("body", [b"", b"x", public_pem(OLD), other_key()], ids=["empty", "text", "public", "another"])
def test_a_file_without_a_signing_key_is_named(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "key.pem").write_bytes(body)
    with pytest.raises(SettingsError, match=r"key.pem holds no private Ed25519 key.*openssl genpkey"):
        load_signing_key(tmp_path / "key.pem")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        other_key(),
        public_pem(OLD).replace(b"MCow", b"MCox"),
        generate_private_key(SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ],
    ids=["empty", "text", "private", "damaged", "another"],
)
def test_a_file_without_public_keys_is_named(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "keys.pem").write_bytes(body)
    with pytest.raises(SettingsError, match=r"keys.pem holds .*openssl pkey"):
        load_trusted_keys(tmp_path / "keys.pem")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for load in (load_signing_key, load_trusted_keys):
        with pytest.raises(SettingsError, match=r"nowhere.pem cannot be read: No such file"):
            load(tmp_path / "nowhere.pem")


def test_in_production_keys_must_be_set_and_elsewhere_their_want_is_told(caplog: pytest.LogCaptureFixture) -> None:
    production, laptop = Parts(unsigned_allowed=False), Parts()
    with pytest.raises(SettingsError, match="WAYPOST_RELEASE_KEYS_FILE is not set and WAYPOST_EMBEDDED=never"):
        trusted_keys(production)
    with pytest.raises(SettingsError, match="WAYPOST_EXPORTER_SIGNING_KEY_FILE is not set and WAYPOST_EMBEDDED=never"):
        signing_key(None, production)
    assert len(trusted_keys(laptop)) == 0
    assert signing_key(None, laptop) is None
    assert [record.message for record in caplog.records] == ["releases are checked by digest only"]


def test_a_key_whose_releases_nobody_would_serve_is_refused_before_the_night(tmp_path: Path) -> None:
    private = Ed25519PrivateKey.generate()
    (tmp_path / "key.pem").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "keys.pem").write_bytes(public_pem(OLD))
    parts = Parts(release_keys_file=tmp_path / "keys.pem")
    with pytest.raises(SettingsError, match=r"no reader would trust .*key.pem"):
        signing_key(tmp_path / "key.pem", parts)
    (tmp_path / "keys.pem").write_bytes(public_pem(OLD) + public_pem(SigningKey(private)))
    assert signing_key(tmp_path / "key.pem", parts) is not None

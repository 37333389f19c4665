"""The settings as every process of this environment would read them, and the files of keys that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from waypost.doctor.findings import Finding, bad, ok, skipped, warn
from waypost.doctor.looking import Look, Part
from waypost.errors import SettingsError
from waypost.queueing.signing import load_keyring
from waypost.settings import Parts, Settings, SharedSettings, check_settings

FILE_SECONDS = 2.0  # a key file lies on a disk, a Secret's in memory; a network drive may be gone
SETTINGS, MESSAGE_KEYS, RELEASE_KEYS, API_KEYS = "settings", "message keys", "release keys", "API keys"
FIX = "correct them; a verb's --help names its own"
Read = Callable[[Path], Sequence[object]]


def settings_look(kinds: Sequence[type[Settings]], environ: Mapping[str, str], shared: SharedSettings) -> Look:
    """`kinds`: of every process; each refuses to start for its own mistakes."""

    def find() -> Iterator[Finding]:
        try:
            check_settings(kinds, environ)
        except SettingsError as error:
            yield bad(SETTINGS, error.cause, FIX)
            return
        given = [name for name in environ if name.startswith("WAYPOST_")]
        yield ok(SETTINGS, f"are read as they stand; {len(given)} of Waypost's own are set")
        if shared.faults:
            yield warn(SETTINGS, f"ask for a fault: WAYPOST_FAULTS={shared.faults}", "unset it when the drill is over")

    return Look((Part(SETTINGS, FILE_SECONDS, FIX),), find)


def key_looks(parts: Parts, api_keys_file: Path | None, load_api_keys: Read) -> list[Look]:
    """`load_api_keys` is the gateway's own; it raises SettingsError."""
    return [
        _look(MESSAGE_KEYS, lambda: _message_keys(parts.message_keys_file)),
        _look(RELEASE_KEYS, lambda: _release_keys(parts)),
        _look(API_KEYS, lambda: _api_keys(api_keys_file, load_api_keys)),
    ]


def _look(name: str, find: Callable[[], Iterator[Finding]]) -> Look:
    return Look((Part(name, FILE_SECONDS, "see the disk that the file lies on"),), find)


def _message_keys(path: Path | None) -> Iterator[Finding]:
    if path is None:
        yield skipped(MESSAGE_KEYS, "WAYPOST_MESSAGE_KEYS_FILE is not set")
        return
    load_keyring(path)
    yield ok(MESSAGE_KEYS, f"can sign and verify: {path}")


def _release_keys(parts: Parts) -> Iterator[Finding]:
    from waypost.release.signing import load_trusted_keys  # noqa: PLC0415  cryptography, of the extras

    if parts.release_keys_file is not None:
        known = load_trusted_keys(parts.release_keys_file)
        yield ok(RELEASE_KEYS, f"hold {_keys(len(known))}: {parts.release_keys_file}")
    elif parts.bucket:
        fix = "set WAYPOST_RELEASE_KEYS_FILE to the public keys whose releases may be served"
        level, so = (warn, "by digest only") if parts.unsigned_allowed else (bad, "by nobody: no process starts so")
        yield level(RELEASE_KEYS, f"are not set, so releases are checked {so}", fix)
    else:
        yield skipped(RELEASE_KEYS, "no bucket is known")


def _api_keys(path: Path | None, load: Read) -> Iterator[Finding]:
    if path is None:
        yield skipped(API_KEYS, "WAYPOST_GATEWAY_API_KEYS_FILE is not set; the gateway then serves loopback only")
        return
    yield ok(API_KEYS, f"hold {_keys(len(load(path)))}: {path}")


def _keys(count: int) -> str:
    return f"{count} key{'' if count == 1 else 's'}"

#!/usr/bin/env python3
"""Fills the digests of bases.env with what the registries have under those tags today.

Asks by the registries' own HTTP protocol (OCI distribution), as anybody: no docker, no account. A digest is the sha256
of the manifest that came, computed here and compared with what the registry says it is. Nothing is written unless all
were found. Standard library only.

    deploy/images/refresh_bases.py [FILE]     FILE is bases.env when absent

Exit codes: 0 done, 1 a registry did not answer as it should.
"""

# ruff: noqa: S310, T201  a script; registries are asked by https, but for those on loopback

from __future__ import annotations

import hashlib
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASES = Path(__file__).parent / "bases.env"
SECONDS = 30
MAX_MANIFEST_BYTES = 4 * 1024 * 1024  # what registries take at most, by the specification
PLATFORM = ("linux", "amd64")  # what the requirements are locked for
INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
HOSTS = {"docker.io": "registry-1.docker.io"}  # Docker Hub answers under another name than its images bear
_IMAGE = re.compile(r"(?P<host>[^/]+)/(?P<path>[a-z0-9._/-]+):(?P<tag>[\w][\w.-]{0,127})")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class RegistryError(Exception):
    """One line: which image, what was wrong."""


@dataclass(frozen=True)
class Image:
    host: str
    path: str
    tag: str

    @classmethod
    def parse(cls, name: str) -> Image:
        found = _IMAGE.fullmatch(name)
        if found is None:
            raise RegistryError(f"{name} is not host/path:tag; name the image in full")
        return cls(found["host"], found["path"], found["tag"])

    @property
    def url(self) -> str:
        host = HOSTS.get(self.host, self.host)
        scheme = "http" if host.partition(":")[0] in ("127.0.0.1", "localhost") else "https"  # as docker has it
        return f"{scheme}://{host}/v2/{self.path}/manifests/{self.tag}"


def digest_of(image: Image) -> str:
    """`sha256:…` of the image's index, or of its only manifest. Raises RegistryError."""
    try:
        return _verified(image, *_manifest(image))
    except (OSError, ValueError, KeyError) as error:  # urllib's are OSErrors
        raise RegistryError(f"{image.host}/{image.path}:{image.tag}: {type(error).__name__}: {error}") from error


def _manifest(image: Image, token: str | None = None) -> tuple[bytes, str | None]:
    """Its bytes, and the digest that the registry gives them."""
    headers = {"Accept": ", ".join((*INDEXES, *MANIFESTS))}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    try:
        with urllib.request.urlopen(urllib.request.Request(image.url, headers=headers), timeout=SECONDS) as answer:
            return answer.read(MAX_MANIFEST_BYTES + 1), answer.headers.get("Docker-Content-Digest")
    except urllib.error.HTTPError as error:
        if error.code != 401 or token is not None:
            raise
        return _manifest(image, _anonymous_token(image, error.headers.get("WWW-Authenticate", "")))


def _anonymous_token(image: Image, challenge: str) -> str:
    """What a registry hands to anybody for reading, at the address that its challenge names."""
    said = dict(_CHALLENGE.findall(challenge))
    realm = said.get("realm", "")
    if not challenge.startswith("Bearer ") or not realm.startswith(image.url.partition("//")[0] + "//"):
        raise ValueError(f"it asks for {challenge.partition(' ')[0] or 'nothing'} instead of a token")
    wanted = {"scope": said.get("scope", f"repository:{image.path}:pull")}
    if "service" in said:
        wanted["service"] = said["service"]
    with urllib.request.urlopen(f"{realm}?{urllib.parse.urlencode(wanted)}", timeout=SECONDS) as answer:
        given: Any = json.loads(answer.read(MAX_MANIFEST_BYTES))
    return str(given.get("token") or given["access_token"])


def _verified(image: Image, body: bytes, said: str | None) -> str:
    digest = "sha256:" + hashlib.sha256(body).hexdigest()
    if said not in (None, digest):
        raise ValueError(f"the manifest is {digest} and the registry calls it {said}")
    manifest: Any = json.loads(body)
    kind = manifest.get("mediaType")
    if kind in INDEXES:
        platforms = {(one["platform"]["os"], one["platform"]["architecture"]) for one in manifest["manifests"]}
        if PLATFORM not in platforms:
            raise ValueError(f"it is not built for {'/'.join(PLATFORM)}")
    elif kind not in MANIFESTS:
        raise ValueError(f"{kind} is no manifest of an image")
    return digest


def refreshed(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The file with today's digests, and (image, digest) for each. Raises RegistryError."""
    found = [(base, name) for base, name in re.findall(r"^(\w+)_IMAGE=(\S+)$", text, re.MULTILINE)]
    if not found:
        raise RegistryError("there is no line NAME_IMAGE=host/path:tag")
    told = []
    for base, name in found:
        digest = digest_of(Image.parse(name))
        text, replaced = re.subn(rf"^{base}_DIGEST=.*$", f"{base}_DIGEST={digest}", text, flags=re.MULTILINE)
        if replaced != 1:
            raise RegistryError(f"{base}_IMAGE has no line {base}_DIGEST= beside it")
        told.append((name, digest))
    return text, told


def main(arguments: Sequence[str]) -> int:
    path = Path(arguments[0]) if arguments else BASES
    try:
        text, told = refreshed(path.read_text(encoding="utf-8"))
    except (RegistryError, OSError) as error:
        print(f"refresh_bases.py: {error}", file=sys.stderr)
        return 1
    path.write_text(text, encoding="utf-8")
    for name, digest in told:
        print(f"{name} {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

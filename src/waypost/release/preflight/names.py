"""Names, links and kinds of files, as S3, Triton's S3 client and a pod's disk take them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from waypost.release.preflight.findings import Finding, finding

_PLAIN = re.compile(r"[0-9a-zA-Z.\-_/]*")
# Triton's own pattern for an S3 address with an endpoint; one that it does not match is taken for a bucket of AWS.
# Source: src/filesystem/implementations/s3.h of triton-inference-server/core.
_S3_ENDPOINT = re.compile(r"s3://(http://|https://|)([0-9a-zA-Z\-.]+):([0-9]+)/([0-9a-z.\-]+)(((/[0-9a-zA-Z.\-_]+)*)?)")
_S3_AWS = re.compile(r"s3://[0-9a-z.\-]+(/[0-9a-zA-Z.\-_]+)*")
_CODE_SUFFIXES = frozenset(
    (".py", ".pyc", ".pyd", ".so", ".sh", ".js", ".jar", ".exe", ".dll", ".pkl", ".pickle", ".joblib", ".pt", ".pth")
)
_READ_BY_FORMAT = frozenset((".onnx", ".safetensors", ".json"))
_CODE_STARTS = (b"\x7fELF", b"#!", b"MZ", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # the last four: pickles


def is_code(path: str, body: bytes) -> bool:
    """Whether somebody could run the file, or unpickle it.

    What it begins with says nothing where the format is known: a safetensors file begins with the length of its header,
    which may be that of a pickle's first bytes.
    """
    suffix = Path(path).suffix.lower()
    return suffix in _CODE_SUFFIXES or (suffix not in _READ_BY_FORMAT and body.startswith(_CODE_STARTS))


def check_names(paths: Iterable[str]) -> list[Finding]:
    return [
        finding("s3-characters", path, f"{''.join(sorted(set(_PLAIN.sub('', path))))!r} in the name")
        for path in paths
        if not _PLAIN.fullmatch(path)
    ]


def check_s3_address(address: str) -> list[Finding]:
    """Findings about the `s3://` address that a Triton of somebody else's is to load from."""
    with_endpoint = re.match(r"s3://(https?://|[^/]+:\d)", address) is not None
    if (_S3_ENDPOINT if with_endpoint else _S3_AWS).fullmatch(address.rstrip("/")):
        return []
    return [finding("s3-characters", address, "Triton does not read this address as it is meant")]


def check_links(directory: Path) -> Iterator[Finding]:
    """Symbolic links below `directory` that lead out of it, or to nothing. What is behind them is not looked at."""
    root = directory.resolve()
    for folder, folders, files in os.walk(directory):
        for name in sorted(folders + files):
            path = Path(folder, name)
            if not path.is_symlink():
                continue
            target = path.resolve()
            if not target.exists():
                yield finding(
                    "symlink-outside", str(path.relative_to(directory)), f"leads to {os.readlink(path)}: nothing"
                )
            elif not target.is_relative_to(root):
                yield finding("symlink-outside", str(path.relative_to(directory)), f"leads to {target}")

"""A verified release's files -> an Answerer: the one place where a worker and the offline verb read what they hold."""

from __future__ import annotations

from collections.abc import Mapping

from tokenizers import Tokenizer

from waypost.errors import CorruptObject
from waypost.objects.bundle import Manifest
from waypost.release import lookups
from waypost.release.answering import Answerer, Infer
from waypost.release.store import LOOKUPS, TOKENIZER, version_of


def open_release(manifest: Manifest, files: Mapping[str, bytes], infer: Infer) -> Answerer:
    """Raises CorruptObject when a file is not there or not what it should be."""
    return Answerer(
        model_version=version_of(manifest),
        lookups=lookups.from_bytes(file_of(files, LOOKUPS)),
        tokenizer=_parse_tokenizer(file_of(files, TOKENIZER)),
        infer=infer,
    )


def file_of(files: Mapping[str, bytes], path: str) -> bytes:
    if path not in files:
        raise CorruptObject(f"the release has no {path}", "publish it again")
    return files[path]


def _parse_tokenizer(body: bytes) -> Tokenizer:
    try:
        return Tokenizer.from_str(body.decode())
    except Exception as error:  # the tokenizers library raises plain Exception
        raise CorruptObject(f"tokenizer.json cannot be read: {error}") from error

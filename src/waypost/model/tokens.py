"""The posts' token ids and the tokenizer that made them, kept beside the tensors in `tensors/<fingerprint>/tokens/`.

A night starts from the newest tokens in the store: while few texts are new to their tokenizer it stays, and only those
few are encoded. A text is known by a digest of its bytes and by nothing else: the same text has the same tokens,
whatever id its post has. What is damaged is refused and made again; where the posts came from is not known here.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from waypost.errors import CorruptObject
from waypost.graph.tensors import Csr, GraphTensors, Int64Array, no_entries
from waypost.graph.texts import Texts, no_texts
from waypost.logs import stage
from waypost.model.features import VOCABULARY_SIZE, encode_texts, train_tokenizer
from waypost.objects.bundle import MANIFEST, REMEDY, load_files, load_manifest, save_bundle
from waypost.objects.protocols import ObjectStore

logger = logging.getLogger(__name__)
FORMAT = 1  # raise it when the same text would get other tokens: another tokenizer, another MAX_TOKENS
MAX_NEW_SHARE = 0.1  # of the texts may be unknown to the tokenizer: their words are spelled in more pieces, no worse
TRAINING_BYTES = 64 << 20  # of text at most, an even sample of it: what 8,000 word pieces need is long settled then
DIGEST_BYTES = 8  # two of a million texts are alike by chance once in 40 million nights
_FOLDER, _TOKENS, _TOKENIZER = "tokens", "tokens.safetensors", "tokenizer.json"

UInt64Array = NDArray[np.uint64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TokenizedGraph:
    tensors: GraphTensors  # with post_tokens
    tokenizer: str  # tokenizer.json, which made them

    @property
    def tokenizer_sha256(self) -> str:
        """By which a checkpoint names the tokenizer that it was trained with."""
        return hashlib.sha256(self.tokenizer.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class _Tokens:
    """What the bundle holds."""

    tokenizer: str
    trained_texts: int  # that the tokenizer was trained on
    tokens: Csr  # post -> token ids
    digests: UInt64Array  # [num_posts] of the texts
    is_new: BoolArray  # [num_posts] the text came after the tokenizer was trained

    def of(self, tensors: GraphTensors) -> TokenizedGraph:
        return TokenizedGraph(replace(tensors, post_tokens=self.tokens), self.tokenizer)


def tokenized(store: ObjectStore, fingerprint: str, tensors: GraphTensors) -> TokenizedGraph:
    """The tensors with tokens: those kept under this fingerprint, else new ones, kept now. Raises StoreUnavailable."""
    digests = digest_texts(tensors.post_texts)
    kept = _load(store, fingerprint, digests)
    if kept is None:
        kept = _make(tensors.post_texts, digests, _load_newest(store, without=fingerprint))
        with stage(logger, "tokens kept", fingerprint=fingerprint):
            _save(store, fingerprint, kept)
    return kept.of(tensors)


def tokenized_by(store: ObjectStore, fingerprint: str, tensors: GraphTensors, tokenizer: str) -> TokenizedGraph:
    """The tensors with this tokenizer's tokens, whatever share of the texts is new to it; kept under the fingerprint.

    What is kept there by another tokenizer is replaced. Raises StoreUnavailable.
    """
    digests = digest_texts(tensors.post_texts)
    kept = _load(store, fingerprint, digests)
    if kept is None or kept.tokenizer != tokenizer:
        before = _load_newest(store, without=fingerprint)
        if before is None or before.tokenizer != tokenizer or not len(before.digests):
            before = _no_tokens(tokenizer)
        kept = _made_with(before, tensors.post_texts, digests)
        with stage(logger, "tokens kept", fingerprint=fingerprint):
            _save(store, fingerprint, kept)
    return kept.of(tensors)


def load_tokenized(store: ObjectStore, fingerprint: str, tensors: GraphTensors) -> TokenizedGraph | None:
    """The tensors with the tokens kept under this fingerprint; None if they are gone, not whole, or of other texts."""
    kept = _load(store, fingerprint, digest_texts(tensors.post_texts))
    return kept.of(tensors) if kept else None


def remove_tokens(store: ObjectStore, fingerprint: str) -> None:
    """Those kept under the fingerprint, the manifest first. Raises StoreUnavailable."""
    store.delete([f"{_prefix(fingerprint)}/{MANIFEST}"])
    store.delete([info.key for info in store.list(f"{_prefix(fingerprint)}/")])


def digest_texts(texts: Texts) -> UInt64Array:
    """[num_texts]"""
    data, blake2b = texts.data.data, hashlib.blake2b
    ends = pairwise(texts.offsets.tolist())
    digests = b"".join([blake2b(data[start:end], digest_size=DIGEST_BYTES).digest() for start, end in ends])
    return np.frombuffer(digests, np.dtype("<u8"))


def _make(texts: Texts, digests: UInt64Array, before: _Tokens | None) -> _Tokens:
    if before is None or not len(before.digests):
        return _train(texts, digests)
    is_new = _found_in(before, texts, digests)[2]
    if is_new.sum() > MAX_NEW_SHARE * (texts.lengths > 0).sum():
        return _train(texts, digests)
    return _made_with(before, texts, digests)


def _found_in(before: _Tokens, texts: Texts, digests: UInt64Array) -> tuple[Int64Array, BoolArray, BoolArray]:
    """Of each text: its row before (else some row), whether it is known, whether it is new since the training."""
    row, known = _find(before.digests, digests)
    return row, known, (texts.lengths > 0) & (before.is_new[row] | ~known)


def _made_with(before: _Tokens, texts: Texts, digests: UInt64Array) -> _Tokens:
    """By the tokenizer of `before`, which has one text at least; only new texts are encoded."""
    row, known, is_new = _found_in(before, texts, digests)
    tokens = _bring_up_to_date(before, texts, row, known)
    return _Tokens(before.tokenizer, before.trained_texts, tokens, digests, is_new)


def _no_tokens(tokenizer: str) -> _Tokens:
    """Of a tokenizer of which nothing but itself is left: it knows the empty text."""
    digests = digest_texts(no_texts(1))
    return _Tokens(tokenizer, 0, no_entries(1), digests, np.zeros(1, bool))


def _train(texts: Texts, digests: UInt64Array) -> _Tokens:
    with stage(logger, "tokenizer trained") as found:
        rows = training_sample(texts.lengths, digests)
        tokenizer = train_tokenizer(texts[row] for row in rows.tolist())
        found["texts"] = len(rows)
    with stage(logger, "texts encoded", new=len(texts), known=0):
        tokens = encode_texts(tokenizer, texts)
    return _Tokens(tokenizer, len(rows), tokens, digests, np.zeros(len(texts), bool))


def training_sample(lengths: Int64Array, digests: UInt64Array, max_bytes: int = TRAINING_BYTES) -> Int64Array:
    """Rows to train on, by ascending digest: an order that is the texts' own, and any beginning of it a fair sample."""
    rows = np.argsort(digests, kind="stable")
    rows = rows[lengths[rows] > 0]
    return rows[np.cumsum(lengths[rows]) <= max_bytes]


def _find(digests: UInt64Array, wanted: UInt64Array) -> tuple[Int64Array, BoolArray]:
    """For each wanted digest its row in `digests`, which are not none, and whether it is there (else some row)."""
    order = np.argsort(digests, kind="stable")
    position = np.searchsorted(digests, wanted, sorter=order)
    row = order[np.minimum(position, len(digests) - 1)]
    return row, digests[row] == wanted


def _bring_up_to_date(before: _Tokens, texts: Texts, row: Int64Array, known: BoolArray) -> Csr:
    new = np.flatnonzero(~known)
    with stage(logger, "texts encoded", new=len(new), known=len(texts) - len(new)):
        added = encode_texts(before.tokenizer, texts.take(new))
        row = row.copy()
        row[new] = before.tokens.num_rows + np.arange(len(new))
        return _take(_joined(before.tokens, added), row)


def _joined(first: Csr, second: Csr) -> Csr:
    """The rows of the one, then those of the other."""
    indptr = np.concatenate((first.indptr, first.indptr[-1] + second.indptr[1:]))
    return Csr(indptr, np.concatenate((first.indices, second.indices)))


def _take(csr: Csr, rows: Int64Array) -> Csr:
    """The chosen rows in their order; neighbours are copied as one run, as most of a graph is what it was yesterday."""
    if not len(rows):
        return Csr(np.zeros(1, np.int64), csr.indices[:0])
    starts = np.flatnonzero(np.concatenate(([True], np.diff(rows) != 1)))
    first, last = rows[starts], rows[np.append(starts[1:], len(rows)) - 1]
    runs = [csr.indices[start:end] for start, end in zip(csr.indptr[first], csr.indptr[last + 1], strict=True)]
    lengths = np.diff(csr.indptr)[rows]
    return Csr(np.concatenate(([0], np.cumsum(lengths))), np.concatenate(runs))


def _prefix(fingerprint: str) -> str:
    return f"tensors/{fingerprint}/{_FOLDER}"


def _save(store: ObjectStore, fingerprint: str, kept: _Tokens) -> None:
    indices = kept.tokens.indices.astype(np.uint16 if VOCABULARY_SIZE <= 1 << 16 else np.int32)
    arrays = {"indptr": kept.tokens.indptr, "indices": indices, "digests": kept.digests, "is_new": kept.is_new}
    facts = {
        "format": FORMAT,
        "texts": len(kept.digests),
        "trained_texts": kept.trained_texts,
        "new_texts": int(kept.is_new.sum()),
    }
    files = {_TOKENS: safetensors.save(arrays), _TOKENIZER: kept.tokenizer.encode()}
    save_bundle(store, _prefix(fingerprint), files, facts)


def _load_newest(store: ObjectStore, without: str) -> _Tokens | None:
    """The tokens that were kept last under any other fingerprint; None when there are none, or they are not whole."""
    end = f"/{_FOLDER}/{MANIFEST}"
    found = [info for info in store.list("tensors/") if info.key.endswith(end)]
    others = [info for info in found if info.key != f"{_prefix(without)}/{MANIFEST}"]
    if not others:
        return None
    newest = max(others, key=lambda info: (info.modified_at, info.key))
    return _load(store, newest.key.removeprefix("tensors/").removesuffix(end))


def _load(store: ObjectStore, fingerprint: str, digests: UInt64Array | None = None) -> _Tokens | None:
    """What is kept under the fingerprint, and of these texts where they are given; None, with a warning, if damaged."""
    prefix = _prefix(fingerprint)
    try:
        manifest = load_manifest(store, prefix)
        if manifest is None:
            return None
        if manifest.facts.get("format") != FORMAT:
            raise CorruptObject(f"{prefix} is of format {manifest.facts.get('format')}, not {FORMAT}")
        kept = _from_files(load_files(store, prefix, manifest), manifest.facts, prefix)
        if digests is not None and not np.array_equal(kept.digests, digests):
            raise CorruptObject(f"{prefix} holds the tokens of other texts")
    except CorruptObject as error:
        logger.warning("kept tokens refused", extra={"cause": str(error)})
        return None
    return kept


def _from_files(files: Mapping[str, bytes], facts: Mapping[str, Any], prefix: str) -> _Tokens:
    """Raises CorruptObject."""
    try:
        arrays: dict[str, NDArray[Any]] = safetensors.load(files[_TOKENS])
        tokens = Csr(arrays["indptr"], arrays["indices"].astype(np.int32))
        is_new = arrays["is_new"].astype(bool)
        kept = _Tokens(files[_TOKENIZER].decode(), int(facts["trained_texts"]), tokens, arrays["digests"], is_new)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CorruptObject(f"{prefix} holds no tokens of ours: {type(error).__name__}", REMEDY) from None
    if not _fit_together(kept):
        raise CorruptObject(f"the arrays of {prefix}/{_TOKENS} do not fit together", REMEDY)
    return kept


def _fit_together(kept: _Tokens) -> bool:
    """Whether nobody who follows the indices can end up outside the arrays."""
    indptr, indices, num_posts = kept.tokens.indptr, kept.tokens.indices, len(kept.digests)
    if len(indptr) != num_posts + 1 or len(kept.is_new) != num_posts:
        return False
    rows_follow = indptr[0] == 0 and indptr[-1] == len(indices) and bool((np.diff(indptr) >= 0).all())
    return rows_follow and bool(((indices >= 0) & (indices < VOCABULARY_SIZE)).all())

"""Text of posts and queries as token ids, by one tokenizer that is trained on the night's texts and travels with the
release.

Everything that decides what a token is (markup stripped, lower case, word pieces) lives inside the tokenizer.json
itself, so the worker encodes a query exactly as the night encoded the posts, with the `tokenizers` library alone. No
torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from waypost.graph.tensors import Csr

VOCABULARY_SIZE = 8_000  # a travel site's working vocabulary; 8,000 rows of 128 floats are 4 MB in a release
MAX_TOKENS = 128  # per post: title and the first paragraph say what a post is about
MAX_CHARACTERS = 4_000  # 128 word pieces never need more; a body of 1 MB costs no more than this
MIN_TOKEN_COUNT = 2  # a word seen once says nothing about another post
_ENCODE_BATCH = 2_000


def train_tokenizer(texts: Iterable[str], vocabulary_size: int = VOCABULARY_SIZE) -> str:
    """The tokenizer.json of a lower-case byte-level BPE over `texts`; the same texts give the same bytes.

    Byte-level, so any text encodes (emoji, NUL, no text at all) and there is no unknown token.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"<[^<>]{0,1000}>"), " "),
            normalizers.Replace(Regex(r"&#?\w{1,10};"), " "),
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[^\p{L}\p{N}\p{So}]+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=MIN_TOKEN_COUNT,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(_cut(texts), trainer)
    return str(tokenizer.to_str())


def encode_texts(tokenizer_json: str, texts: Iterable[str]) -> Csr:
    """Row i holds the token ids of the i-th text in reading order, at most MAX_TOKENS of them.

    Texts are taken batch by batch, so that only a batch of them need be a Python string at any time.
    """
    tokenizer = Tokenizer.from_str(tokenizer_json)
    lengths, parts = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)]
    for batch in _batches(_cut(texts)):
        encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        rows = [encoding.ids[:MAX_TOKENS] for encoding in encodings]
        lengths.append(np.array([len(row) for row in rows], np.int64))
        parts.append(np.fromiter(chain.from_iterable(rows), np.int32))
    return Csr(np.cumsum(np.concatenate(lengths)), np.concatenate(parts))


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(texts, _ENCODE_BATCH)):
        yield batch


def _cut(texts: Iterable[str]) -> Iterator[str]:
    return (text[:MAX_CHARACTERS] for text in texts)

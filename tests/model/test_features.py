import subprocess
import sys

import numpy as np
import pytest

from waypost.model.features import MAX_TOKENS, VOCABULARY_SIZE, encode_texts, train_tokenizer

TEXTS = [
    "<p>Cheap ferries to the Greek islands &amp; back</p>",
    "Greek ferries in winter",
    "Winter hiking near Oslo 🏔",
] * 5


@pytest.fixture(scope="module")
def tokenizer() -> str:
    return train_tokenizer(TEXTS)


def test_the_same_texts_give_the_same_tokenizer(tokenizer: str) -> None:
    assert train_tokenizer(TEXTS) == tokenizer


def test_markup_and_case_make_no_difference(tokenizer: str) -> None:
    plain, marked = encode_texts(tokenizer, ["greek ferries", "<b>GREEK</b>&nbsp;<br/>Ferries!"]).indices.reshape(2, -1)
    assert plain.tolist() == marked.tolist()


def test_words_seen_often_are_single_tokens(tokenizer: str) -> None:
    assert len(encode_texts(tokenizer, ["winter ferries"]).indices) == 2


def test_no_text_at_all_still_makes_a_tokenizer() -> None:
    empty = train_tokenizer([])
    encoded = encode_texts(empty, ["", "x"])
    assert np.diff(encoded.indptr)[0] == 0
    assert encoded.num_rows == 2
    assert encode_texts(empty, []).num_rows == 0


@pytest.mark.parametrize("text", ["\x00", "🧳" * 1000, "a" * 1_000_000, "<" * 100_000, "\ud7ff\uffff", "日本 の 旅"])
def test_any_text_encodes_to_at_most_max_tokens_inside_the_vocabulary(tokenizer: str, text: str) -> None:
    encoded = encode_texts(tokenizer, [text]).indices
    assert len(encoded) <= MAX_TOKENS
    assert ((encoded >= 0) & (encoded < VOCABULARY_SIZE)).all()


def test_features_need_no_torch() -> None:
    names = "waypost.model.features, waypost.model.evaluation, waypost.model.judge"
    code = f"import sys, {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0

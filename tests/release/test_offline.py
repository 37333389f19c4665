"""Lists for all users: the app's own keys, each one word of a line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.factories import a_tokenizer, keyed_by_strings, slug_at, some_tables, some_tensors, uuid_at
from waypost.errors import UsageError
from waypost.exporter.contents import build_lookups
from waypost.exporter.onnx_graph import to_onnx
from waypost.graph.tensors import GraphTensors
from waypost.model.judge import read_lists
from waypost.questions import Answer
from waypost.release.answering import Answerer
from waypost.release.offline import as_word, recommend_all_users, write_lists
from waypost.release.onnx_runner import load_onnx

INTEGERS = some_tensors()
TABLES = some_tables(INTEGERS)
INFER = load_onnx(to_onnx(TABLES), threads=1)


def lists_of(tensors: GraphTensors, path: Path) -> dict[str, list[str]]:
    answerer = Answerer(7, build_lookups(tensors, TABLES), Tokenizer.from_str(a_tokenizer()), INFER)
    assert write_lists(path, recommend_all_users(answerer, k=5, exclude_seen=True)) == tensors.num_users
    return read_lists(path)


def test_every_user_gets_the_same_list_by_whichever_key(tmp_path: Path) -> None:
    by_integer = lists_of(INTEGERS, tmp_path / "integers.tsv")
    by_string = lists_of(keyed_by_strings(INTEGERS), tmp_path / "strings.tsv")
    assert list(by_integer) == [str(user) for user in INTEGERS.user_ids]
    assert by_string == {
        uuid_at(row): [as_word(slug_at(int(post) - 1000)) for post in posts]
        for row, posts in enumerate(by_integer.values())
    }


@pytest.mark.parametrize(
    ("key", "word"),
    [
        (42, "42"),
        (-42, "-42"),
        ("hidden-coves", "hidden-coves"),
        ("50 % off", r"50\x20%\x20off"),
        ("a\tb\nc", r"a\x09b\x0ac"),
        ("a\\x20b", r"a\\x20b"),
        ("\u2003é\U0001f3d6", "\\xe2\\x80\\x83é\U0001f3d6"),
    ],
)
def test_a_key_is_one_word(key: int | str, word: str) -> None:
    assert as_word(key) == word


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True))
def test_no_two_keys_are_one_word_and_no_key_is_two(keys: list[str]) -> None:
    words = [as_word(key) for key in keys]
    assert len(set(words)) == len(keys)
    assert " ".join(words).split() == words
    assert "\n".join(words).splitlines() == words


def test_the_empty_text_is_no_word_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="empty text"):
        write_lists(tmp_path / "recs.tsv", iter([("ana", Answer(7, "graphsage", (("", 0.5),)))]))
    assert list(tmp_path.iterdir()) == []

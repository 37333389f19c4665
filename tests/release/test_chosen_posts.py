"""Lists of only those posts that a file names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.factories import a_release, a_tokenizer, keyed_by_strings, slug_at, some_tables, some_tensors, uuid_at
from tests.release.nights import CLOCK, KEY
from waypost.cli import main
from waypost.errors import UsageError
from waypost.exporter.contents import build_lookups
from waypost.exporter.onnx_graph import to_onnx
from waypost.model.judge import read_lists
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.questions import AppKey, Question, TagFilter
from waypost.release.answering import Answerer
from waypost.release.chosen_posts import from_word, load_chosen_posts
from waypost.release.moves import point_to
from waypost.release.offline import as_word
from waypost.release.onnx_runner import load_onnx
from waypost.release.store import publish
from waypost.release.versions import claim_version
from waypost.settings import AwsAccess
from waypost.stages import StageTimer

TENSORS = some_tensors()
TABLES = some_tables(TENSORS)
LOOKUPS = build_lookups(TENSORS, TABLES)
ANSWERER = Answerer(7, LOOKUPS, Tokenizer.from_str(a_tokenizer()), load_onnx(to_onnx(TABLES), threads=1))
KNOWN, WITHOUT_HISTORY = 50, 10


def a_file(folder: Path, text: str) -> Path:
    path = folder / "posts.txt"
    path.write_text(text, encoding="utf-8")
    return path


def ranked(answerer: Answerer, question: Question) -> list[AppKey]:
    return [post for post, _ in answerer.answer([question], StageTimer())[0].items]


@pytest.mark.parametrize("count", [3, TENSORS.num_posts - 3])
@pytest.mark.parametrize("user", [KNOWN, WITHOUT_HISTORY])
def test_only_the_named_posts_are_ranked_and_in_the_order_of_the_whole_list(
    tmp_path: Path, user: int, count: int
) -> None:
    chosen = TENSORS.post_ids[:count].tolist()
    path = a_file(tmp_path, "\n".join(map(str, reversed(chosen))) + "\n\n")
    only = replace(ANSWERER, only_posts=load_chosen_posts(path, LOOKUPS))
    whole = ranked(ANSWERER, Question(user, k=100))
    assert ranked(only, Question(user, k=100)) == [post for post in whole if post in chosen]


def test_a_tag_filter_narrows_them_further() -> None:
    tags = TagFilter(any=("tag1",))
    only = replace(ANSWERER, only_posts=np.arange(8, dtype=np.int32))
    both = ranked(only, Question(KNOWN, k=100, tags=tags))
    assert set(both) == set(ranked(ANSWERER, Question(KNOWN, k=100, tags=tags))) & set(TENSORS.post_ids[:8].tolist())


def test_a_key_named_twice_counts_once(tmp_path: Path) -> None:
    path = a_file(tmp_path, f"{TENSORS.post_ids[4]}\n{TENSORS.post_ids[2]}\n{TENSORS.post_ids[4]}")
    assert load_chosen_posts(path, LOOKUPS).tolist() == [2, 4]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no post"),
        ("\n \n", "names no post"),
        ("1000\n77\n78\n", "names 2 of 3 posts that the served release does not know, the first on line 2: 77"),
        ("1000\nhidden-coves\n", "line 2: hidden-coves is not a key of type integer"),
        (f"{2**70}\n", "does not know"),
    ],
)
def test_a_file_that_names_no_or_unknown_posts_is_told_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_chosen_posts(a_file(tmp_path, text), LOOKUPS)


def test_a_file_that_is_absent_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        load_chosen_posts(tmp_path / "nowhere", LOOKUPS)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_chosen_posts(tmp_path / "bytes", LOOKUPS)


def test_text_keys_are_named_as_the_lists_write_them(tmp_path: Path) -> None:
    lookups = build_lookups(keyed_by_strings(TENSORS), TABLES)
    path = a_file(tmp_path, as_word(slug_at(3)))
    assert lookups.posts_at(load_chosen_posts(path, lookups)) == [slug_at(3)]


@given(st.text(min_size=1))
def test_every_text_key_comes_back_from_its_word(key: str) -> None:
    assert from_word(as_word(key), "text") == key


def test_a_uuid_may_be_written_in_capitals() -> None:
    assert from_word(uuid_at(3).upper(), "uuid") == uuid_at(3)


def test_the_verb_ranks_the_posts_of_its_file_and_tells_of_one_that_is_unknown(
    aws_access: AwsAccess,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = S3ObjectStore(s3_client(aws_access), bucket)
    version = claim_version(store, None, "a night", CLOCK)
    publish(store, "000001-a", a_release(version=version, tensors=TENSORS)[0], {"version": version}, KEY)
    point_to(store, None, "000001-a", version, "a night", CLOCK)
    keys = tmp_path / "keys.pem"
    keys.write_bytes(KEY.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for name, value in {
        "AWS_ENDPOINT_URL": aws_access.endpoint_url, "AWS_REGION": aws_access.region,
        "AWS_ACCESS_KEY_ID": aws_access.access_key_id, "AWS_SECRET_ACCESS_KEY": aws_access.secret_access_key,
        "WAYPOST_BUCKET": bucket, "WAYPOST_EMBEDDED": "never", "WAYPOST_RELEASE_KEYS_FILE": str(keys),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    verb = ["recommend", "--all-users", "--output", str(tmp_path / "recs.tsv"), "--posts"]

    assert main([*verb, str(a_file(tmp_path, "1003\n1007\n"))]) == 0
    lists = read_lists(tmp_path / "recs.tsv")
    assert len(lists) == TENSORS.num_users
    assert set().union(*lists.values()) == {"1003", "1007"}

    assert main([*verb, str(a_file(tmp_path, "1003\n77\n"))]) == 2
    assert "the first on line 2: 77; leave them out" in capsys.readouterr().err

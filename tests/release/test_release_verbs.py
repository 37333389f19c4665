"""`waypost release …` as an operator types it, on the real S3 emulator, over three nights of real, small releases."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.factories import a_release, keyed_by_strings, some_tensors
from tests.release.nights import CLOCK, KEY, TRUSTED, replace
from waypost.cli import main
from waypost.graph.tensors import GraphTensors
from waypost.objects.protocols import ObjectStore
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.release.comparing import compare_releases
from waypost.release.moves import point_to
from waypost.release.pointer import POINTER_KEY, read_pointer
from waypost.release.signing import NO_KEYS
from waypost.release.store import publish
from waypost.release.versions import claim_version
from waypost.settings import AwsAccess

FIRST, SECOND, THIRD, UNSIGNED = "000001-a", "000002-b", "000003-c", "000004-d"
Ask = Callable[..., str]


def a_night(store: ObjectStore, name: str, tensors: GraphTensors, **facts: Any) -> None:
    held = read_pointer(store)
    version = claim_version(store, held, "a night", CLOCK)
    files, _ = a_release(version=version, tensors=tensors)
    sizes = {"users": tensors.num_users, "posts": tensors.num_posts}
    made = {"version": version, "made_at": f"2026-01-0{version}", "opset": 17, "sizes": sizes, **facts}
    publish(store, name, files, made, KEY)
    point_to(store, held, name, version, "night@cluster", CLOCK)


@pytest.fixture(scope="module")
def releases() -> list[tuple[str, GraphTensors, float]]:
    bigger = some_tensors(num_users=14, num_posts=33)
    moved = some_tensors(num_posts=30, post_ids=np.arange(1010, 1040, dtype=np.int64))
    return [(FIRST, some_tensors(), 0.1), (SECOND, bigger, 0.2), (THIRD, moved, 0.25)]


@pytest.fixture
def store(aws_access: AwsAccess, bucket: str, releases: list[tuple[str, GraphTensors, float]]) -> S3ObjectStore:
    found = S3ObjectStore(s3_client(aws_access), bucket)
    for name, tensors, recall in releases:
        a_night(found, name, tensors, scores={"recall": recall, "ndcg": 0.1}, fingerprint=f"of {name}")
    return found


@pytest.fixture
def ask(
    store: S3ObjectStore,
    aws_access: AwsAccess,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Ask:
    """Type a verb; what it printed."""
    keys = tmp_path / "keys.pem"
    keys.write_bytes(KEY.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for name, value in {
        "AWS_ENDPOINT_URL": aws_access.endpoint_url, "AWS_REGION": aws_access.region,
        "AWS_ACCESS_KEY_ID": aws_access.access_key_id, "AWS_SECRET_ACCESS_KEY": aws_access.secret_access_key,
        "WAYPOST_BUCKET": bucket, "WAYPOST_EMBEDDED": "never", "WAYPOST_RELEASE_KEYS_FILE": str(keys),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))

    def asked(*arguments: str, code: int = 0) -> str:
        assert main(["release", *arguments]) == code
        said = capsys.readouterr()
        return said.out if code == 0 else said.err.splitlines()[-1]

    return asked


def test_list_marks_what_is_served_pinned_unsigned_and_refused(ask: Ask, store: S3ObjectStore) -> None:
    manifest = store.get(f"releases/{SECOND}/manifest.json")
    assert manifest is not None
    replace(store, f"releases/{SECOND}/manifest.json", manifest.body.replace(b'"opset": 17', b'"opset": 18'))
    publish(store, UNSIGNED, {}, {"version": 4})
    assert [re.split(r"\s{2,}", line) for line in ask("list").splitlines()] == [
        ["", "1", FIRST, "2026-01-01", "ndcg=0.1000 recall=0.1000"],
        ["", "2", SECOND, "2026-01-02", "ndcg=0.1000 recall=0.2000", "signature refused"],
        ["*", "3", THIRD, "2026-01-03", "ndcg=0.1000 recall=0.2500"],
        ["", "4", UNSIGNED, "unsigned"],
    ]
    ask("pin", "--reason", "it is good")
    assert ask("list").splitlines()[-2].endswith("recall=0.2500  pinned")


def test_list_shows_as_text_whatever_an_unsigned_manifest_says(ask: Ask, store: S3ObjectStore) -> None:
    publish(store, UNSIGNED, {}, {"version": 4, "made_at": 5, "scores": {"ndcg": "x", "recall": None, "\n": "\ud800"}})
    publish(store, "000005-e", {}, {"version": 5, "made_at": ["x"], "scores": "high"})
    assert [re.split(r"\s{2,}", line) for line in ask("list").splitlines()[-2:]] == [
        ["", "4", UNSIGNED, "5", "=? ndcg=x recall=None", "unsigned"],
        ["", "5", "000005-e", "['x']", "high", "unsigned"],
    ]


def test_without_keys_no_signature_looks_checked(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYPOST_RELEASE_KEYS_FILE")
    assert [line.split("  ")[-1] for line in ask("list").splitlines()] == ["signature unchecked"] * 3
    assert json.loads(ask("show"))["signed"] == "signature unchecked"


def test_behind_a_damaged_pointer_the_releases_are_listed_and_the_remedy_told(
    store: S3ObjectStore, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(store, POINTER_KEY, b"{")
    assert main(["release", "list"]) == 1
    said = capsys.readouterr()
    assert [line.split()[:2] for line in said.out.splitlines()] == [["1", FIRST], ["2", SECOND], ["3", THIRD]]
    last = said.err.splitlines()[-1]
    assert "the pointer is damaged" in last
    assert last.endswith("name a good release with `waypost release rollback ID`")


def test_show_tells_who_signed_and_who_pointed(ask: Ask, store: S3ObjectStore) -> None:
    shown = json.loads(ask("show"))
    assert (shown["release"], shown["signed"], shown["signature"]["key_id"]) == (THIRD, "signed", KEY.id)
    assert (shown["pointer"]["how"], shown["pointer"]["moved_by"]) == ("publish", "night@cluster")
    assert {file["path"] for file in shown["files"]} >= {"model.onnx", "popular.json"}
    publish(store, UNSIGNED, {}, {"version": 4})
    assert json.loads(ask("show", "4"))["signed"] == "unsigned"


def test_an_operator_rolls_back_pins_and_unpins_and_the_log_tells(ask: Ask) -> None:
    assert ask("rollback") == f"serving {SECOND}, version 2\n"
    assert ask("rollback", "1", "--pin", "--reason", "p99 doubled") == f"serving {FIRST}, version 1, pinned\n"
    assert ask("pin", "3", "--reason", "after all") == f"serving {THIRD}, version 3, pinned\n"
    assert ask("unpin") == f"serving {THIRD}, version 3\n"
    log = [re.split(r"\s{2,}", line.strip()) for line in ask("log").splitlines()]
    assert [(number, how, move, why) for number, _, how, _, move, why in log] == [
        ("7", "unpin", f"{THIRD} → {THIRD}", "unpinned by operator"),
        ("6", "pin", f"{FIRST} → {THIRD}", "after all"),
        ("5", "rollback", f"{SECOND} → {FIRST}", "p99 doubled"),
        ("4", "rollback", f"{THIRD} → {SECOND}", "rolled back by operator"),
        ("3", "publish", f"{SECOND} → {THIRD}", "published by the exporter"),
        ("2", "publish", f"{FIRST} → {SECOND}", "published by the exporter"),
        ("1", "publish", f"nothing → {FIRST}", "published by the exporter"),
    ]
    newest = json.loads(ask("log", "--limit", "1", "--json"))["moves"]
    assert [(move["number"], move["from"], move["to"]) for move in newest] == [(7, THIRD, THIRD)]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("show", "9"), 1, "there is no release 9; see `waypost release list`"),
        (("diff", "9"), 1, "there is no release 9"),
        (("rollback", "nothing"), 1, "there is no release nothing"),
        (("pin", "9", "--reason", "x"), 1, "there is no release 9"),
    ],
)
def test_a_mistake_is_one_line_and_moves_nothing(
    ask: Ask, store: S3ObjectStore, arguments: tuple[str, ...], code: int, says: str
) -> None:
    before = store.get(POINTER_KEY)
    assert says in ask(*arguments, code=code)
    assert store.get(POINTER_KEY) == before


def test_what_no_pod_would_serve_is_not_pointed_to(ask: Ask, store: S3ObjectStore) -> None:
    before = store.get(POINTER_KEY)
    publish(store, UNSIGNED, {}, {"version": 4})
    store.delete([f"releases/{SECOND}/golden.json"])
    for verb in (["rollback"], ["pin", "--reason", "x"]):
        assert "release 000004-d is not signed" in ask(*verb, "4", code=1)
        assert f"releases/{SECOND} lacks golden.json" in ask(*verb, "2", code=1)
    assert f"releases/{SECOND} lacks golden.json" in ask("rollback", code=1)
    assert store.get(POINTER_KEY) == before


def test_a_damaged_pointer_is_told_with_its_remedy_which_works(ask: Ask, store: S3ObjectStore) -> None:
    replace(store, POINTER_KEY, b"{")
    assert "name a good release with `waypost release rollback ID`" in ask("rollback", code=1)
    assert [line.split()[0] for line in ask("log").splitlines()] == ["3", "2", "1"]
    assert ask("rollback", SECOND) == f"serving {SECOND}, version 2\n"
    assert ask("log").startswith("    4")


def test_diff_compares_the_served_release_with_the_one_before(ask: Ask) -> None:
    found = json.loads(ask("diff", "--json"))
    assert found["releases"] == [SECOND, THIRD]
    assert found["scores"] == {"ndcg": [0.1, 0.1], "recall": [0.2, 0.25]}
    assert found["sizes"] == {"posts": [33, 30], "users": [14, 12]}
    assert found["posts"] == {"came": 7, "went": 10, "stayed": 23}  # 1000…1032 and 1010…1039
    assert found["users"] == {"came": 0, "went": 2, "stayed": 12}
    assert found["facts"] == {
        "fingerprint": [f"of {SECOND}", f"of {THIRD}"], "made_at": ["2026-01-02", "2026-01-03"], "version": [2, 3],
    }  # fmt: skip
    assert set(found["files"]) == {
        "golden.json", "lookups.safetensors", "model.onnx", "popular.json", "tokenizer.json",
    }  # fmt: skip
    assert found["popular"]["100"] == 23
    lines = [re.sub(r"\s+", " ", line).strip() for line in ask("diff").splitlines()]
    assert lines[0] == f"{SECOND} → {THIRD}"
    assert "score recall 0.2000 → 0.2500 +25.0 %" in lines
    assert "size posts 33 → 30 -9.1 %" in lines
    assert "posts 7 came, 10 went, 23 stayed" in lines
    assert f"fact fingerprint of {SECOND} → of {THIRD}" in lines
    assert "popular 23 of the 100 most popular posts are the same" in lines


def test_diff_of_two_named_ones_and_of_a_damaged_one(ask: Ask, store: S3ObjectStore) -> None:
    assert json.loads(ask("diff", "2", "3", "--json"))["releases"] == [SECOND, THIRD]
    assert json.loads(ask("diff", "2", "--json"))["releases"] == [SECOND, THIRD]
    publish(store, UNSIGNED, {}, {"version": 4})
    assert "000004-d is not signed" in ask("diff", "4", "2", code=1)
    replace(store, f"releases/{SECOND}/lookups.safetensors", b"x")
    assert "lookups.safetensors has 1 bytes" in ask("diff", code=1)


def test_releases_whose_keys_became_strings_have_nothing_in_common(object_store: ObjectStore) -> None:
    a_night(object_store, FIRST, some_tensors())
    a_night(object_store, SECOND, keyed_by_strings(some_tensors()))
    a_night(object_store, THIRD, keyed_by_strings(some_tensors(num_posts=31)))
    found = compare_releases(object_store, "1", "2", TRUSTED)
    assert (found.posts.came, found.posts.went, found.posts.stayed, found.popular[20]) == (30, 30, 0, 0)
    found = compare_releases(object_store, None, None, NO_KEYS)
    assert (found.posts.came, found.posts.went, found.posts.stayed) == (1, 0, 30)


def test_without_a_reason_nothing_is_pinned(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        ask("pin")
    assert stopped.value.code == 2
    assert "--reason" in capsys.readouterr().err

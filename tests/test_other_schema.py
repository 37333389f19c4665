"""An app's own tables, unlike ours, the whole way: interactions in three tables, UUIDs and slugs as keys, soft deletes.

What the app sees are its own keys, and nothing that its filters hide."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import other_schema
from tests.other_schema import Magazine
from tests.test_end_to_end import Waypost, eventually, same_list
from waypost.release.offline import as_word

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Published:
    waypost: Waypost
    magazine: Magazine
    owner_dsn: str
    disliked: str  # by the first reader, who has never seen it otherwise


@pytest.fixture(scope="module")
def published(stack_folders: Path) -> Iterator[Published]:
    """The magazine, after its first night."""
    folder = stack_folders / "other-schema"
    folder.mkdir()
    waypost = Waypost(folder)
    waypost.environ |= {
        "WAYPOST_MAPPING_FILE": str(other_schema.MAPPING),
        "WAYPOST_TRAINER_EPOCHS": "60",  # what is learned is not judged here
        "WAYPOST_TRAINER_THREADS": "1",
    }
    try:
        waypost("local", "up")
        owner_dsn = json.loads((folder / "stack" / "stack.json").read_text())["postgres_dsn"]
        other_schema.create(owner_dsn)
        magazine = other_schema.fill(owner_dsn, accounts=40, articles=60, acts=700)
        disliked = dislike(owner_dsn, magazine)
        waypost("schema", "check")
        waypost("night")
        eventually(lambda: waypost.part("gateway")["state"] == "up")
        waypost.part_url = waypost.part("gateway")["url"]
        eventually(lambda: waypost.ask(user_id=magazine.readers[0], deadline_ms=2000)["source"] == "graphsage")
        yield Published(waypost, magazine, owner_dsn, disliked)
    finally:
        waypost("local", "down")


def dislike(owner_dsn: str, magazine: Magazine) -> str:
    reader = magazine.readers[0]
    slug = next(slug for slug in magazine.published if slug not in magazine.history[reader])
    with other_schema.owner(owner_dsn) as cursor:
        cursor.execute("INSERT INTO magazine.likes VALUES (%s, %s, false, '2026-03-01', NULL)", (reader, slug))
    return slug


def test_readers_are_asked_for_by_uuid_and_get_published_slugs_that_they_have_not_seen(published: Published) -> None:
    for reader in published.magazine.readers[1:6]:
        answer = published.waypost.ask(user_id=reader, k=100, deadline_ms=5000)
        slugs = [item["post_id"] for item in answer["items"]]
        assert (answer["user_id"], answer["source"], answer["degraded"]) == (reader, "graphsage", False)
        assert sorted(slugs) == sorted(set(published.magazine.published) - published.magazine.history[reader])


def test_what_a_reader_disliked_is_never_taught_and_never_recommended(published: Published) -> None:
    reader = published.magazine.readers[0]
    slugs = {item["post_id"] for item in published.waypost.ask(user_id=reader, k=100, deadline_ms=5000)["items"]}
    assert slugs == set(published.magazine.published) - published.magazine.history[reader] - {published.disliked}


def test_deleted_and_blocked_accounts_are_strangers(published: Published) -> None:
    for account in published.magazine.gone[:3]:
        answer = published.waypost.ask(user_id=account, k=5, deadline_ms=5000)
        assert (answer["user_id"], answer["source"], len(answer["items"])) == (account, "popular", 5)


def test_slugs_go_in_as_they_come_out(published: Published) -> None:
    odd = next(slug for slug in published.magazine.published if " ?é" in slug)
    answer = published.waypost.ask(user_id=published.magazine.gone[0], recent_post_ids=[odd], k=100, deadline_ms=5000)
    slugs = {item["post_id"] for item in answer["items"]}
    assert answer["source"] == "graphsage"
    assert slugs == set(published.magazine.published) - {odd}
    without = published.waypost.ask(
        user_id=published.magazine.gone[0], exclude_post_ids=sorted(slugs), k=9, deadline_ms=5000
    )
    assert [item["post_id"] for item in without["items"]] == [odd]


def test_tags_go_by_the_topics_labels(published: Published) -> None:
    reader = published.magazine.readers[0]
    answer = published.waypost.ask(
        user_id=reader, tags={"any": ["ZÜRICH"]}, exclude_seen=False, k=100, deadline_ms=5000
    )
    zurich = published.magazine.topics["Zürich"] & set(published.magazine.published)
    assert {item["post_id"] for item in answer["items"]} == zurich


def test_a_number_is_no_key_here(published: Published) -> None:
    for wrong in ({"user_id": 42}, {"user_id": published.magazine.readers[0], "exclude_post_ids": [7]}):
        with pytest.raises(urllib.error.HTTPError) as refused:
            published.waypost.ask(**wrong)
        with refused.value as answer:
            assert answer.code == 422


def test_offline_lists_are_those_over_http_in_the_app_s_own_keys(published: Published) -> None:
    waypost, magazine = published.waypost, published.magazine
    waypost("recommend", "--all-users", "--k", "10", "--output", "recs.tsv")
    lines = [line.split("\t") for line in (waypost.folder / "recs.tsv").read_text(encoding="utf-8").splitlines()]
    offline = {user: posts.split(" ") for user, posts in lines}
    assert [user for user, _ in lines] == sorted(magazine.readers)
    assert any(re.search(r"\\x20", post) for posts in offline.values() for post in posts)
    for reader in magazine.readers[:5]:
        items = waypost.ask(user_id=reader, k=10, deadline_ms=5000)["items"]
        words = [{"post_id": as_word(item["post_id"]), "score": item["score"]} for item in items]
        assert same_list(offline[reader], words)  # type: ignore[arg-type]


def test_who_is_blocked_and_what_is_hidden_by_day_is_gone_after_the_night(published: Published) -> None:
    waypost, magazine = published.waypost, published.magazine
    blocked, reader, hidden = magazine.readers[7], magazine.readers[8], magazine.published[3]
    with other_schema.owner(published.owner_dsn) as cursor:
        cursor.execute("UPDATE magazine.accounts SET blocked = true WHERE uid = %s", (blocked,))
        cursor.execute("UPDATE magazine.articles SET state = 'hidden' WHERE slug = %s", (hidden,))
    waypost("night")
    eventually(lambda: {waypost.ask(user_id=reader, deadline_ms=2000)["model_version"] for _ in range(20)} == {2})
    left = set(magazine.published) - {hidden}
    everything = waypost.ask(user_id=reader, k=100, exclude_seen=False, deadline_ms=5000)
    assert (everything["source"], {item["post_id"] for item in everything["items"]}) == ("graphsage", left)
    assert waypost.ask(user_id=blocked, deadline_ms=5000)["source"] == "popular"


def test_local_run_generates_nothing_over_it_and_shows_an_answer_in_its_keys(published: Published) -> None:
    command = [sys.executable, "-m", "waypost.cli", "local", "run", "--once"]
    done = subprocess.run(
        command, env=published.waypost.environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[1])
    assert answer["user_id"] in published.magazine.readers
    assert {item["post_id"] for item in answer["items"]} <= set(published.magazine.published)
    assert "nothing is generated" in done.stderr
    assert "world generated" not in done.stderr

"""The whole way, as a newcomer walks it: up, generate, load, night, ask; and what happens when the worker is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

INTERACTIONS = 6_000
LONG_POST = -(2**63)
NEW_POST = 2**62
WAIT_SECONDS = 60.0  # for a part to come up; a limit of patience, not a measure

pytestmark = pytest.mark.timeout(600)


class Waypost:
    """The command line on a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WAYPOST_", "AWS_"))}
        self.environ = {
            **inherited,
            "WAYPOST_LOCAL_DIR": str(folder / "stack"),
            "WAYPOST_TRAINER_EPOCHS": "8",  # what is learned is judged by the bench
        }

    def __call__(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "waypost.cli", *arguments],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode in codes, done.stderr
        return done.stdout

    def part(self, name: str) -> dict[str, Any]:
        parts = json.loads(self("local", "status", "--json", codes=(0, 1)))["parts"]
        part: dict[str, Any] = parts[name]
        return part

    def ask(self, **body: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.part_url}/recommend", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            assert response.status == 200
            answer: dict[str, Any] = json.load(response)
            return answer

    part_url = ""


@pytest.fixture(scope="module")
def waypost(stack_folders: Path) -> Iterator[Waypost]:
    folder = stack_folders / "end-to-end"
    folder.mkdir()
    waypost = Waypost(folder)
    try:
        waypost("local", "up")
        waypost("local", "generate", "world", "--interactions", str(INTERACTIONS), "--seed", "5")
        add_a_long_post(folder / "world")
        waypost("load", "world")
        waypost("night", "--repository", "repository")
        await_the_model(waypost)
        yield waypost
    finally:
        waypost("local", "down")


@contextmanager
def a_served_world(folder: Path, **environ: str) -> Iterator[Waypost]:
    """A whole stack in a folder of its own, whose gateway answers by the model."""
    folder.mkdir()
    waypost = Waypost(folder)
    waypost.environ |= environ
    try:
        waypost("local", "up")
        waypost("local", "generate", "world", "--interactions", str(INTERACTIONS), "--seed", "5")
        waypost("load", "world")
        waypost("night")
        await_the_model(waypost)
        yield waypost
    finally:
        waypost("local", "down")


def await_the_model(waypost: Waypost) -> None:
    """The gateway reads the pointer every two seconds; before it saw a release it is not ready and rightly says 503."""
    eventually(lambda: waypost.part("gateway")["state"] == "up")
    waypost.part_url = waypost.part("gateway")["url"]
    eventually(lambda: waypost.ask(user_id=known_users(waypost)[0], deadline_ms=2000)["source"] == "graphsage")


def add_a_long_post(world: Path) -> None:
    """A megabyte of text with emoji, by nobody, without a time."""
    with (world / "posts.tsv").open("a", encoding="utf-8") as file:
        file.write(f"{LONG_POST}\t\\N\t\\N\tThe longest walk 🥾\t{'🏔 a step further ' * 50_000}\n")


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


def rows(waypost: Waypost, name: str) -> list[list[str]]:
    lines = (waypost.folder / "world" / f"{name}.tsv").read_text(encoding="utf-8").rstrip("\n").split("\n")
    return [line.split("\t") for line in lines[1:]]


def seen(waypost: Waypost) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for user, post, *_ in rows(waypost, "interactions"):
        found.setdefault(int(user), set()).add(int(post))
    return found


def known_users(waypost: Waypost) -> list[int]:
    return sorted(seen(waypost))


def test_random_known_users_all_get_the_model_and_never_what_they_have_seen(waypost: Waypost) -> None:
    history = seen(waypost)
    users = random.Random(1).choices(sorted(history), k=200)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda user: waypost.ask(user_id=user, k=20, deadline_ms=5000), users))
    for user, answer in zip(users, answers, strict=True):
        posts = [item["post_id"] for item in answer["items"]]
        assert answer["source"] == "graphsage"
        assert (answer["user_id"], answer["model_version"], answer["degraded"]) == (user, 1, False)
        assert len(posts) == 20
        assert not set(posts) & history[user]


def test_the_doctor_finds_a_stack_well_that_serves(waypost: Waypost) -> None:
    said = json.loads(waypost("doctor", "--json"))
    assert said["ok"]
    assert not [finding for finding in said["findings"] if finding["level"] in ("bad", "warn")]
    well = {finding["part"] for finding in said["findings"] if finding["level"] == "ok"}
    assert {"database", "release", "queue", "model", "worker", "gateway", "clock"} <= well


def test_lists_over_http_and_offline_are_the_same(waypost: Waypost) -> None:
    waypost("recommend", "--all-users", "--k", "20", "--output", "recs.tsv")
    lines = (waypost.folder / "recs.tsv").read_text().splitlines()
    offline = {int(user): [int(post) for post in posts.split()] for user, posts in (line.split("\t") for line in lines)}
    assert sorted(offline) == sorted(int(user) for user, *_ in rows(waypost, "users"))
    for user in random.Random(2).sample(known_users(waypost), 50):
        items = waypost.ask(user_id=user, k=20, deadline_ms=5000)["items"]
        assert same_list(offline[user], items), user


def same_list(posts: list[int], items: list[dict[str, Any]]) -> bool:
    """Equal, but that posts whose scores differ by less than 1e-5 relative may change places."""
    scores = {item["post_id"]: item["score"] for item in items}
    if len(posts) != len(items):
        return False
    return all(
        post == item["post_id"] or abs(scores.get(post, item["score"]) - item["score"]) <= 1e-5 * abs(item["score"])
        for post, item in zip(posts, items, strict=True)
    )


def test_a_stranger_gets_what_is_popular_and_with_recent_posts_the_model(waypost: Waypost) -> None:
    stranger = waypost.ask(user_id=-404, k=10, deadline_ms=5000)
    assert (stranger["source"], stranger["degraded"], len(stranger["items"])) == ("popular", False, 10)
    recent = [item["post_id"] for item in stranger["items"][:3]]
    newcomer = waypost.ask(user_id=-404, k=10, recent_post_ids=recent, deadline_ms=5000)
    assert (newcomer["source"], newcomer["degraded"]) == ("graphsage", False)
    assert not {item["post_id"] for item in newcomer["items"]} & set(recent)


def test_ten_thousand_excludes_are_honoured_by_the_model(waypost: Waypost) -> None:
    user = known_users(waypost)[1]
    posts = sorted(int(post) for post, *_ in rows(waypost, "posts"))
    kept = sorted(set(posts) - seen(waypost)[user])[:7]
    excluded = [post for post in posts if post not in kept]
    excluded += list(range(10**9, 10**9 + 10_000 - len(excluded)))
    answer = waypost.ask(user_id=user, k=100, exclude_post_ids=excluded, deadline_ms=5000)
    assert answer["source"] == "graphsage"
    assert sorted(item["post_id"] for item in answer["items"]) == kept


def test_a_query_and_tags_let_the_model_rank_for_a_stranger(waypost: Waypost) -> None:
    tag = rows(waypost, "tags")[0]
    carrying = {int(post) for post, carried in rows(waypost, "post_tags") if carried == tag[0]}
    filtered = waypost.ask(user_id=-404, k=5, tags={"any": [tag[1].upper()]}, deadline_ms=5000)
    assert filtered["source"] == "graphsage"
    assert {item["post_id"] for item in filtered["items"]} <= carrying
    assert len(filtered["items"]) == min(5, len(carrying))
    assert waypost.ask(user_id=-404, query="a quiet beach", deadline_ms=5000)["source"] == "graphsage"


def test_a_killed_worker_costs_the_model_but_never_an_answer_and_a_new_one_brings_it_back(waypost: Waypost) -> None:
    user = known_users(waypost)[0]
    os.kill(waypost.part("worker")["pid"], signal.SIGKILL)
    eventually(lambda: waypost.part("worker")["state"] == "down")
    without = waypost.ask(user_id=user, k=10, deadline_ms=300)
    assert (without["source"], without["degraded"], without["model_version"]) == ("popular", True, None)
    assert len(without["items"]) == 10
    waypost("local", "up")
    eventually(lambda: waypost.ask(user_id=user, deadline_ms=2000)["source"] == "graphsage")


def test_an_unchanged_graph_is_not_read_twice_and_the_next_release_takes_over(waypost: Waypost) -> None:
    waypost("night")
    eventually(lambda: waypost.ask(user_id=known_users(waypost)[0], deadline_ms=2000)["model_version"] == 2)
    listing = waypost("release", "list").splitlines()
    assert [line.split()[0] for line in listing] == ["1", "*"]
    waypost("release", "rollback", "--reason", "the test says so")
    eventually(lambda: waypost.ask(user_id=known_users(waypost)[0], deadline_ms=2000)["model_version"] == 1)
    shown = json.loads(waypost("release", "show"))
    assert (shown["version"], shown["pointer"]["reason"]) == (1, "the test says so")


def test_the_repository_for_another_triton_passes_preflight(waypost: Waypost) -> None:
    assert json.loads(waypost("preflight", "repository", "--json")) == {"ok": True, "findings": []}
    config = (waypost.folder / "repository" / "recommender" / "config.pbtxt").read_text()
    assert 'backend: "onnxruntime"' in config
    (waypost.folder / "repository" / "recommender" / "1" / "model.onnx").write_bytes(b"cut")
    assert "onnx-unreadable" in waypost("preflight", "repository", "--static", codes=(4,))


def test_of_two_exporters_at_the_same_moment_one_is_served_and_the_other_says_superseded(waypost: Waypost) -> None:
    before = json.loads(waypost("release", "show"))["pointer"]
    command = [sys.executable, "-m", "waypost.cli", "exporter"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, cwd=waypost.folder, env=waypost.environ, **pipes) for _ in range(2)]
    said = [process.communicate(timeout=400) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    superseded = [err for out, err in said if not out]
    (served,) = [out.strip() for out, _ in said if out]
    assert len(superseded) == 1
    assert f"waypost: superseded: the pointer was moved to {served} (publish by " in superseded[0]
    shown = json.loads(waypost("release", "show"))
    assert (shown["release"], shown["signed"], shown["pointer"]["came_from"]) == (served, "signed", before["release"])
    assert shown["pointer"]["number"] == before["number"] + 1
    listing = [line.removeprefix("*").split()[0] for line in waypost("release", "list").splitlines()]
    assert listing == [str(version) for version in range(1, len(listing) + 1)]
    assert waypost("release", "log", "--limit", "1").split()[2] == "publish"


def test_a_post_written_after_the_night_is_recommended_after_a_refresh(waypost: Waypost) -> None:
    uses = Counter(tag for _, tag in rows(waypost, "post_tags"))
    tag = min(uses, key=lambda tag: (uses[tag], tag))
    name = next(name for number, name in rows(waypost, "tags") if number == tag)
    write_today(waypost.folder / "today", tag)
    waypost("load", "today")
    released = waypost("refresh").strip()
    assert json.loads(waypost("release", "show"))["release"] == released
    user = known_users(waypost)[0]

    def offered() -> list[int]:
        answer = waypost.ask(user_id=user, k=100, tags={"any": [name]}, deadline_ms=2000)
        return [item["post_id"] for item in answer["items"]] if answer["source"] == "graphsage" else []

    eventually(lambda: NEW_POST in offered())
    assert waypost("refresh") == ""  # nothing new since


def write_today(folder: Path, tag: str) -> None:
    """A graph directory of one post with that tag, which nobody has read."""
    folder.mkdir()
    files = {
        "users": "user_id\tcreated_at\n",
        "posts": f"post_id\tauthor_id\tcreated_at\ttitle\tbody\n{NEW_POST}\t\\N\t\\N\tA quiet beach by train\t\\N\n",
        "tags": "tag_id\tname\n",
        "post_tags": f"post_id\ttag_id\n{NEW_POST}\t{tag}\n",
        "interactions": "user_id\tpost_id\tkind\tcreated_at\n",
    }
    for table, content in files.items():
        (folder / f"{table}.tsv").write_text(content, encoding="utf-8")

"""`waypost refresh` as operators run it, after 1 % new posts: a process of its own, up to the moved pointer.

The release before is made of random weights: what training finds changes no second of this, and takes minutes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import psycopg2
import torch

from bench.measures import Measure, Section
from bench.processes import ROOT
from bench.progress import say
from bench.world import world
from waypost.exporter.building import SHOWN_SCORES
from waypost.graph.mapping import DEFAULT
from waypost.graph.postgres import SessionLimits
from waypost.graph.reading import read_graph
from waypost.model.checkpoint import WholeCheckpoint, save_checkpoint
from waypost.model.features import VOCABULARY_SIZE
from waypost.model.graphsage import GraphSAGE
from waypost.model.nodes import nodes_of
from waypost.model.tokens import tokenized
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.settings import EmbeddedStack, TrainerSettings

NEW_SHARE = 0.01  # of the posts
LIMIT_SECONDS = 30.0
MOST_ROUNDS = 3  # each takes half a minute and adds posts
PROCESS, CPU = "process", "cpu"  # beside its stages: from its start to its end; what both cores worked for it
LIMITS = SessionLimits(connections=2, statement_timeout_seconds=600)
# Posts with the text and the tags of others, a minute old; a third of them have been seen by one to three users.
NEW_POSTS = (
    """CREATE TEMPORARY TABLE fresh ON COMMIT DROP AS
       SELECT (SELECT max(post_id) FROM posts) + row_number() OVER () AS post_id, post_id AS like_id, author_id, title,
              body FROM (SELECT * FROM posts ORDER BY random() LIMIT %(posts)s) AS some_posts""",
    """INSERT INTO posts (post_id, author_id, created_at, title, body)
       SELECT post_id, author_id, %(last)s::timestamptz, title || ' (again)', body FROM fresh""",
    """INSERT INTO post_tags (post_id, tag_id)
       SELECT f.post_id, t.tag_id FROM fresh f JOIN post_tags t ON t.post_id = like_id""",
    """INSERT INTO interactions (user_id, post_id, kind, created_at)
       SELECT user_id, post_id, 'view', %(last)s::timestamptz
       FROM (SELECT post_id, row_number() OVER () AS n FROM fresh WHERE post_id %% 3 = 0) AS p
       JOIN (SELECT user_id, row_number() OVER () AS n FROM (SELECT user_id FROM users ORDER BY random()
             LIMIT %(posts)s) AS some_users) AS u ON u.n %% (SELECT 1 + count(*) / 3 FROM fresh) = p.n""",
)


def measure(interactions: int, rounds: int) -> Section:
    with world(interactions, ["postgres", "s3", "sqs", "triton"]) as (stack, local_dir):
        keep_checkpoint(stack)
        run_verb(local_dir, "exporter")
        found = []
        for _ in range(min(rounds, MOST_ROUNDS)):
            posts = add_posts(stack.postgres_dsn)
            found.append(run_verb(local_dir, "refresh"))
            say(f"refresh: {posts} new posts, {found[-1][PROCESS]:.1f} s")
    stages = [stage for stage in found[0] if stage not in (PROCESS, CPU)]
    return Section(
        "refresh",
        f"a refresh at {interactions:,} interactions, {posts:,} new posts",
        (
            Measure("the whole refresh", "s", _median(found, PROCESS), {"30 s": LIMIT_SECONDS}),
            Measure("its processor time", "s", _median(found, CPU), {}, compared=False),
            *(Measure(f"  {stage}", "s", _median(found, stage), {}, compared=False) for stage in stages),
        ),
        rounds=len(found),
        notes=("the whole process, Python's own start included; the stages are those of its log",),
    )


def keep_checkpoint(stack: EmbeddedStack) -> None:
    """What a night leaves behind, of random weights."""
    store = S3ObjectStore(s3_client(stack.aws()), stack.bucket)
    read = read_graph(stack.postgres_reader_dsn, store, DEFAULT, LIMITS)
    graph = tokenized(store, read.fingerprint, read.tensors)
    tensors, settings = graph.tensors, TrainerSettings()
    torch.manual_seed(0)
    sizes = (tensors.num_users, tensors.num_posts, tensors.num_tags, VOCABULARY_SIZE, settings.dim, settings.layers)
    model, blind = GraphSAGE(*sizes), GraphSAGE(*sizes)
    with torch.no_grad():
        for parameter in (*model.parameters(), *blind.parameters()):
            parameter.normal_(std=0.1)
    metadata = {"fingerprint": read.fingerprint, "scores": dict.fromkeys(SHOWN_SCORES, 0.0), "git_commit": "unknown"}
    checkpoint = WholeCheckpoint(model, metadata, blind, nodes_of(tensors), graph.tokenizer)
    save_checkpoint(store, f"bench-{read.fingerprint[:8]}", checkpoint)


def add_posts(owner_dsn: str) -> int:
    """How many."""
    with closing(psycopg2.connect(owner_dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*), (SELECT max(created_at)::text FROM interactions) FROM posts")
        row = cursor.fetchone()
        assert row is not None
        facts = {"posts": max(1, round(NEW_SHARE * row[0])), "last": row[1]}
        for statement in NEW_POSTS:
            cursor.execute(statement, facts)
    return int(facts["posts"])


def run_verb(local_dir: Path, verb: str) -> dict[str, float]:
    """Seconds by stage, of the process, and of its processors (Postgres' and Triton's own work left out)."""
    log = local_dir / f"{verb}.log"
    with log.open("w") as errors:
        began, cpu = time.monotonic(), os.times()
        done = subprocess.run(
            [sys.executable, "-m", "waypost.cli", verb],
            cwd=ROOT,
            env={**os.environ, "WAYPOST_LOCAL_DIR": str(local_dir), "WAYPOST_LOG_STYLE": "json"},
            stdout=subprocess.DEVNULL,
            stderr=errors,
            timeout=600,
            check=False,
        )
        seconds, ended = time.monotonic() - began, os.times()
    cpu_seconds = ended.children_user + ended.children_system - cpu.children_user - cpu.children_system
    lines = log.read_text().strip().splitlines()
    if done.returncode:
        raise RuntimeError(f"`waypost {verb}` ended with {done.returncode}: {lines[-1:]}")
    events = [json.loads(line) for line in lines if line.startswith("{")]
    stages = {event["event"]: event["seconds"] for event in events if "seconds" in event}
    return {**stages, PROCESS: seconds, CPU: cpu_seconds}


def _median(found: Sequence[dict[str, float]], stage: str) -> float:
    return statistics.median(seconds.get(stage, 0.0) for seconds in found)

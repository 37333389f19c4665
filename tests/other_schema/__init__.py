"""A magazine's schema, unlike Waypost's own: the tables, the night's grants, the mapping of docs/mapping.md, and rows.

Readers have a taste: the i-th likes, saves and visits articles of topic i modulo TOPICS more than others, so that a
model has something to learn. Some accounts are deleted or blocked, some articles hidden or drafts; they too have rows
in all tables, as soft-deleted ones do."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extras import execute_values

FOLDER = Path(__file__).parent
MAPPING = FOLDER / "mapping.toml"
TOPICS = ("Beach", "Snow", "Food", "Trains", "Zürich")


@dataclass(frozen=True)
class Magazine:
    """What was written into the tables."""

    readers: tuple[str, ...]  # UUIDs of accounts that the mapping's filter lets through
    gone: tuple[str, ...]  # UUIDs of deleted and blocked ones
    published: tuple[str, ...]
    unpublished: tuple[str, ...]
    topics: dict[str, frozenset[str]]  # label -> slugs
    history: dict[str, frozenset[str]]  # reader -> published slugs that he has liked, saved or visited


@contextmanager
def owner(dsn: str) -> Iterator[Any]:
    """A cursor of the owner's; what it did is committed at the end."""
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        yield cursor


def create(owner_dsn: str) -> None:
    """The empty tables, and the reader's grants."""
    with owner(owner_dsn) as cursor:
        cursor.execute((FOLDER / "schema.sql").read_text())
        cursor.execute((FOLDER / "reader.sql").read_text())


def fill(owner_dsn: str, accounts: int, articles: int, acts: int, seed: int = 1) -> Magazine:
    """`acts` visits, and likes and bookmarks of some of them."""
    choose = random.Random(seed)
    uids = [f"{choose.getrandbits(128):032x}" for _ in range(accounts)]
    uids = [f"{uid[:8]}-{uid[8:12]}-{uid[12:16]}-{uid[16:20]}-{uid[20:]}" for uid in uids]
    slugs = [f"{TOPICS[i % len(TOPICS)].lower()}-{i:04d}" + (" ?é" if i % 7 == 0 else "") for i in range(articles)]
    with owner(owner_dsn) as cursor:
        _write_nodes(cursor, uids, slugs)
        visits = [_visit(choose, uids, slugs) for _ in range(acts)]
        _write_acts(cursor, choose, visits)
    readers = [uid for i, uid in enumerate(uids) if not _is_gone(i)]
    published = [slug for i, slug in enumerate(slugs) if not _is_unpublished(i)]
    return Magazine(
        tuple(readers),
        tuple(sorted(set(uids) - set(readers))),
        tuple(published),
        tuple(sorted(set(slugs) - set(published))),
        {topic: frozenset(slugs[i :: len(TOPICS)]) for i, topic in enumerate(TOPICS)},
        {uid: frozenset(page for who, page, *_ in visits if who == uid and page in set(published)) for uid in readers},
    )


def _is_gone(account: int) -> bool:
    return account % 10 in (3, 8)


def _is_unpublished(article: int) -> bool:
    return article % 9 in (4, 7)


def _write_nodes(cursor: Any, uids: Sequence[str], slugs: Sequence[str]) -> None:
    rows = [
        (uid, f"{uid}@example.org", "2026-01-01" if i % 10 == 3 else None, i % 10 == 8) for i, uid in enumerate(uids)
    ]
    execute_values(cursor, "INSERT INTO magazine.accounts (uid, email, deleted_at, blocked) VALUES %s", rows)
    articles = [
        (
            slug,
            uids[i % len(uids)] if i % 4 else None,
            {4: "hidden", 7: "draft"}.get(i % 9, "published"),
            f"2025-{i % 12 + 1:02d}-01",
            f"{TOPICS[i % len(TOPICS)]} without a plan",
            f"Ten ways to {TOPICS[i % len(TOPICS)].lower()} 🏖",
        )
        for i, slug in enumerate(slugs)
    ]
    execute_values(
        cursor,
        "INSERT INTO magazine.articles (slug, owner, state, published_at, headline, content) VALUES %s",
        articles,
    )
    execute_values(cursor, "INSERT INTO magazine.topics VALUES %s", [(topic,) for topic in TOPICS])
    pairs = [(slug, TOPICS[i % len(TOPICS)]) for i, slug in enumerate(slugs)]
    execute_values(cursor, "INSERT INTO magazine.article_topics VALUES %s", pairs)


def _visit(choose: random.Random, uids: Sequence[str], slugs: Sequence[str]) -> tuple[str, str, str]:
    """(who, page, when): three times out of four to an article of one's own topic."""
    reader = choose.randrange(len(uids))
    article = choose.randrange(len(slugs))
    if choose.random() < 0.75:
        article = min(article - article % len(TOPICS) + reader % len(TOPICS), len(slugs) - 1)
    day = f"2026-{choose.randrange(1, 7):02d}-{choose.randrange(1, 28):02d}"
    return uids[reader], slugs[article], f"{day} {choose.randrange(24):02d}:{choose.randrange(60):02d}+00"


def _write_acts(cursor: Any, choose: random.Random, visits: Sequence[tuple[str, str, str]]) -> None:
    seen = [(who, page, when, 60) for who, page, when in visits]
    hurried = [(who, page, when, 2) for who, page, when in visits[:10]]  # too short to count
    unknown = [(None, page, when, 60) for _, page, when in visits[:20]]  # without a login
    execute_values(cursor, "INSERT INTO magazine.visits VALUES %s", [*seen, *hurried, *unknown])
    liked = [
        (who, page, choose.random() < 0.9, when, when if choose.random() < 0.1 else None)
        for who, page, when in visits[::4]
    ]
    execute_values(cursor, "INSERT INTO magazine.likes VALUES %s", liked)
    saved = [(who, page, when) for who, page, when in visits[::9]]
    execute_values(cursor, "INSERT INTO magazine.bookmarks VALUES %s", saved)

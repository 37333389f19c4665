"""Judge recommendation lists in files: `waypost evaluate --train … --test … --recs …`.

Ids are opaque strings. The figures and their names are those that the literature's evaluation scripts print, so that
two judges can be compared key by key. Files are plain, .gz or .xz; `-` is standard input for the lists.
"""

from __future__ import annotations

import gzip
import lzma
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from waypost.errors import DataContractRefused, UsageError
from waypost.model.evaluation import Float64Array, gini, interval_95, mean, ndcg_at_k, novelty_bits, recall_at_k

Missing = Literal["zero", "skip", "error"]
Seen = Literal["error", "strip", "keep"]
Format = Literal["lists", "pairs"]
Figures = dict[str, float | int]


@dataclass(frozen=True)
class JudgeOptions:
    k: int = 20
    missing: Missing = "zero"  # a test user without a list: scores 0, is left out, or refuses
    seen: Seen = "error"  # a list names a training post: refuse, take it out, or leave it in as a miss
    drop_seen: bool = False  # drop test pairs that are also training pairs
    format: Format = "lists"
    num_posts: int | None = None  # size of the catalogue; None: the posts of train and test


@dataclass
class _Tally:
    """What one pass over the users collects."""

    hits: list[NDArray[np.bool_]] = field(default_factory=list)
    num_test: list[int] = field(default_factory=list)
    exposure: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    short: int = 0
    seen: int = 0
    unknown: int = 0


def evaluate_files(train: Path, test: Path, recs: Path, options: JudgeOptions | None = None) -> Figures:
    """Read the three files and judge the lists.

    Raises UsageError for a file that cannot be read, DataContractRefused (exit 3) for lists that break the protocol.
    """
    options = options or JudgeOptions()
    return judge(read_sets(train, options.format), read_sets(test, options.format), read_lists(recs), options)


def judge(
    train: dict[str, set[str]], test: dict[str, set[str]], lists: dict[str, list[str]], options: JudgeOptions
) -> Figures:
    leaked = sum(len(posts & train.get(user, set())) for user, posts in test.items())
    if options.drop_seen:
        test = {user: posts - train.get(user, set()) for user, posts in test.items()}
    test = {user: posts for user, posts in test.items() if posts}
    catalogue = set().union(*train.values(), *test.values())
    tally = _Tally()
    for user in sorted(test):
        if user not in lists:
            tally.missing += 1
            _check_missing(user, options)
        if user in lists or options.missing == "zero":
            _count_user(tally, user, lists.get(user, []), train.get(user, set()), test[user], catalogue, options)
    figures = _figures(tally, train, options.num_posts or len(catalogue), options.k)
    figures["test_pairs_also_in_train"] = leaked
    return figures


def _check_missing(user: str, options: JudgeOptions) -> None:
    if options.missing == "error":
        raise DataContractRefused(f"no list for user {user}", "recommend for every test user or pass --missing zero")


def _count_user(
    tally: _Tally,
    user: str,
    posts: list[str],
    seen: set[str],
    wanted: set[str],
    catalogue: set[str],
    options: JudgeOptions,
) -> None:
    if options.seen == "strip":
        posts = [post for post in posts if post not in seen]
    posts = posts[: options.k]
    if len(set(posts)) != len(posts):
        raise DataContractRefused(f"the list of user {user} names a post twice", "write each post once")
    repeated = sum(post in seen for post in posts)
    if repeated and options.seen == "error":
        raise DataContractRefused(
            f"the list of user {user} holds {repeated} of his training posts", "leave them out or pass --seen strip"
        )
    row = np.zeros(options.k, bool)
    row[: len(posts)] = [post in wanted for post in posts]
    tally.hits.append(row)
    tally.num_test.append(len(wanted))
    tally.exposure.update(posts)
    tally.seen += repeated
    tally.unknown += sum(post not in catalogue for post in posts)
    tally.short += len(posts) < options.k


def _figures(tally: _Tally, train: dict[str, set[str]], num_posts: int, k: int) -> Figures:
    hits = np.array(tally.hits, bool).reshape(-1, k)
    num_test = np.array(tally.num_test, np.int64)
    recall, ndcg = recall_at_k(hits, num_test), ndcg_at_k(hits, num_test)
    exposure, popularity = _exposure(tally, train, num_posts)
    any_hit = np.asarray(hits.any(axis=1))
    return {
        "k": k,
        "users": len(recall),
        "test_pairs": int(num_test.sum()),
        "catalogue": num_posts,
        f"recall@{k}": mean(recall),
        "recall_ci95": interval_95(recall),
        f"ndcg@{k}": mean(ndcg),
        "ndcg_ci95": interval_95(ndcg),
        f"precision@{k}": mean(hits.mean(axis=1, dtype=np.float64)),
        f"hit_rate@{k}": mean(any_hit.astype(np.float64)),
        f"mrr@{k}": mean(np.where(any_hit, 1.0 / (hits.argmax(axis=1) + 1), 0.0)),
        f"coverage@{k}": len(tally.exposure) / max(num_posts, 1),
        "gini_exposure": gini(exposure),
        "novelty_bits": novelty_bits(exposure, popularity, len(train)),
        "users_without_list": tally.missing,
        "short_lists": tally.short,
        "train_items_recommended": tally.seen,
        "unknown_items": tally.unknown,
    }


def _exposure(tally: _Tally, train: dict[str, set[str]], num_posts: int) -> tuple[Float64Array, Float64Array]:
    """[num_posts] how often each post is in a list, and how many training users have it; posts never shown are 0, 0."""
    popularity = Counter(post for posts in train.values() for post in posts)
    shown = np.zeros((2, max(num_posts, len(tally.exposure))))
    shown[:, : len(tally.exposure)] = [list(tally.exposure.values()), [popularity[post] for post in tally.exposure]]
    return shown[0], shown[1]


def read_sets(path: Path, form: Format) -> dict[str, set[str]]:
    """`user item item …` a line, or with form "pairs" `user item [anything]` a line."""
    sets: dict[str, set[str]] = {}
    with _open_text(path) as lines:
        for line in lines:
            words = line.split()
            if words:
                sets.setdefault(words[0], set()).update(words[1:2] if form == "pairs" else words[1:])
    return sets


def read_lists(path: Path) -> dict[str, list[str]]:
    """`user<TAB>item item …` a line, best first."""
    lists: dict[str, list[str]] = {}
    with _open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            user, _, posts = line.rstrip("\n").partition("\t")
            if user in lists:
                raise DataContractRefused(f"{path} line {number}: user {user} has two lists", "write one line per user")
            if line.rstrip("\n"):
                lists[user] = posts.split()
    return lists


@contextmanager
def _open_text(path: Path) -> Iterator[IO[str]]:
    if str(path) == "-":
        yield sys.stdin
        return
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    try:
        with cast(IO[str], opener(path, "rt", encoding="utf-8")) as stream:  # type: ignore[operator]
            yield stream
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "give a plain, .gz or .xz text file") from None

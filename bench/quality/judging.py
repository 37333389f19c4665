"""Lists judged by the data folder's own evaluate.py, in a process of its own, user by user."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.quality.cuts import Pair, by_user

K = 20
NORMAL_95 = 1.96
JUDGE_TIMEOUT_SECONDS = 300
KEPT = {
    "users": "users",
    f"recall@{K}": "recall",
    "recall_ci95": "recall_ci95",
    f"ndcg@{K}": "ndcg",
    "ndcg_ci95": "ndcg_ci95",
    f"coverage@{K}": "coverage",
    "gini_exposure": "gini",
    "novelty_bits": "novelty_bits",
}  # the judge's names -> ours
Figures = dict[str, float]


@dataclass(frozen=True)
class Judged:
    figures: Figures
    recall: Mapping[str, float]  # by user
    ndcg: Mapping[str, float]


@dataclass(frozen=True)
class Judge:
    """One test set; every ranker's lists are judged on the same users and pairs."""

    evaluate: Path  # evaluate.py
    train: Path  # what no list may name
    test: Path
    num_posts: int | None = None  # of the catalogue, for coverage; None: those in train and test
    strips_seen: bool = False  # for lists that are long enough to lose some

    def __call__(self, lists: Path) -> Judged:
        """Raises RuntimeError with the judge's words, for a seen post in a list too unless those are stripped."""
        scores = lists.with_suffix(".scores")
        catalogue = [] if self.num_posts is None else ["--n-items", str(self.num_posts)]
        files = {"train": self.train, "test": self.test, "recs": lists, "per-user": scores}
        named = [word for name, path in files.items() for word in (f"--{name}", str(path))]
        seen = "strip" if self.strips_seen else "error"
        done = subprocess.run(
            [sys.executable, str(self.evaluate), *named, "--k", str(K), "--seen", seen, "--json", *catalogue],
            capture_output=True,
            text=True,
            timeout=JUDGE_TIMEOUT_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{self.evaluate} refused {lists.name}: {done.stderr.strip()}")
        found = json.loads(done.stdout)
        rows = [line.split("\t") for line in scores.read_text().splitlines()]
        return Judged(
            {ours: found[theirs] for theirs, ours in KEPT.items()},
            recall={row[0]: float(row[1]) for row in rows},
            ndcg={row[0]: float(row[2]) for row in rows},
        )


def write_judge(
    evaluate: Path, folder: Path, name: str, train: Iterable[Pair], test: Iterable[Pair], **facts: Any
) -> Judge:
    """`facts`: the Judge's other fields."""
    return Judge(
        evaluate,
        write_lists(folder / f"{name}-train.txt", by_user(train), " "),
        write_lists(folder / f"{name}-test.txt", by_user(test), " "),
        **facts,
    )


def write_lists(path: Path, lists: Mapping[str, Sequence[str]], between: str = "\t") -> Path:
    """`user<TAB>post post …`, or with a blank as the sets of train and test are written."""
    path.write_text("".join(f"{user}{between}{' '.join(posts)}\n" for user, posts in lists.items()))
    return path


def paired(ours: Judged, theirs: Judged) -> Figures:
    """Mean differences over the users both were judged on, with half the width of their 95 % intervals."""
    figures = {}
    for name in ("recall", "ndcg"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        difference = [mine[user] - other[user] for user in mine]
        figures[name] = statistics.fmean(difference)
        figures[f"{name}_ci95"] = NORMAL_95 * statistics.pstdev(difference) / math.sqrt(len(difference))
    return figures

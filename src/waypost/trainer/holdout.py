"""Judge a model, the served one and the baselines on the same holdout, user by user, so that they compare in pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from waypost.errors import UsageError
from waypost.graph.tensors import Csr, GraphTensors, Int32Array, Int64Array, csr_from_pairs
from waypost.model.evaluation import (
    Scores,
    choose_users,
    coverage,
    exposure_of,
    gini,
    interval_95,
    mean,
    novelty_bits,
    rank_posts,
)
from waypost.model.graphsage import GraphSAGE
from waypost.model.serving import ServingTables, score_users
from waypost.model.tables import Window, to_serving_tables
from waypost.settings import TrainerSettings
from waypost.trainer.baselines import POPULARITY, BaselineCache, rank_baselines
from waypost.trainer.leak import LeakProbe, probe_leak
from waypost.trainer.segments import ALL, Segment, score_segment, segments_of, users_in
from waypost.trainer.split import Split

K = 20  # of Recall@K and NDCG@K, as the literature has it
MODEL, SERVED = "model", "served"  # the rankers that are no baselines


@dataclass(frozen=True, eq=False)
class Holdout:
    """What every ranker is asked, and what is right."""

    users: Int32Array  # [num_users] the judged ones, ascending
    seen: Csr  # by user, what a list leaves out
    test: Csr  # by user, what it should hold
    segments: tuple[Segment, ...]
    popularity: Int64Array  # [num_posts] users of the training part who have seen it

    def judge(self, lists: Int32Array) -> Ranking:
        found = {segment.name: score_segment(lists, self.users, self.test, segment) for segment in self.segments}
        shown = exposure_of(lists, len(self.popularity))
        return Ranking(
            lists,
            {name: part.scores for name, part in found.items()},
            coverage(shown),
            gini(shown),
            novelty_bits(shown, self.popularity, self.seen.num_rows),
        )

    def judged(self) -> dict[str, Int32Array]:
        """By segment, the users who are in it."""
        return {segment.name: users_in(self.users, self.test, segment) for segment in self.segments}


@dataclass(frozen=True, eq=False)
class Ranking:
    """One ranker's lists and what they are worth."""

    lists: Int32Array  # [num_users, K] of HoldoutReport.users, -1 where no post was left
    scores: Mapping[str, Scores]  # by segment, of HoldoutReport.judged[segment]
    coverage: float  # the share of all posts that is in one of the lists
    gini: float  # 0: all posts are shown equally often; 1: one takes everything
    novelty_bits: float  # mean self-information of what is shown

    def figures(self) -> dict[str, float]:
        return {"coverage": self.coverage, "gini": self.gini, "novelty_bits": self.novelty_bits}


@dataclass(frozen=True, eq=False)
class HoldoutReport:
    """What the gate decides on, and what the checkpoint keeps of it."""

    asked: Holdout
    users: Int32Array  # [num_users] the judged ones
    judged: Mapping[str, Int32Array]  # by segment, the users in it; `all` holds everybody
    rankings: Mapping[str, Ranking]  # by ranker: MODEL, SERVED where there is one, each baseline
    leak: LeakProbe
    finite: bool  # no NaN and no infinity in the tables
    spread: float  # of the post vectors: their distance from their mean over their length, both root mean square
    same_list_share: float  # of the judged users who got the most common list
    temporal: bool
    num_posts: int  # of the catalogue

    @property
    def lists(self) -> Int32Array:
        """[num_users, K] the model's."""
        return self.rankings[MODEL].lists

    @property
    def model(self) -> Scores:
        return self.scores(MODEL)

    @property
    def popularity(self) -> Scores:
        return self.scores(POPULARITY)

    def scores(self, ranker: str, segment: str = ALL) -> Scores:
        return self.rankings[ranker].scores[segment]

    def headline(self) -> dict[str, float | int | bool]:
        """The flat part, for a log line: means over all judged users and half widths of their 95 % intervals."""
        return {
            "temporal": self.temporal,
            "users": len(self.users),
            **_means(self.model),
            "popularity_recall": mean(self.popularity.recall),
            "popularity_ndcg": mean(self.popularity.ndcg),
            **self.rankings[MODEL].figures(),
            "spread": self.spread,
            "same_list_share": self.same_list_share,
            "leak_gap": self.leak.gap,
            "leak_gap_ci95": self.leak.gap_ci95,
        }

    def figures(self) -> dict[str, Any]:
        """The readable whole: the headline, then every ranker on every segment."""
        return {
            **self.headline(),
            "segments": {
                segment: {"users": len(users)} | {name: _means(self.scores(name, segment)) for name in self.rankings}
                for segment, users in self.judged.items()
            },
            "rankings": {name: ranking.figures() for name, ranking in self.rankings.items()},
        }


def measure(
    model: GraphSAGE,
    tensors: GraphTensors,
    cut: Split,
    settings: TrainerSettings,
    served: GraphSAGE | ServingTables | None = None,
    cache: BaselineCache | None = None,
) -> HoldoutReport:
    """Full ranking over all posts but those the user had seen before the cut, for at most `holdout_users` users.

    `served` ranks for the same users on the same training graph; its rows must be those of `tensors`. With `cache` the
    baselines' lists are taken from there and kept there. Raises StoreUnavailable then.
    """
    asked = to_holdout(tensors, cut, settings)
    tables = _tables(model, tensors, cut)
    rankers = {MODEL: tables} | ({} if served is None else {SERVED: _tables(served, tensors, cut)})
    lists = {name: _rank(found, asked) for name, found in rankers.items()}
    lists |= rank_baselines(settings, tensors, cut, asked.users, asked.seen, K, cache)
    return HoldoutReport(
        asked=asked,
        users=asked.users,
        judged=asked.judged(),
        rankings={name: asked.judge(ranked) for name, ranked in lists.items()},
        leak=probe_leak(model, tensors, cut, asked.users, settings.seed),
        finite=is_finite(tables),
        spread=spread_of(tables),
        same_list_share=_same_list_share(lists[MODEL]),
        temporal=cut.temporal,
        num_posts=tensors.num_posts,
    )


def to_holdout(tensors: GraphTensors, cut: Split, settings: TrainerSettings) -> Holdout:
    test = csr_from_pairs(cut.holdout_user, cut.holdout_post, tensors.num_users)
    seen = csr_from_pairs(cut.seen.user, cut.seen.post, tensors.num_users)
    return Holdout(
        users=choose_users(test, settings.holdout_users, settings.seed),
        seen=seen,
        test=test,
        segments=segments_of(tensors, cut.train),
        popularity=np.bincount(seen.indices, minlength=tensors.num_posts),
    )


def _tables(model: GraphSAGE | ServingTables, tensors: GraphTensors, cut: Split) -> ServingTables:
    if isinstance(model, ServingTables):
        return model
    return to_serving_tables(model, tensors, cut.train, _window(tensors, cut))


def _rank(tables: ServingTables, asked: Holdout) -> Int32Array:
    return rank_posts(lambda batch: score_users(tables, batch), asked.users, asked.seen, K)


def _means(scores: Scores) -> dict[str, float]:
    return {
        "recall": mean(scores.recall),
        "recall_ci95": interval_95(scores.recall),
        "ndcg": mean(scores.ndcg),
        "ndcg_ci95": interval_95(scores.ndcg),
    }


def write_evaluation(folder: Path, tensors: GraphTensors, cut: Split, report: HoldoutReport) -> None:
    """train.txt, test.txt and recs.tsv of the judged users, in the formats of `waypost evaluate`.

    Ids are words there: keys that are strings may hold blanks, so their ranks stand for them.
    Raises UsageError when the folder cannot be written.
    """
    train = csr_from_pairs(cut.seen.user, cut.seen.post, tensors.num_users)  # what a list must leave out
    test = csr_from_pairs(cut.holdout_user, cut.holdout_post, tensors.num_users)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_sets(folder / "train.txt", tensors, range(tensors.num_users), train)
        _write_sets(folder / "test.txt", tensors, report.users.tolist(), test)
        with (folder / "recs.tsv").open("w", encoding="utf-8") as file:
            for user, posts in zip(report.users, report.lists, strict=True):
                file.write(f"{tensors.user_ids[user]}\t{_ids(tensors, posts[posts >= 0])}\n")
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}", "name a writable folder") from error


def _write_sets(path: Path, tensors: GraphTensors, users: Iterable[int], posts: Csr) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{tensors.user_ids[user]} {_ids(tensors, posts.row(user))}\n" for user in users)


def _ids(tensors: GraphTensors, posts: Int32Array) -> str:
    return " ".join(map(str, tensors.post_ids[posts].tolist()))


def _window(tensors: GraphTensors, cut: Split) -> Window | None:
    """The held-out time, for a temporal cut: what the lists are judged on."""
    if not cut.temporal:
        return None
    return Window(cut.boundary, max(cut.boundary, int(tensors.interactions.created_at.max())))


def is_finite(tables: ServingTables) -> bool:
    return all(bool(np.isfinite(array).all()) for array in vars(tables).values())


def spread_of(tables: ServingTables) -> float:
    """0 when every post has the same vector, 1 when they have nothing in common."""
    vectors = tables.post_vector[:, :-1]  # the last column is the age, the same for every user
    length = float(np.sqrt((vectors**2).sum(1).mean()))
    apart = float(np.sqrt(((vectors - vectors.mean(0)) ** 2).sum(1).mean()))
    return apart / length if length > 0 else 0.0


def _same_list_share(lists: Int32Array) -> float:
    """Share of the judged users who got the most common set of posts."""
    if not len(lists):
        return 0.0
    counts = np.unique(np.sort(lists, axis=1), axis=0, return_counts=True)[1]
    return float(counts.max() / len(lists))

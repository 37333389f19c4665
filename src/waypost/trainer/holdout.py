"""Judge a model and popularity on the same holdout, user by user, so that they can be compared in pairs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from waypost.errors import UsageError
from waypost.graph.tensors import Csr, GraphTensors, Int32Array, csr_from_pairs
from waypost.model.evaluation import Scores, choose_users, interval_95, mean, rank_posts, score_lists
from waypost.model.graphsage import GraphSAGE
from waypost.model.serving import ServingTables, score_users
from waypost.model.tables import Window, to_serving_tables
from waypost.settings import TrainerSettings
from waypost.trainer.split import Split

K = 20  # of Recall@K and NDCG@K, as the literature has it


@dataclass(frozen=True, eq=False)
class HoldoutReport:
    """What the gate decides on, and what the checkpoint keeps of it."""

    users: Int32Array  # [num_users] the judged ones
    lists: Int32Array  # [num_users, K] the model's, -1 where no post was left
    model: Scores
    popularity: Scores
    finite: bool  # no NaN and no infinity in the tables
    spread: float  # of the post vectors: their distance from their mean over their length, both root mean square
    same_list_share: float  # of the judged users who got the most common list
    temporal: bool

    def figures(self) -> dict[str, float | int | bool]:
        """The readable part: means and half widths of their 95 % intervals."""
        return {
            "temporal": self.temporal,
            "users": len(self.users),
            "recall": mean(self.model.recall),
            "recall_ci95": interval_95(self.model.recall),
            "ndcg": mean(self.model.ndcg),
            "ndcg_ci95": interval_95(self.model.ndcg),
            "popularity_recall": mean(self.popularity.recall),
            "popularity_ndcg": mean(self.popularity.ndcg),
            "spread": self.spread,
            "same_list_share": self.same_list_share,
        }


def measure(model: GraphSAGE, tensors: GraphTensors, cut: Split, settings: TrainerSettings) -> HoldoutReport:
    """Full ranking over all posts but those the user had seen before the cut, for at most `holdout_users` users."""
    tables = to_serving_tables(model, tensors, cut.train, _window(tensors, cut))
    seen = csr_from_pairs(cut.seen.user, cut.seen.post, tensors.num_users)
    train = csr_from_pairs(cut.train.user, cut.train.post, tensors.num_users)
    test = csr_from_pairs(cut.holdout_user, cut.holdout_post, tensors.num_users)
    users = choose_users(test, settings.holdout_users, settings.seed)
    popularity = np.bincount(train.indices, minlength=tensors.num_posts).astype(np.float32)
    lists = rank_posts(lambda batch: score_users(tables, batch), users, seen, K)
    popular = rank_posts(lambda batch: np.tile(popularity, (len(batch), 1)), users, seen, K)
    return HoldoutReport(
        users=users,
        lists=lists,
        model=score_lists(lists, users, test),
        popularity=score_lists(popular, users, test),
        finite=is_finite(tables),
        spread=spread_of(tables),
        same_list_share=_same_list_share(lists),
        temporal=cut.temporal,
    )


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
    return Window(cut.boundary, int(tensors.interactions.created_at.max())) if cut.temporal else None


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

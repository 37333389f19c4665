"""Seconds of training to a given NDCG@20 on lastfm: ours, torch-geometric's LightGCN, tuned implicit ALS, in one run.

Judged on a validation part, a random 20 % of every user's in the training cut of `bench.quality.lastfm`, whose own test
nobody sees here. The NDCG to reach is a little less than what tuned ALS ends at, fixed beforehand.
"""

from __future__ import annotations

from bench import data
from bench.graph_files import read_graph_files
from bench.measures import Measure, Section
from bench.quality.cuts import cut_random_per_user
from bench.quality.lastfm import CUT_SEED, FOLDER, SHARE, VALIDATION_SEED
from bench.rankers import ALS, LIGHTGCN, TunedAls, chase_als, chase_lightgcn, chase_ours
from bench.reaching import Reached, Task

TARGET_NDCG = 0.17  # tuned ALS ends at 0.179
STOP_SECONDS = 300.0
TUNED_ALS = TunedAls({"FACTORS": 128, "REGULARISATION": 50.0, "CONFIDENCE": 10.0})  # the best in bench.quality's grid


def measure(interactions: int, rounds: int) -> Section:
    """Of a size of its own, whatever the world's; each ranker once."""
    title = f"seconds to NDCG@20 {TARGET_NDCG} on lastfm"
    if not data.is_there():
        return Section("lastfm", title, (), notes=(data.absence(),))
    files = read_graph_files(data.DATA / FOLDER)
    cut = cut_random_per_user(files.interactions, SHARE, CUT_SEED)
    inner = cut_random_per_user(cut.train, SHARE, VALIDATION_SEED)
    task = Task.of(files, inner, TARGET_NDCG, STOP_SECONDS)
    ours = chase_ours(task)
    peers = {LIGHTGCN: chase_lightgcn(task), ALS: chase_als(task, TUNED_ALS)}
    seconds = {name: peer.at_least() for name, peer in peers.items()}
    return Section(
        "lastfm",
        title,
        (Measure("training", "s", ours.at_least(), seconds),),
        notes=tuple(_note(name, reached) for name, reached in {"ours": ours, **peers}.items()),
    )


def _note(name: str, reached: Reached) -> str:
    if reached.seconds is not None:
        return f"{name}: NDCG@20 {reached.best:.4f} when it was reached"
    return f"{name}: not reached, its best is {reached.best:.4f}; the seconds are at least that"

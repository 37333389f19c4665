"""lastfm: a random 20 % of every user's artists held out, tags used; beside implicit ALS and GF-CF on the same cut.

The peers are tuned on a validation part of the training cut, a random 20 % again; our settings are the defaults.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.graph_files import GraphFiles, read_graph_files, write_graph_files
from bench.quality.context import Bench, Outcome, night_figures
from bench.quality.cuts import Cut, cut_random_per_user, pairs_of
from bench.quality.judging import Judge, Judged, K, paired, write_judge, write_lists
from bench.quality.peers import GF_CF, IMPLICIT_ALS, POPULARITY, Graph, Peer, lists_of, tune

FOLDER = "lastfm"
SHARE, CUT_SEED, VALIDATION_SEED = 0.2, 20, 21
PEERS = (POPULARITY, IMPLICIT_ALS, GF_CF)


def measure(bench: Bench, seed: int) -> Outcome:
    files = read_graph_files(bench.data / FOLDER)
    cut = cut_random_per_user(files.interactions, SHARE, CUT_SEED)
    with bench.stack(WAYPOST_TRAINER_SEED=str(seed)) as stack:
        stack.load(write_graph_files(stack.folder / "graph", replace(files, interactions=cut.train)))
        night = stack.night()
        lists = stack.folder / "recs.tsv"
        stack.recommend(lists)
        judge = write_judge(bench.evaluate, stack.folder, "lastfm", pairs_of(cut.train), cut.test)
        ours = judge(lists)
        figures: dict[str, dict[str, Any]] = {"ours": ours.figures, "night": night_figures(night)}
        for peer in PEERS:
            bench.check_time()
            figures |= beside(peer, files, cut, judge, ours, stack.folder)
    return Outcome(figures, night.peak_bytes)


def beside(
    peer: Peer, files: GraphFiles, cut: Cut, judge: Judge, ours: Judged, folder: Path
) -> dict[str, dict[str, Any]]:
    inner = cut_random_per_user(cut.train, SHARE, VALIDATION_SEED)
    constants, ndcg = tune(peer, Graph.of(files, inner), inner.test)
    lists = write_lists(folder / f"{peer.name}.tsv", lists_of(peer, Graph.of(files, cut), constants, cut.test, K))
    theirs = judge(lists)
    return {
        peer.name: {**theirs.figures, "tuned": dict(constants), "validation_ndcg": ndcg},
        f"ours over {peer.name}": paired(ours, theirs),
    }

"""yelp2018: what a night costs. The first one, and the next one after 1 % more interactions, which goes on from it."""

from __future__ import annotations

from dataclasses import replace

from bench.graph_files import GraphFiles, read_graph_files, write_graph_files
from bench.quality.context import Bench, Outcome, holdout_figures, night_figures
from bench.quality.cuts import held_back

FOLDER = "yelp2018"
CHANGED_SHARE, CUT_SEED = 0.01, 1


def measure(bench: Bench, seed: int) -> Outcome:
    files = read_graph_files(bench.data / FOLDER)
    before, later = held_back(files.interactions, CHANGED_SHARE, CUT_SEED)
    with bench.stack(WAYPOST_TRAINER_SEED=str(seed)) as stack:
        stack.load(write_graph_files(stack.folder / "before", replace(files, interactions=before)))
        cold = stack.night()
        stack.load(write_graph_files(stack.folder / "later", GraphFiles(interactions=later)))
        warm = stack.night()
    figures = {
        "cold night": night_figures(cold),
        "warm night": night_figures(warm),
        "holdout, cold": holdout_figures(cold),
        "holdout, warm": holdout_figures(warm),
    }
    return Outcome(figures, max(cold.peak_bytes, warm.peak_bytes))

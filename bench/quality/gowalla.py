"""gowalla, the standard split: a night on its training part, the lists judged on test.txt."""

from __future__ import annotations

from bench.quality.context import Bench, Outcome, night_figures
from bench.quality.judging import Judge

FOLDER = "gowalla"


def measure(bench: Bench, seed: int) -> Outcome:
    data = bench.data / FOLDER
    with bench.stack(WAYPOST_TRAINER_SEED=str(seed)) as stack:
        stack.load(data)
        night = stack.night()
        lists = stack.folder / "recs.tsv"
        stack.recommend(lists)
        judged = Judge(bench.evaluate, data / "train.txt.xz", data / "test.txt.xz")(lists)
    return Outcome({"test": judged.figures, "night": night_figures(night)}, night.peak_bytes)

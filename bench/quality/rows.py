"""The rows of the table, in the order they are run: what was promised first, then what explains it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from bench.processes import ROOT
from bench.quality import cuts, gowalla, lastfm, travel, yelp2018
from bench.quality.context import Bench, Outcome
from bench.quality.results import Found, digest_of

SEED = 1  # fixed beforehand; what is promised is promised of this one
SPREAD_SEEDS = (2, 3, 4, 5)
QUICK_NIGHT_SECONDS = 600  # with a quicker night all seeds show the spread, else the first two of them
SLOW_SPREAD = 2
OWN_CODE = ("graph", "model", "trainer", "exporter", "release", "settings.py")  # of src/waypost: what figures depend on
NOT_MEASURING = {"page.py", "bounds.py", "__main__.py"}  # of this package: these only tell
LOAD, RECOMMEND = "waypost load DIR && waypost night", "waypost recommend --all-users --output recs.tsv"


@dataclass(frozen=True)
class Row:
    name: str
    data: str  # folder of the data
    run: Callable[[Bench, int], Outcome]
    command: str
    seed: int = SEED

    def digest(self, bench: Bench) -> str:
        """Of everything that its figures depend on."""
        source, own = ROOT / "src" / "waypost", ROOT / "bench" / "quality"
        code = [source / name for name in OWN_CODE]
        code += [path for path in own.glob("*.py") if path.name not in NOT_MEASURING]
        code += [ROOT / "bench" / "graph_files.py", ROOT / "constraints.txt"]
        facts = self.name, self.seed, sorted(bench.settings.items())
        return digest_of([*code, bench.data / self.data, bench.evaluate], *facts)


def _gowalla(seed: int) -> Row:
    command = f"WAYPOST_TRAINER_SEED={seed}; {LOAD} && {RECOMMEND}"
    return Row(f"gowalla, seed {seed}", "gowalla", gowalla.measure, command, seed)


def _ablation(what: str, run: Callable[[Bench, int], Outcome], night: str = "waypost night") -> Row:
    return Row(f"travel without {what}", "travel", run, f"waypost load CUT && {night} && waypost recommend --posts …")


def _program(what: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "bench.quality.ablated_night", what)


def _ablated_night(what: str) -> str:
    return f"python -m bench.quality.ablated_night {what} night"


FIRST = (
    Row("lastfm", "lastfm", lastfm.measure, f"waypost load CUT && waypost night && {RECOMMEND}"),
    Row("travel", "travel", travel.measure, "waypost load CUT && waypost night && waypost recommend --posts …"),
    _gowalla(SEED),
    Row("yelp2018", "yelp2018", yelp2018.measure, f"{LOAD}; then 1 % more: {LOAD}"),
    _ablation("tags", partial(travel.ablate, change=cuts.without_tags)),
    _ablation("text", partial(travel.ablate, change=cuts.without_text)),
    _ablation("ids", partial(travel.ablate, program=_program("ids")), _ablated_night("ids")),
    _ablation("graph", partial(travel.ablate, program=_program("graph")), _ablated_night("graph")),
)
GOWALLA = _gowalla(SEED).name
SPREAD = tuple(_gowalla(seed) for seed in SPREAD_SEEDS)


def planned(found: Mapping[str, Found]) -> Sequence[Row]:
    """All rows; how many seeds show the spread is known once the first night on gowalla is."""
    first = found.get(GOWALLA)
    quick = first is not None and first.figures["night"]["seconds"] < QUICK_NIGHT_SECONDS
    return (*FIRST, *(SPREAD if quick else SPREAD[:SLOW_SPREAD]))

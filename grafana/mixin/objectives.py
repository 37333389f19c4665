"""Objectives to rules: multi-window, multi-burn-rate alerts out of objectives.toml.

A burn rate of 1 spends the whole error budget in exactly the objective's days; an alert fires when both a long and a
short window burn faster than a factor: the long one so that a moment's trouble wakes nobody, the short one so that the
alert ends soon after the trouble. A page wants some requests that went wrong, too: a share of few is a chance.
Source of all but that: Google, The Site Reliability Workbook, chapter 5, section 6.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORD = "waypost:objective_errors:ratio_rate"
COUNT = "waypost:objective_errors:increase"  # requests that went wrong, over a window
WINDOW = "WINDOW"  # in the queries of objectives.toml
SHORTEST_FIRST = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
SECONDS = {"m": 60, "h": 3_600, "d": 86_400}  # of a window's unit


@dataclass(frozen=True)
class Objective:
    name: str
    alert: str
    objective: float  # share of requests that are to be good
    promise: str
    errors: str  # PromQL, requests per second
    total: str  # PromQL, requests per second

    @property
    def budget(self) -> float:
        """The share that may go wrong."""
        return round(1 - self.objective, 9)

    def ratio(self, window: str) -> str:
        """PromQL: the share that went wrong. No series of errors is no error, so that the line does not end there."""
        errors, total = (query.strip().replace(WINDOW, window) for query in (self.errors, self.total))
        return f"(\n  ({errors})\n    or\n  0 * {total}\n)\n  /\n({total} > 0)\n"

    def count(self, window: str) -> str:
        """PromQL: how many went wrong within the window."""
        return f"({self.errors.strip().replace(WINDOW, window)}) * {int(window[:-1]) * SECONDS[window[-1]]}\n"


@dataclass(frozen=True)
class Windows:
    long: str
    short: str
    factor: float


@dataclass(frozen=True)
class Burn:
    severity: str
    wait: str
    least: int  # requests that went wrong within the long window; 0: any
    windows: Sequence[Windows]


@dataclass(frozen=True)
class Objectives:
    days: int
    objectives: Sequence[Objective]
    burns: Sequence[Burn]


def read_objectives(path: Path) -> Objectives:
    """Raises KeyError or TypeError for a file that says less or more than it must."""
    content = tomllib.loads(path.read_text())
    burns = [
        Burn(burn["severity"], burn["for"], burn["least"], [Windows(**windows) for windows in burn["windows"]])
        for burn in content["burn"]
    ]
    return Objectives(content["days"], [Objective(**one) for one in content["objective"]], burns)


def objective_rules(objectives: Objectives) -> dict[str, Any]:
    """The content of a Prometheus rule file."""
    return {
        "groups": [
            {"name": "waypost-objectives", "interval": "30s", "rules": [*_records(objectives), *_counts(objectives)]},
            {"name": "waypost-budget-burn", "rules": list(_alerts(objectives))},
        ]
    }


def _records(objectives: Objectives) -> Iterator[Mapping[str, Any]]:
    used = {window for burn in objectives.burns for pair in burn.windows for window in (pair.long, pair.short)}
    for objective in objectives.objectives:
        for window in (window for window in SHORTEST_FIRST if window in used):
            yield {
                "record": RECORD + window,
                "labels": {"objective": objective.name},
                "expr": objective.ratio(window),
            }


def _counts(objectives: Objectives) -> Iterator[Mapping[str, Any]]:
    long = {pair.long for burn in objectives.burns if burn.least for pair in burn.windows}
    for objective in objectives.objectives:
        for window in (window for window in SHORTEST_FIRST if window in long):
            labels = {"objective": objective.name}
            yield {"record": COUNT + window, "labels": labels, "expr": objective.count(window)}


def _alerts(objectives: Objectives) -> Iterator[Mapping[str, Any]]:
    for objective in objectives.objectives:
        for burn in objectives.burns:
            yield {
                "alert": objective.alert,
                "expr": "\n  or\n".join(_burns(objective, windows, burn.least) for windows in burn.windows) + "\n",
                "for": burn.wait,
                "labels": {"severity": burn.severity, "component": "gateway", "objective": objective.name},
                "annotations": _annotations(objective, burn, objectives.days),
            }


def _burns(objective: Objective, windows: Windows, least: int) -> str:
    limit, of_it = f"{windows.factor:g} * {objective.budget:g}", f'{{objective="{objective.name}"}}'
    conditions = [f"{RECORD}{window}{of_it} > {limit}" for window in (windows.long, windows.short)]
    if least:
        conditions.append(f"{COUNT}{windows.long}{of_it} >= {least}")
    return "({})".format("\n    and on (namespace)\n  ".join(conditions))


def _annotations(objective: Objective, burn: Burn, days: int) -> dict[str, str]:
    spent = ", ".join(f"{days * 24 / pair.factor:.0f} hours" for pair in burn.windows)
    pace = "in hours" if burn.severity == "page" else "in days"
    return {
        "summary": f"The error budget of {objective.name} would be spent {pace}",
        "description": (
            f"{{{{ $value | humanizePercentage }}}} of requests miss the objective ({objective.promise}, over {days} "
            f"days, so {objective.budget:.1%} may). At this pace the whole budget is spent within {spent} (by window)."
        ),
        "dashboard": "/d/waypost-service",
        "runbook": f"runbook.md#{objective.alert.lower()}",
    }

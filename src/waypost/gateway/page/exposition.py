"""Reads of Prometheus' text what the page shows: the named samples, and histograms from their buckets.

Not prometheus_client's own parser, which takes twenty times as long for the lines that nobody asked for; this runs
every few seconds beside the requests.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from waypost.gateway.page.histograms import Counts

_LINE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*?)\})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
BUCKET = "_bucket"


@dataclass(frozen=True)
class Sample:
    name: str
    labels: Mapping[str, str]
    value: float


def parse_samples(text: str, names: Collection[str]) -> list[Sample]:
    """The samples of these names; lines that cannot be read are passed over."""
    found = []
    for line in text.splitlines():
        if line.startswith("#") or not line.startswith(tuple(names)):
            continue
        matched = _LINE.match(line)
        if matched is None or matched["name"] not in names:
            continue
        try:
            value = float(matched["value"])
        except ValueError:
            continue
        found.append(Sample(matched["name"], dict(_LABEL.findall(matched["labels"] or "")), value))
    return found


def histograms(samples: Sequence[Sample], name: str, *by: str) -> dict[tuple[str, ...], Counts]:
    """The histogram `name` by these labels, summed over all others. A bucket that is no number is left out."""
    cumulative: dict[tuple[str, ...], dict[float, float]] = {}
    for sample in samples:
        if sample.name == name + BUCKET and (edge := _edge(sample.labels.get("le"))) is not None:
            series = cumulative.setdefault(tuple(sample.labels.get(label, "") for label in by), {})
            series[edge] = series.get(edge, 0.0) + sample.value
    return {
        key: Counts(tuple(sorted(found)), tuple(found[e] for e in sorted(found))) for key, found in cumulative.items()
    }


def one_value(samples: Sequence[Sample], name: str, **labels: str) -> float | None:
    """The sum of the samples of that name with these labels; None where there is none that is a number."""
    values = [one.value for one in samples if one.name == name and labels.items() <= one.labels.items()]
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) if numbers else None


def label_of(samples: Sequence[Sample], name: str, label: str) -> str | None:
    """The label of the newest series of that name whose value is 1: how an `_info` says which one it is."""
    return next((one.labels.get(label) for one in reversed(samples) if one.name == name and one.value == 1), None)


def _edge(written: str | None) -> float | None:
    try:
        return float(written) if written is not None else None
    except ValueError:
        return None

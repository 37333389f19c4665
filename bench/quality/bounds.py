"""What the rows must find, in the words in which it was promised; a figure that is not there is a miss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Any

from bench.quality.results import Found

Compare = Callable[[float, float], bool]
SIGNS: Mapping[Compare, str] = {ge: "≥", gt: ">", le: "≤", lt: "<"}
Groups = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Bound:
    row: str
    what: str
    figure: Callable[[Groups], float]
    compare: Compare
    limit: float
    words: str
    aim: float | None = None


@dataclass(frozen=True)
class Verdict:
    bound: Bound
    value: float | None  # None: not measured

    @property
    def kept(self) -> bool:
        return self.value is not None and self.bound.compare(self.value, self.bound.limit)

    def __str__(self) -> str:
        value = "not measured" if self.value is None else f"{self.value:.4g}"
        bound = self.bound
        return f"{bound.row}: {bound.what} is {value}, must be {SIGNS[bound.compare]} {bound.limit:.4g}: {bound.words}"


def _at(group: str, name: str) -> Callable[[Groups], float]:
    return lambda figures: float(figures[group][name])


def _surely(group: str, name: str) -> Callable[[Groups], float]:
    """The lower end of the paired difference's 95 % interval: above 0, ours is above by more than the interval."""
    return lambda figures: float(figures[group][name] - figures[group][f"{name}_ci95"])


def _perhaps(group: str, name: str) -> Callable[[Groups], float]:
    """The upper end: below 0, ours is below by more than the interval."""
    return lambda figures: float(figures[group][name] + figures[group][f"{name}_ci95"])


_GOWALLA, _LASTFM, _TRAVEL, _YELP = "gowalla, seed 1", "lastfm", "travel", "yelp2018"
_ABOVE = "above tuned implicit ALS and above GF-CF on the same cut, by more than the interval"
_NEW = "on posts unseen in training, at least 1.25x the better of a tag-profile and a tag+title TF-IDF ranking"
_WARM = "on warm pairs at least level with popularity and implicit ALS"
_MEMORY = "peak memory under 3 GB"
_OVER = "warm pairs, ours over "
MINUTE = 60.0

BOUNDS = (
    Bound(_GOWALLA, "Recall@20", _at("test", "recall"), ge, 0.182, "LightGCN's level", 0.187),
    Bound(_GOWALLA, "NDCG@20", _at("test", "ndcg"), ge, 0.154, "LightGCN's level", 0.158),
    Bound(_GOWALLA, "Coverage@20", _at("test", "coverage"), ge, 0.5, "coverage at least half"),
    Bound(_GOWALLA, "seconds of the night", _at("night", "seconds"), lt, 40 * MINUTE, "under 40 minutes", 5 * MINUTE),
    Bound(_GOWALLA, "bytes at peak", _at("night", "peak_bytes"), lt, 3e9, _MEMORY),
    *(
        Bound(_LASTFM, f"{shown} over {peer}, lower end", _surely(f"ours over {peer}", name), gt, 0.0, _ABOVE)
        for peer in ("implicit ALS", "GF-CF")
        for shown, name in (("Recall@20", "recall"), ("NDCG@20", "ndcg"))
    ),
    Bound(_TRAVEL, "new posts, Recall@20 / better content", _at("new posts, ratio", "recall"), ge, 1.25, _NEW),
    Bound(_TRAVEL, "new posts, NDCG@20 / better content", _at("new posts, ratio", "ndcg"), ge, 1.25, _NEW),
    *(
        Bound(_TRAVEL, f"warm, {shown} over {peer}, upper end", _perhaps(_OVER + peer, name), ge, 0.0, _WARM)
        for peer in ("popularity", "implicit ALS")
        for shown, name in (("Recall@20", "recall"), ("NDCG@20", "ndcg"))
    ),
    Bound(_YELP, "seconds of the cold night", _at("cold night", "seconds"), lt, 40 * MINUTE, "under 40 minutes", 300),
    Bound(_YELP, "seconds of the warm night", _at("warm night", "seconds"), lt, 3 * MINUTE, "under 3 with 1 % changed"),
    Bound(_YELP, "bytes at peak, cold", _at("cold night", "peak_bytes"), lt, 3e9, _MEMORY),
    Bound(_YELP, "bytes at peak, warm", _at("warm night", "peak_bytes"), lt, 3e9, _MEMORY),
)  # fmt: skip


def judge(found: Mapping[str, Found], rows: Sequence[str], bounds: Sequence[Bound] = BOUNDS) -> list[Verdict]:
    """A verdict on every bound of these rows, run or not."""
    return [Verdict(bound, _value(found.get(bound.row), bound)) for bound in bounds if bound.row in rows]


def _value(found: Found | None, bound: Bound) -> float | None:
    try:
        return None if found is None else bound.figure(found.figures)
    except KeyError:
        return None

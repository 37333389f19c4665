"""How much attention a post gets by its age: the share of a score that needs neither user nor content.

A non-parametric hazard: new (user, post) pairs per post and second, by age, over log-spaced ages. Its integral over
the time a post was exposed is how many users it could expect; the logarithm is a fixed offset of the post's logit. In
training the window is the data's own (so that a post born late is not called unpopular), at serving time it is the
days that lie ahead. An app without times has no curve and all offsets are zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waypost.graph.tensors import NO_TIME, Int64Array, Interactions, pair_key

Float64Array = NDArray[np.float64]
HOUR = 3_600.0
_EDGES = HOUR * np.concatenate(([0.0], 2.0 ** np.arange(19)))  # 1 hour … 2^18 hours = 30 years
MIN_EVENTS = 200  # fewer timed pairs draw no curve worth following
PRIOR_EVENTS = 1.0  # added to every age's count, with its exposure at the mean rate
MIN_EXPECTED = 1e-4  # of the mean expectation; keeps the logarithm finite for a post that is hardly exposed


def post_birth(created_at: Int64Array, interactions: Interactions) -> Int64Array:
    """[num_posts] microseconds: when each post came to be, never after its first interaction; NO_TIME where unknown."""
    latest = np.iinfo(np.int64).max
    birth = np.where(created_at == NO_TIME, latest, created_at)
    timed = interactions.created_at != NO_TIME
    np.minimum.at(birth, interactions.post[timed], interactions.created_at[timed])
    return np.where(birth == latest, NO_TIME, birth)


@dataclass(frozen=True, eq=False)
class AgeCurve:
    expected: Float64Array  # [num_edges] pairs that a post expects from birth to the age _EDGES[i]

    def offsets(self, birth: Int64Array, start: int, end: int) -> NDArray[np.float32]:
        """[num_posts] log of the pairs expected from `start` to `end` (microseconds), centred; unknown births get 0."""
        known = birth != NO_TIME
        begin, stop = _ages(birth, start), _ages(birth, end)
        pairs = np.interp(stop, _EDGES, self.expected) - np.interp(begin, _EDGES, self.expected)
        level = max(float(pairs[known].mean()), 1e-12) if known.any() else 1.0
        centred = np.log(np.maximum(pairs / level, MIN_EXPECTED))
        return np.where(known, centred, 0.0).astype(np.float32)


def _ages(birth: Int64Array, moment: int) -> Float64Array:
    """Seconds; never negative."""
    ages: Float64Array = np.maximum(np.float64(moment) - birth.astype(np.float64), 0.0) / 1e6
    return ages


def first_pairs(interactions: Interactions, num_posts: int) -> NDArray[np.intp]:
    """Rows of the first timed interaction of every (user, post) pair."""
    rows = np.flatnonzero(interactions.created_at != NO_TIME)
    key = pair_key(interactions.user[rows], interactions.post[rows], num_posts)
    order = np.lexsort((interactions.created_at[rows], key))
    first = np.unique(key[order], return_index=True)[1]
    return rows[order[first]]


def fit_age_curve(birth: Int64Array, interactions: Interactions) -> AgeCurve | None:
    """None where there are too few times to draw a curve."""
    rows = first_pairs(interactions, len(birth))
    rows = rows[birth[interactions.post[rows]] != NO_TIME]
    if len(rows) < MIN_EVENTS:
        return None
    times = interactions.created_at[rows]
    start, end = int(times.min()), int(times.max())
    events = np.histogram(_event_ages(birth, interactions, rows), bins=_EDGES)[0]
    exposure = _exposure(birth[(birth != NO_TIME) & (birth <= end)], start, end)
    mean_rate = max(events.sum(), 1) / max(exposure.sum(), 1.0)
    rate = (events + PRIOR_EVENTS) / (exposure + PRIOR_EVENTS / mean_rate)
    return AgeCurve(np.concatenate(([0.0], np.cumsum(rate * np.diff(_EDGES)))))


def _event_ages(birth: Int64Array, interactions: Interactions, rows: NDArray[Any]) -> Float64Array:
    ages: Float64Array = (interactions.created_at[rows] - birth[interactions.post[rows]]) / 1e6
    return np.clip(ages, 0.0, _EDGES[-1])


def _exposure(birth: Int64Array, start: int, end: int) -> Float64Array:
    """[num_edges - 1] seconds that all posts together spent at each age inside the window."""
    begin, stop = _ages(birth, start)[:, None], _ages(birth, end)[:, None]
    spent = np.minimum(stop, _EDGES[None, 1:]) - np.maximum(begin, _EDGES[None, :-1])
    total: Float64Array = np.maximum(spent, 0.0).sum(axis=0)
    return total

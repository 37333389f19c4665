"""Record: half an hour of what was observed, stage by stage and release by release.

It keeps what each look added, so a window is a sum, and a process that began anew is no negative one. Of each release
it also keeps everything that was ever seen, so that a release can be compared with the one before when that one's
series are long gone. Memory and work are bounded: old looks are merged into minutes, releases are few.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from waypost.gateway.page.histograms import Counts

KEPT_SECONDS = 30 * 60.0
FINE_SECONDS = 180.0  # looks that are kept one by one: a little more than what the page calls now
COARSE_SECONDS = 60.0  # older ones are merged to so much
KEPT_RELEASES = 4  # the served one, the one before, a canary's, and `none`
NO_RELEASE = "none"  # the label of degraded answers
REQUEST = "request"  # beside the stages: the whole of it


@dataclass(frozen=True)
class Series:
    process: str
    stage: str
    model_version: str


Sums = Mapping[Series, Counts]


@dataclass
class _Look:
    began: float  # monotonic seconds
    at: float  # of its last look
    added: dict[Series, Counts]


class Record:
    def __init__(self) -> None:
        self._fine: deque[_Look] = deque()
        self._coarse: deque[_Look] = deque()
        self._latest: dict[str, dict[Series, Counts]] = {}  # by process, as it was scraped last
        self._ever: dict[Series, Counts] = {}
        self._active: dict[str, float] = {}  # when each release answered last

    def note(self, process: str, at: float, scraped: Mapping[tuple[str, str], Counts]) -> None:
        """One look at a process: its histograms by (stage, model version). The first look at one that ran before only
        says where it stands."""
        now = {Series(process, stage, version): counts for (stage, version), counts in scraped.items()}
        before = self._latest.get(process)
        self._latest[process] = now
        added = {series: counts.since((before or {}).get(series)) for series, counts in now.items()}
        added = {series: counts for series, counts in added.items() if counts.total}
        for series, counts in added.items():
            self._ever[series] = counts.plus(self._ever.get(series))
            seen_now = at if before is not None else at - KEPT_SECONDS
            self._active[series.model_version] = max(seen_now, self._active.get(series.model_version, seen_now))
        if added and before is not None:
            self._fine.append(_Look(at, at, added))
        self._forget(at)

    def between(self, since: float, until: float) -> Sums:
        """What was added after `since` up to `until`, in a grain of a minute for what is long ago."""
        found: dict[Series, Counts] = {}
        for look in (*self._coarse, *self._fine):
            if since < look.at <= until:
                _add(found, look.added)
        return found

    def ever(self, process: str, stage: str, version: str) -> Counts | None:
        """Everything that was seen of a release in a stage."""
        return self._ever.get(Series(process, stage, version))

    def before(self, version: str | None) -> str | None:
        """The release that answered last, other than this one."""
        others = {other: at for other, at in self._active.items() if other not in (version, NO_RELEASE)}
        return max(others, key=lambda other: (others[other], len(other), other)) if others else None

    def _forget(self, now: float) -> None:
        while self._fine and self._fine[0].at <= now - FINE_SECONDS:
            self._merge(self._fine.popleft())
        while self._coarse and self._coarse[0].at <= now - KEPT_SECONDS:
            self._coarse.popleft()
        if len(self._active) > KEPT_RELEASES:
            oldest = min(self._active, key=self._active.__getitem__)
            del self._active[oldest]
            self._ever = {series: counts for series, counts in self._ever.items() if series.model_version != oldest}

    def _merge(self, look: _Look) -> None:
        if self._coarse and look.at - self._coarse[-1].began < COARSE_SECONDS:
            _add(self._coarse[-1].added, look.added)
            self._coarse[-1].at = look.at
        else:
            self._coarse.append(look)


def _add(sums: dict[Series, Counts], added: Sums) -> None:
    for series, counts in added.items():
        sums[series] = counts.plus(sums.get(series))

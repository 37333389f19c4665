"""Whether this machine's clock agrees with those of S3, SQS and Postgres, as the looks at them heard it in passing."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from waypost.clock import Clock
from waypost.doctor.asking import ask
from waypost.doctor.findings import Finding, bad, ok, skipped, warn

PART = "clock"
DATE_SECONDS = 1.0  # HTTP's Date header leaves out what is less
WARN_SECONDS = 5.0  # NTP keeps clocks within milliseconds
BAD_SECONDS = 300.0  # AWS refuses what was signed so long ago, or so far ahead
FIX = "see which machine has lost its NTP server (chronyc tracking, timedatectl)"


class Clocks:
    """Seconds that this machine's clock is ahead of others; looks add to it from their threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead: dict[str, float] = {}

    def now(self) -> float:
        return self._clock.now()

    def compare(self, name: str, told_at: float, asked_at: float, resolution_seconds: float = 0.0) -> None:
        """Somebody else's clock said `told_at` between `asked_at` and now, by ours."""
        self._ahead[name] = ahead_by(told_at, told_at + resolution_seconds, asked_at, self.now())

    def compare_date_of(self, url: str, name: str) -> None:
        """The same with the Date header of any answer; where there is none, or no date in it, nothing is said."""
        asked_at = self.now()
        answer = ask(url)
        try:
            told_at = parsedate_to_datetime((answer and answer.date) or "").timestamp()
        except ValueError:
            return
        self.compare(name, told_at, asked_at, DATE_SECONDS)

    def finding(self) -> Finding:
        """To be asked when the looks are done."""
        ahead = dict(self._ahead)
        if not ahead:
            return skipped(PART, "no part told its time")
        off = {name: seconds for name, seconds in ahead.items() if abs(seconds) > WARN_SECONDS}
        if not off:
            return ok(PART, f"agrees with {', '.join(sorted(ahead))}")
        said = "; ".join(
            f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} {name}"
            for name, seconds in sorted(off.items(), key=lambda one: -abs(one[1]))
        )
        level = bad if max(map(abs, off.values())) > BAD_SECONDS else warn
        return level(PART, f"of this machine is {said}", FIX)


def ahead_by(told_from: float, told_until: float, asked_at: float, answered_at: float) -> float:
    """The least difference that explains the times: 0 where the two spans meet, negative for a clock that is behind."""
    if asked_at > told_until:
        return asked_at - told_until
    return min(0.0, answered_at - told_from)

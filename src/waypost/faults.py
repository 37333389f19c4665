"""Faults on purpose, for drills and tests: `WAYPOST_FAULTS=infer:120:7` makes version 7 120 ms slower in that stage.

The version is a release's integer or the code's own version. Settings refuse the switch unless
WAYPOST_FAULTS_ALLOWED=yes.
"""

from __future__ import annotations

from dataclasses import dataclass

from waypost import __version__

MILLISECONDS = 1_000


@dataclass(frozen=True)
class Fault:
    """A delay of one stage for one version; the one without a stage delays nothing."""

    stage: str = ""
    seconds: float = 0.0
    version: str = ""

    def delay(self, stage: str, model_version: int | None) -> float:
        """Seconds to lose in this stage of an answer of that version."""
        if stage != self.stage or self.version not in (str(model_version), __version__):
            return 0.0
        return self.seconds


NO_FAULT = Fault()


def parse_fault(text: str | None) -> Fault:
    """`stage:milliseconds:version`, whose form the settings have checked, or None."""
    if text is None:
        return NO_FAULT
    stage, milliseconds, version = text.split(":")
    return Fault(stage, int(milliseconds) / MILLISECONDS, version)

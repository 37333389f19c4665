"""What a look found: a part, how bad it is, what is the matter, and what to do about it; a line each, worst first.

Pure. Of two findings that are equally bad the one that was looked at first comes first, and parts are looked at in the
order of causes: settings before the bucket, the bucket before the release in it, the release before who serves it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from waypost.release.audit import plain_text

Level = Literal["bad", "warn", "skipped", "ok"]  # worst first
_RANK = {level: rank for rank, level in enumerate(get_args(Level))}


@dataclass(frozen=True)
class Finding:
    part: str
    level: Level
    what: str
    fix: str = ""

    def line(self) -> str:
        """`BAD queue …: remedy`, `WARN …`, `ok …`, `skipped … because …`."""
        joint = " because " if self.level == "skipped" else " "
        mark = self.level.upper() if self.level in ("bad", "warn") else self.level
        remedy = f": {self.fix}" if self.fix else ""
        return " ".join(plain_text(f"{mark} {self.part}{joint}{self.what}{remedy}").split())


def bad(part: str, what: str, fix: str) -> Finding:
    return Finding(part, "bad", what, fix)


def warn(part: str, what: str, fix: str) -> Finding:
    return Finding(part, "warn", what, fix)


def ok(part: str, what: str) -> Finding:
    return Finding(part, "ok", what)


def skipped(part: str, because: str, fix: str = "") -> Finding:
    """Nobody looked; `fix` says how to have it looked at."""
    return Finding(part, "skipped", because, fix)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: _RANK[finding.level])


def is_well(findings: Iterable[Finding]) -> bool:
    return all(finding.level != "bad" for finding in findings)


def to_json(findings: Sequence[Finding]) -> str:
    return json.dumps({"ok": is_well(findings), "findings": [asdict(finding) for finding in findings]})

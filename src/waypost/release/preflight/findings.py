"""Finding: one thing that is wrong with a release or a model repository, and the ways to tell somebody."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from waypost.errors import PreflightFailed, WaypostError
from waypost.release.preflight.faults import FAULTS


@dataclass(frozen=True)
class Finding:
    code: str  # one of FAULTS; docs/preflight.md lists them
    path: str  # relative to the folder that was named, where there is one
    what: str
    why: str  # it would fail
    fix: str

    def __str__(self) -> str:
        return f"{self.code} {self.path}: {self.what}; {self.fix}"


def finding(code: str, path: str, what: str, fix: str = "") -> Finding:
    """A finding of that code; `fix` only where the remedy is not the code's usual one."""
    fault = FAULTS[code]
    return Finding(code, path, " ".join(what.split()), fault.why, fix or fault.fix)


def cause_of(error: Exception) -> str:
    """Of an error of ours without its remedy: a finding has its own."""
    return error.cause if isinstance(error, WaypostError) else f"{type(error).__name__}: {error}"


def report_json(findings: Sequence[Finding]) -> str:
    return json.dumps({"ok": not findings, "findings": [asdict(finding) for finding in findings]})


def refuse(findings: Sequence[Finding]) -> None:
    """Raises PreflightFailed naming the findings, when there are any."""
    if findings:
        raise PreflightFailed("preflight: " + "; ".join(str(finding) for finding in findings))

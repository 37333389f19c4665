"""What is said of a night: in its checkpoint's metadata, and on its report page."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from waypost.errors import UsageError
from waypost.model.tokens import TokenizedGraph
from waypost.settings import TrainerSettings
from waypost.trainer.continuing import Start, history_facts
from waypost.trainer.gate import GateDecision
from waypost.trainer.holdout import HoldoutReport
from waypost.trainer.report import NightReport
from waypost.trainer.samples import draw_samples
from waypost.trainer.served import Served
from waypost.trainer.split import Split


@dataclass(frozen=True, eq=False)
class Night:
    """What was trained tonight, and on what."""

    at: datetime
    fingerprint: str
    graph: TokenizedGraph
    cut: Split
    start: Start
    served: Served | None
    settings: TrainerSettings
    curve: Sequence[tuple[int, float]]  # (step, loss) of the judged model

    @property
    def name(self) -> str:
        """Of its checkpoint. Names sort by time."""
        return f"{self.at:%Y%m%dT%H%M%S%f}-{self.fingerprint[:8]}"


def metadata_of(night: Night, report: HoldoutReport, decision: GateDecision) -> dict[str, Any]:
    """What a person wants to know of a checkpoint years later, and what another night asks of it."""
    return {
        **history_facts(night.settings, night.cut, night.start),
        "fingerprint": night.fingerprint,
        "settings": night.settings.model_dump(mode="json"),
        "scores": report.figures(),
        "gate": decision.facts(),
        "git_commit": read_git_commit(),
        "made_at": night.at.isoformat(timespec="seconds"),
    }


def report_of(night: Night, report: HoldoutReport, decision: GateDecision) -> NightReport:
    tensors, cut = night.graph.tensors, night.cut
    return NightReport(
        title=f"Night {night.name}",
        facts={
            "judged at": night.at.isoformat(timespec="seconds"),
            "commit": read_git_commit(),
            "tensors": night.fingerprint,
            "trained": f"from {night.start.name or 'scratch'}: {night.start.reason}",
            "served meanwhile": night.served.release if night.served else "nothing to compare with",
        },
        settings=night.settings.model_dump(mode="json"),
        sizes={
            "users": tensors.num_users,
            "posts": tensors.num_posts,
            "tags": tensors.num_tags,
            "interactions": len(tensors.interactions),
            "of them before the cut, learned by the judged model": len(cut.train),
        },
        cut={
            "holdout": f"everything from {_moment(cut.boundary)} on" if cut.temporal else "picked by hash of the keys",
            "held-out pairs": len(cut.holdout_user),
            "judged users": len(report.users),
        },
        curves={"the judged model": night.curve},
        holdout=report,
        decision=decision,
        samples=draw_samples(tensors, cut, report, night.settings.seed),
    )


def write_page(path: Path, page: str) -> None:
    """Raises UsageError for a file that cannot be written."""
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror}", "name a file that can be written") from error


def read_git_commit() -> str:
    """The commit of the checkout this code runs from; `unknown` for an installed package."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _moment(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="seconds")

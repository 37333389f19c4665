"""The names of the gate's checks, and what an operator lets pass by them. No torch: a wrong name is told at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from waypost.errors import UsageError
from waypost.trainer.baselines.names import CONTENT, EASE, GF_CF, IMPLICIT_ALS, ITEM_KNN, POPULARITY
from waypost.trainer.segments import HEAD, NEW_POSTS, NEW_USERS, TAIL, WARM

NOT_FINITE, COLLAPSED, SAME_LISTS, LEAKING, COVERAGE = "not-finite", "collapsed", "same-lists", "leaking", "coverage"
BELOW, BELOW_SERVED = "below-", "below-served"
SEGMENTS = (WARM, NEW_USERS, NEW_POSTS, HEAD, TAIL)  # beside all users
BASELINES = (POPULARITY, ITEM_KNN, IMPLICIT_ALS, CONTENT, GF_CF, EASE)
CHECKS = (
    NOT_FINITE, COLLAPSED, SAME_LISTS, LEAKING, COVERAGE, BELOW_SERVED,
    *(f"{BELOW_SERVED}:{segment}" for segment in SEGMENTS), *(BELOW + name for name in BASELINES),
)  # fmt: skip


@dataclass(frozen=True)
class Override:
    """What an operator lets pass tonight, why, and who it was."""

    checks: tuple[str, ...]
    reason: str
    by: str


def to_override(checks: Sequence[str], reason: str | None, by: str) -> Override | None:
    """None when no check is named. Raises UsageError for a name that no check has, and for want of a reason."""
    if not checks:
        if reason is not None:
            raise UsageError("--reason says why a check is let pass, and none is named", "add --accept CHECK")
        return None
    if unknown := [check for check in checks if check not in CHECKS]:
        raise UsageError(f"there is no check {', '.join(unknown)}", f"name some of {', '.join(CHECKS[1:])}")
    if NOT_FINITE in checks:
        raise UsageError(f"{NOT_FINITE} cannot be let pass: such a model ranks nothing", f"drop {NOT_FINITE}")
    if not (reason or "").strip():
        raise UsageError("--accept wants a reason, which the release keeps", 'add --reason "why"')
    return Override(tuple(dict.fromkeys(checks)), str(reason).strip(), by)

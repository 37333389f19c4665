"""The data contract, kept: judged against the last accepted nights in S3, its report stored beside the tensors.

A report is `tensors/<fingerprint>/contract-<UTC time>.json`, written once, before the night goes on or stops. History
is the newest reports of accepted nights; a report that cannot be read is skipped, since a night is never lost to one.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from waypost.clock import Clock, SystemClock
from waypost.errors import DataContractRefused
from waypost.graph.contract import Check, Facts, Limits, Report, Verdict, inspect, judge
from waypost.graph.facts import GraphRead
from waypost.metrics import TrainerMetrics
from waypost.objects.protocols import ObjectStore
from waypost.settings import TrainerSettings

logger = logging.getLogger(__name__)

HISTORY_NIGHTS = 7  # a week: every weekday once, and three odd nights do not move the median
FORMAT = 1
_KEY = re.compile(r"tensors/[^/]+/contract-(\d{8}T\d{12}Z)\.json")
_VERDICTS: tuple[Verdict, ...] = ("ok", "warning", "refused")


class _Kept(BaseModel):
    """What history needs of a report; the checks in it are for people."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    format: Literal[1]
    accepted: bool
    facts: Facts


def require_contract(
    store: ObjectStore,
    read: GraphRead,
    settings: TrainerSettings,
    metrics: TrainerMetrics,
    clock: Clock | None = None,
) -> Report:
    """Judge what was read, keep the report, set the metrics and log every warning.

    Raises DataContractRefused naming every refused check, unless settings.contract is `report`; StoreUnavailable.
    """
    report = judge(inspect(read), load_history(store), limits_of(settings))
    show(report, metrics)
    accepted = settings.contract == "report" or not report.of("refused")
    key = save_report(store, read.fingerprint, report, accepted, clock or SystemClock())
    tell(report, accepted, key)
    if not accepted:
        raise refusal(report, key)
    return report


def limits_of(settings: TrainerSettings) -> Limits:
    return Limits(**{field.name: getattr(settings, f"contract_{field.name}") for field in fields(Limits)})


def variable_of(limit_name: str) -> str:
    return f"{TrainerSettings.prefix}CONTRACT_{limit_name.upper()}"


def load_history(store: ObjectStore) -> list[Facts]:
    """Of the last accepted nights, newest first; no more is read than that takes."""
    return list(islice(_accepted(store), HISTORY_NIGHTS))


def _accepted(store: ObjectStore) -> Iterator[Facts]:
    found = ((match.group(1), info.key) for info in store.list("tensors/") if (match := _KEY.fullmatch(info.key)))
    for _, key in sorted(found, reverse=True):
        kept = _load(store, key)
        if kept is not None and kept.accepted:
            yield kept.facts


def _load(store: ObjectStore, key: str) -> _Kept | None:
    found = store.get(key)
    if found is None:  # removed since it was listed
        return None
    try:
        return _Kept.model_validate_json(found.body)
    except ValidationError as error:
        logger.warning("contract report skipped", extra={"key": key, "cause": error.errors()[0]["msg"]})
        return None


def save_report(store: ObjectStore, fingerprint: str, report: Report, accepted: bool, clock: Clock) -> str:
    """Write it where nothing is; returns its key."""
    now = datetime.fromtimestamp(clock.now(), UTC)
    body = json.dumps(to_json(report, accepted, now), indent=2).encode()
    while not store.put_new(key := f"tensors/{fingerprint}/contract-{now:%Y%m%dT%H%M%S%f}Z.json", body):
        now += timedelta(microseconds=1)  # another night of the same moment
    return key


def to_json(report: Report, accepted: bool, now: datetime) -> dict[str, object]:
    """What a person reads first comes first; the sketch, one long line, comes last."""
    return {
        "format": FORMAT,
        "judged_at": now.isoformat(timespec="seconds"),
        "accepted": accepted,
        "refused": len(report.of("refused")),
        "warnings": len(report.of("warning")),
        "nights": report.nights,
        "checks": [_with_setting(check) for check in report.checks],
        "facts": asdict(report.facts),
    }


def _with_setting(check: Check) -> dict[str, object]:
    content = asdict(check)
    limit_name = content.pop("limit_name")
    return {**content, "setting": variable_of(limit_name) if limit_name else None}


def show(report: Report, metrics: TrainerMetrics) -> None:
    """Every figure and every verdict as a gauge."""
    facts = report.facts
    for source, found in facts.sources.items():
        metrics.rows.labels(source).set(found.rows)
        metrics.null_share.labels(source).set(found.null_ids / max(found.rows, 1))
        metrics.orphan_share.labels(source).set(found.orphans / max(found.rows, 1))
    metrics.duplicate_share.set(facts.duplicate_share)
    metrics.largest_share.labels("user").set(facts.largest_user_share)
    metrics.largest_share.labels("post").set(facts.largest_post_share)
    metrics.high_degree.labels("user").set(facts.high_user_degree)
    metrics.high_degree.labels("post").set(facts.high_post_degree)
    metrics.future_share.labels("interactions").set(facts.future_interaction_share)
    metrics.future_share.labels("posts").set(facts.future_post_share)
    metrics.furthest_future.set(facts.furthest_future_seconds)
    metrics.untimed_share.set(facts.untimed_interaction_share)
    metrics.textless_share.set(facts.textless_post_share)
    metrics.untagged_share.set(facts.untagged_post_share)
    metrics.tags.set(facts.tags)
    _show_verdicts(report, metrics)


def _show_verdicts(report: Report, metrics: TrainerMetrics) -> None:
    metrics.contract_nights.set(report.nights)
    for verdict in _VERDICTS:
        metrics.contract_checks.labels(verdict).set(len(report.of(verdict)))
    for check in report.checks:
        metrics.contract_verdict.labels(check.name, check.source).set(_VERDICTS.index(check.verdict))
        if check.name == "tag_drift" and check.figure is not None:
            metrics.tag_drift.set(check.figure)


def tell(report: Report, accepted: bool, key: str) -> None:
    """A line per warning; a refused check is one too when the night goes on, else the error says it."""
    for check in (*report.of("warning"), *(report.of("refused") if accepted else ())):
        logger.warning("data contract exceeded", extra=_fields(check))
    refused, warnings = len(report.of("refused")), len(report.of("warning"))
    found = {"accepted": accepted, "refused": refused, "warnings": warnings, "nights": report.nights, "report": key}
    logger.info("data contract judged", extra=found)


def _fields(check: Check) -> dict[str, object]:
    content = {**_with_setting(check), "check": check.name}
    return {name: value for name, value in content.items() if name != "name" and value not in ("", None)}


def refusal(report: Report, key: str) -> DataContractRefused:
    """One line: what is wrong, what to look at, what to set if it is meant, and where all of it is written."""
    refused = report.of("refused")
    causes = "; ".join(check.sentence for check in refused)
    looks = list(dict.fromkeys(check.advice for check in refused))
    return DataContractRefused(
        f"data contract refused: {causes}", f"{'; '.join(looks)}; if it is meant, set {_ways_out(refused)}; see {key}"
    )


def _ways_out(refused: tuple[Check, ...]) -> str:
    """The settings under which this night would pass, each once."""
    if any(check.raise_to is None for check in refused):
        return f"{TrainerSettings.prefix}CONTRACT=report until it is the norm"
    enough: dict[str, float] = {}
    for check in refused:
        enough[check.limit_name] = max(check.raise_to or 0.0, enough.get(check.limit_name, 0.0))
    return " ".join(f"{variable_of(name)}={value:g}" for name, value in enough.items()) + " until it is the norm"

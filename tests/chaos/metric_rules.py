"""What the metrics must say, and must not: no id in a label, few series, and no reply used twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from tests.chaos.history import Asked, Scrape
from tests.chaos.timeline import Timeline
from tests.chaos.verdict import Violation

MAX_SERIES = 500  # of a process, by DESIGN 3.8
_ID = re.compile(r"[0-9a-f]{32}|\d{10}|hostile-\d+")  # a request id, a user or post of this world


def labels_hold_no_id(times: Timeline, counts: Counter[str]) -> Iterator[Violation]:
    for scrape in times.history.of(Scrape):
        counts["series"] = max(counts["series"], len(scrape.series))
        if len(scrape.series) > MAX_SERIES:
            yield Violation("series", scrape.at, f"{scrape.name} has {len(scrape.series)} series")
        for name, labels, _ in scrape.series:
            for label, value in labels:
                if _ID.search(value):
                    yield Violation("id in a label", scrape.at, f"{scrape.name}: {name}{{{label}={value!r}}}")


def no_reply_is_used_twice(times: Timeline, counts: Counter[str]) -> Iterator[Violation]:
    """Every reply used is an answer by the model, or one that was not this user's; callers who left are allowed for."""
    for scrape in times.history.of(Scrape):
        if not scrape.name.startswith("gateway"):
            continue
        used = _total(scrape, "waypost_gateway_replies_total", outcome="used")
        answers = _total(scrape, "waypost_gateway_requests_total", code="200")
        degraded = _total(scrape, "waypost_gateway_degraded_total")
        other_users = _total(scrape, "waypost_gateway_degraded_total", cause="reply")
        gone = sum(one.gateway == scrape.name and bool(one.trouble) for one in times.history.of(Asked))
        gone += sum(len(sent) - 1 for sent in times.requests_of.values())  # a client that hedged listened to one
        counts["replies used"] += int(used)
        if used > answers - degraded + other_users + gone:
            text = f"{scrape.name} used {used:.0f} replies for {answers - degraded + other_users:.0f} answers"
            yield Violation("reply used twice", scrape.at, text)


def _total(scrape: Scrape, name: str, **wanted: str) -> float:
    found = (series for series in scrape.series if series[0] == name)
    return sum(value for _, labels, value in found if wanted.items() <= dict(labels).items())

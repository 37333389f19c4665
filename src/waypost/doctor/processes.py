"""The gateway and the worker, asked at the doors that they wrote to the embedded stack's folder."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

from waypost.doctor.asking import ANSWER_SECONDS, ask
from waypost.doctor.findings import Finding, bad, ok, skipped
from waypost.doctor.looking import Look, Part

SECONDS = 2 * ANSWER_SECONDS + 1.0  # /readyz and /metrics
GONE = "see its log; kill it if it hangs; `waypost local up` starts it again"
FIX = {
    "gateway": "it needs settings that are right and one popularity list; its log's last line names what it lacks",
    "worker": "it needs a release that its Triton answers rightly; its log names what Triton refuses",
}


def process_look(name: str, url: str | None, metrics_url: str | None) -> Look:
    """`url` of its /readyz; None where nobody knows it."""

    def find() -> Iterator[Finding]:
        if url is None:
            because = "nobody here knows its address: in a cluster its own probes ask it"
            yield skipped(name, because, "`waypost local up` starts one here")
            return
        yield _asked(name, url, metrics_url)

    return Look((Part(name, SECONDS, FIX[name]),), find)


def _asked(name: str, url: str, metrics_url: str | None) -> Finding:
    ready = ask(f"{url}/readyz")
    if ready is None:
        return bad(name, f"at {url} answers nobody", GONE)
    if ready.status != HTTPStatus.OK:
        return bad(name, f"at {url} is not ready (HTTP {ready.status})", FIX[name])
    metrics = ask(metrics_url) if metrics_url else None
    if metrics is None or f"waypost_{name}_" not in metrics.body:
        return bad(name, f"is ready and shows no metrics at {metrics_url}", "nobody watches it; see its log")
    return ok(name, f"is ready at {url}")

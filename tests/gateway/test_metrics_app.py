"""The metrics' own door: what a scraper asks for is what it gets."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.gateway.conftest import StartGateway, StartWorker
from tests.metrics.openmetrics import PROMETHEUS, parsed


def test_who_asks_for_openmetrics_gets_the_request_of_a_bucket_as_its_exemplar(
    start_gateway: StartGateway, start_worker: StartWorker
) -> None:
    gateway = start_gateway()
    start_worker()
    asked = gateway.post({"user_id": 42, "deadline_ms": 10_000}).json["request_id"]
    answer = gateway.pool.request("GET", f"{gateway.metrics_url}/metrics", headers={"Accept": PROMETHEUS})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = parsed(answer.data.decode())
    for name in ("waypost_gateway_request_seconds", "waypost_gateway_stage_seconds"):
        found = {sample.exemplar.labels["request_id"] for sample in families[name].samples if sample.exemplar}
        assert found == {asked}
    assert not [s for f in families.values() for s in f.samples if asked in s.labels.values()]


@pytest.mark.parametrize("accept", [None, "text/plain", "*/*"])
def test_everybody_else_gets_prometheus_own_text(start_gateway: StartGateway, accept: str | None) -> None:
    gateway = start_gateway()
    headers = {"Accept": accept} if accept else {}
    answer = gateway.pool.request("GET", f"{gateway.metrics_url}/metrics", headers=headers)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "waypost_gateway_requests" in {family.name for family in parse_text(answer.data.decode())}


def test_nothing_else_is_behind_that_door(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    assert gateway.pool.request("GET", f"{gateway.metrics_url}/recommend").status == 404

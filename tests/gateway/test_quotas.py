"""What a tenant may ask: a rate with a burst, and so many requests at a time; and when to come again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.clock import ManualClock
from waypost.errors import SettingsError
from waypost.gateway.keys import load_api_keys
from waypost.gateway.quotas import OverQuota, Quota, Quotas, TokenBucket
from waypost.queueing.memory import MemoryQueue

from .conftest import StartGateway, eventually

SHORT = {"user_id": 42, "k": 1, "deadline_ms": 20}
NEVER = 1e-6  # requests a second: no second one within a test


class TestTokenBucket:
    def test_a_burst_is_taken_at_once_and_the_rate_from_then_on(self) -> None:
        bucket = TokenBucket(rate=2, burst=3, now=0)
        assert [bucket.take(0) for _ in range(4)] == [0, 0, 0, 0.5]
        assert bucket.take(0.5) == 0
        assert bucket.take(0.5) == 0.5

    def test_nothing_beyond_the_burst_is_saved_up(self) -> None:
        bucket = TokenBucket(rate=2, burst=3, now=0)
        assert [bucket.take(1_000) for _ in range(4)] == [0, 0, 0, 0.5]

    @given(
        rate=st.floats(0.1, 1_000),
        burst=st.integers(1, 50),
        pauses=st.lists(st.floats(0, 3), min_size=1, max_size=200),
    )
    def test_no_span_of_time_sees_more_than_the_burst_and_the_rate(
        self, rate: float, burst: int, pauses: list[float]
    ) -> None:
        bucket, now, taken = TokenBucket(rate, burst, 0), 0.0, 0
        for pause in pauses:
            now += pause
            taken += bucket.take(now) == 0
            assert taken <= burst + rate * now + 1e-6

    @given(rate=st.floats(0.01, 1_000), burst=st.integers(1, 5), more=st.integers(0, 20))
    def test_who_waits_as_long_as_he_is_told_gets_his_turn(self, rate: float, burst: int, more: int) -> None:
        bucket = TokenBucket(rate, burst, 0)
        told = [bucket.take(0) for _ in range(burst + more + 1)][-1]
        assert told > 0
        assert bucket.take(told * (1 + 1e-9)) == 0


class TestQuotas:
    def test_without_a_word_nothing_is_limited(self) -> None:
        tenant = Quotas(Quota(), ManualClock().monotonic).tenant("app")
        for _ in range(10_000):
            tenant.take(0)

    def test_a_changed_quota_counts_and_what_is_in_flight_counts_on(self) -> None:
        quotas = Quotas(Quota(), ManualClock().monotonic)
        quotas.adopt({"app": Quota(concurrency=1)})
        with quotas.tenant("app").place():
            quotas.adopt({"app": Quota(concurrency=2)})
            with quotas.tenant("app").place(), pytest.raises(OverQuota), quotas.tenant("app").place():
                pass

    def test_an_unchanged_quota_keeps_its_bucket_when_the_file_is_read_again(self) -> None:
        quotas = Quotas(Quota(), ManualClock().monotonic)
        quotas.adopt({"app": Quota(NEVER, 1)})
        quotas.tenant("app").take(0)
        quotas.adopt({"app": Quota(NEVER, 1)})
        with pytest.raises(OverQuota):
            quotas.tenant("app").take(0)

    def test_the_default_fills_what_a_key_does_not_say_and_a_rate_has_its_own_burst(self) -> None:
        default = Quota(10, 100, 5)
        assert Quota().filled(default) == default
        assert Quota(2).filled(default) == Quota(2, None, 5)
        assert Quota(concurrency=1).filled(default) == Quota(10, 100, 1)


def a_keys_file(folder: Path, **entries: Mapping[str, Any]) -> Path:
    """Keys named and spelled alike."""
    file = folder / "keys.json"
    keys = [
        {"id": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), **facts} for name, facts in entries.items()
    ]
    file.write_text(json.dumps({"keys": keys}))
    return file


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


class TestOverHttp:
    def test_beyond_its_rate_a_tenant_is_429_with_the_time_to_wait_and_others_are_not(
        self, start_gateway: StartGateway, tmp_path: Path
    ) -> None:
        file = a_keys_file(tmp_path, busy={"requests_per_second": 0.1, "burst": 2}, calm={})
        gateway = start_gateway(api_keys_file=file)
        assert [gateway.post(SHORT, bearer("busy")).status for _ in range(2)] == [200, 200]
        refused = gateway.post(SHORT, bearer("busy"))
        assert (refused.status, refused.json["detail"]) == (
            429, "more than 0.1 requests/s were asked with this tenant's keys",
        )  # fmt: skip
        assert 8 <= int(refused.headers["Retry-After"]) <= 10
        assert gateway.post(SHORT, bearer("calm")).status == 200
        assert gateway.metric('waypost_gateway_requests_total{code="429",source="none"}') == 1

    def test_the_keys_of_one_tenant_share_its_quota(self, start_gateway: StartGateway, tmp_path: Path) -> None:
        shared = {"tenant": "app", "requests_per_second": NEVER, "burst": 1}
        gateway = start_gateway(api_keys_file=a_keys_file(tmp_path, old=shared, new=shared))
        assert gateway.post(SHORT, bearer("old")).status == 200
        assert gateway.post(SHORT, bearer("new")).status == 429

    def test_beyond_its_concurrency_a_tenant_is_429_and_others_are_not(
        self, start_gateway: StartGateway, queue: MemoryQueue, tmp_path: Path
    ) -> None:
        gateway = start_gateway(api_keys_file=a_keys_file(tmp_path, busy={"concurrency": 1}, calm={}))
        with ThreadPoolExecutor(1) as caller:
            first = caller.submit(gateway.post, {"user_id": 42, "deadline_ms": 1_000}, bearer("busy"))
            eventually(lambda: queue.depth().visible == 1)
            refused = gateway.post(SHORT, bearer("busy"))
            assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
            assert gateway.post(SHORT, bearer("calm")).status == 200
            assert first.result().status == 200
        assert gateway.post(SHORT, bearer("busy")).status == 200

    def test_settings_give_the_quota_of_who_has_none(self, start_gateway: StartGateway, tmp_path: Path) -> None:
        file = a_keys_file(tmp_path, ordinary={}, special={"requests_per_second": 1_000})
        gateway = start_gateway(api_keys_file=file, requests_per_second=NEVER, burst=1)
        assert [gateway.post(SHORT, bearer("ordinary")).status for _ in range(2)] == [200, 429]
        assert [gateway.post(SHORT, bearer("special")).status for _ in range(3)] == [200, 200, 200]

    def test_a_refused_body_leaves_its_connection_usable(self, start_gateway: StartGateway, tmp_path: Path) -> None:
        file = a_keys_file(tmp_path, busy={"requests_per_second": NEVER, "burst": 1}, calm={})
        gateway = start_gateway(api_keys_file=file)
        gateway.post(SHORT, bearer("busy"))
        refused = gateway.post(b" " * 1_000_000, bearer("busy"))
        assert refused.status == 429
        assert "connection" not in {name.lower() for name in refused.headers}
        assert gateway.post(SHORT, bearer("calm")).status == 200


@pytest.mark.parametrize(
    "entries",
    [
        {"a": {"requests_per_second": 0}},
        {"a": {"requests_per_second": "10"}},
        {"a": {"requests_per_second": True}},
        {"a": {"burst": 1.5}},
        {"a": {"concurrency": -1}},
        {"a": {"requests_per_sec": 5}},
        {"a": {"tenant": "t", "burst": 5}, "b": {"tenant": "t"}},
    ],
    ids=range(7),
)
def test_a_quota_that_would_not_do_what_it_says_is_refused(tmp_path: Path, entries: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"keys file .* is wrong: .*(key|tenant) "):
        load_api_keys(a_keys_file(tmp_path, **entries))

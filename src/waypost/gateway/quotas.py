"""Quotas: how much each tenant may ask: a token bucket for its rate and a count of its requests in flight.

The keys of one tenant share one quota, so that rotating a key gives nobody a second one. Nothing is limited unless a
key's entry or a setting says so; the cap on all requests together is the Recommender's. On the event loop, without
locks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

BUSY_RETRY_SECONDS = 1  # a request takes a quarter of a second


@dataclass(frozen=True)
class Quota:
    """What is None is not limited."""

    requests_per_second: float | None = None
    burst: int | None = None  # requests at once after a pause; None: one second's worth
    concurrency: int | None = None  # requests in flight

    def filled(self, default: Quota) -> Quota:
        """With the default where this one says nothing; a rate brings its own burst."""
        of_rate = default if self.requests_per_second is None else self
        return Quota(
            of_rate.requests_per_second,
            of_rate.burst if self.burst is None else self.burst,
            default.concurrency if self.concurrency is None else self.concurrency,
        )


class OverQuota(Exception):
    """429, and when to ask again."""

    status = 429

    def __init__(self, tenant: str, detail: str, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.tenant, self.detail, self.retry_after_seconds = tenant, detail, retry_after_seconds


class TokenBucket:
    """`rate` tokens a second, at most `burst` of them saved up. It starts full."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, now

    def take(self, now: float) -> float:
        """0 when a token was taken, else the seconds until there is one. `now`: monotonic seconds."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate


class Tenant:
    def __init__(self, name: str, quota: Quota, now: float) -> None:
        self.name = name
        self.in_flight = 0
        self._begin(quota, now)

    def _begin(self, quota: Quota, now: float) -> None:
        rate = quota.requests_per_second
        self.quota = quota
        self._bucket = None if rate is None else TokenBucket(rate, _burst(quota, rate), now)

    def adopt(self, quota: Quota, now: float) -> None:
        """Another quota from now on; what is in flight counts on."""
        if quota != self.quota:
            self._begin(quota, now)

    def take(self, now: float) -> None:
        """Count one request. Raises OverQuota."""
        if self._bucket is not None and (seconds := self._bucket.take(now)) > 0:
            detail = f"more than {self.quota.requests_per_second:g} requests/s were asked with this tenant's keys"
            raise OverQuota(self.name, detail, math.ceil(seconds))

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among the requests in flight. Raises OverQuota."""
        if self.quota.concurrency is not None and self.in_flight >= self.quota.concurrency:
            detail = f"{self.quota.concurrency} requests of this tenant are in flight"
            raise OverQuota(self.name, detail, BUSY_RETRY_SECONDS)
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1


class Quotas:
    def __init__(self, default: Quota, monotonic: Callable[[], float]) -> None:
        self._default, self._monotonic = default, monotonic
        self._tenants: dict[str, Tenant] = {}
        self._read: Mapping[str, Quota] | None = None

    def tenant(self, name: str) -> Tenant:
        found = self._tenants.get(name)
        if found is None:
            found = self._tenants[name] = Tenant(name, self._default, self._monotonic())
        return found

    def adopt(self, quotas: Mapping[str, Quota]) -> None:
        """The quotas of all tenants there are, by name; those of others are forgotten once nothing is in flight."""
        if quotas is self._read:
            return
        self._read = quotas
        now = self._monotonic()
        for name, quota in quotas.items():
            self.tenant(name).adopt(quota.filled(self._default), now)
        gone = [name for name, tenant in self._tenants.items() if name not in quotas and not tenant.in_flight]
        for name in gone:
            del self._tenants[name]


def _burst(quota: Quota, rate: float) -> float:
    """At least one token, or nothing would ever be allowed."""
    return max(1.0, rate if quota.burst is None else float(quota.burst))

"""Recommendation: what a call returns, from a gateway or from the fallback."""

from __future__ import annotations

from waypost.http_models import Recommended
from waypost.questions import AppKey


class Recommendation(Recommended):
    """`source` is `graphsage`, `popular`, or `fallback` where no gateway answered; then `request_id` is None."""

    cause: str | None = None  # of a fallback: deadline, closed, garbage, `status 503`, …

    @property
    def post_ids(self) -> list[AppKey]:
        return [item.post_id for item in self.items]

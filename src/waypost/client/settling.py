"""From the outcome of a call to what the app gets: an answer, its own error, or the fallback."""

from __future__ import annotations

import logging
import time

from waypost.client.answers import Recommendation
from waypost.client.asking import Asked
from waypost.client.errors import ClientError, Unavailable
from waypost.client.exchange import Failure, Outcome
from waypost.client.fallback import Fallbacks

logger = logging.getLogger(__name__)


def settle(asked: Asked, outcome: Outcome, fallbacks: Fallbacks) -> Recommendation:
    """Raises InvalidRequest, KeyRefused, or Unavailable where there is nothing to fall back to."""
    if isinstance(outcome, ClientError):
        raise outcome
    if isinstance(outcome, Failure):
        return _fall_back(asked, outcome, fallbacks)
    fallbacks.keep(asked.request, outcome, time.monotonic())
    return outcome


def _fall_back(asked: Asked, failure: Failure, fallbacks: Fallbacks) -> Recommendation:
    items = fallbacks.items(asked.request)
    if items is None:
        raise Unavailable(f"no gateway answered: {failure.cause}", "give the client a fallback")
    logger.info("no gateway answered, the fallback does", extra={"cause": failure.cause})
    return Recommendation(
        request_id=None,
        user_id=asked.request.user_id,
        model_version=None,
        source="fallback",
        degraded=True,
        items=items,
        cause=failure.cause,
    )

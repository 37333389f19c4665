"""waypost.client: ask a gateway for recommendations, and have an answer by the deadline whatever becomes of it.

`Client` blocks, `AsyncClient` awaits; both do the same: one deadline for the whole call, at most one hedged retry, and
the app's own list, or the last popular answer, where no gateway answers. docs/client.md has the rest.
"""

from waypost.client.answers import Recommendation
from waypost.client.asking import Tags
from waypost.client.asynchronous import AsyncClient
from waypost.client.blocking import Client
from waypost.client.errors import BadSetup, ClientError, InvalidRequest, KeyRefused, Unavailable
from waypost.client.fallback import Fallback
from waypost.http_models import Item, RecommendRequest

__all__ = [
    "AsyncClient",
    "BadSetup",
    "Client",
    "ClientError",
    "Fallback",
    "InvalidRequest",
    "Item",
    "KeyRefused",
    "RecommendRequest",
    "Recommendation",
    "Tags",
    "Unavailable",
]

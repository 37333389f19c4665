"""The status page, put together from what a gateway has at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry

from waypost.clock import Clock
from waypost.gateway.keys import ApiKeys
from waypost.gateway.page.app import StatusPage
from waypost.gateway.page.neighbours import Neighbours
from waypost.gateway.page.releases import ReleaseReader
from waypost.gateway.page.watcher import Watcher
from waypost.key_types import KeyTypes
from waypost.objects.protocols import ObjectStore


def open_page(
    registry: CollectorRegistry,
    store: ObjectStore,
    keys: ApiKeys,
    key_types: Callable[[], KeyTypes],
    clock: Clock,
    folder: Path | None,
) -> StatusPage:
    """`folder`: where the worker and `waypost local run` of this machine say where they listen; None: nowhere."""
    neighbours = Neighbours(folder)
    return StatusPage(Watcher(registry, neighbours, ReleaseReader(store), key_types, clock), neighbours, keys)

"""A night that died and is started again goes on with the graph that it had read, not with that of another moment.

In an app that lives, the graph is another one every minute, and states that were kept for the graph of two minutes ago
would be of no use to anybody. So a night first looks whether one of its kind (same settings, same code) left states
and a mark beside them a short while ago, and takes that graph from the cache. A night that ended by its own decision
leaves no mark.
"""

from __future__ import annotations

import json
import logging

from waypost.errors import CorruptObject
from waypost.graph.mapping import Mapping
from waypost.graph.store import load_night, load_tensors
from waypost.model.tokens import TokenizedGraph, load_tokenized
from waypost.objects.protocols import ObjectStore
from waypost.settings import TrainerSettings
from waypost.trainer.resuming import MARK, PREFIX, Mark, facts_of, identity_of

logger = logging.getLogger(__name__)
RESUMABLE_SECONDS = 3_600.0  # since the newest state: after that a graph of now is worth more than minutes of training


def read_unfinished(
    store: ObjectStore, mapping: Mapping, settings: TrainerSettings, now: float
) -> tuple[str, TokenizedGraph] | None:
    """(fingerprint, graph with its tokens) of the youngest night that died; None when there is none to go on with.

    Its data contract was kept when it was read. `now` in seconds since the epoch. Raises StoreUnavailable.
    """
    kept_at: dict[str, float] = {}
    for info in store.list(f"{PREFIX}/"):
        folder = info.key.split("/")[1]
        kept_at[folder] = max(info.modified_at, kept_at.get(folder, 0.0))
    for folder in sorted(kept_at, key=lambda folder: -kept_at[folder]):
        mark = _load(store, f"{PREFIX}/{folder}/{MARK}") if now - kept_at[folder] <= RESUMABLE_SECONDS else None
        graph = _graph_of(store, mark, mapping, settings) if mark else None
        if mark and graph:
            logger.info("an unfinished night goes on", extra={"fingerprint": mark.fingerprint})
            return mark.fingerprint, graph
    return None


def _load(store: ObjectStore, key: str) -> Mark | None:
    found = store.get(key)
    try:
        return Mark(**json.loads(found.body)) if found else None
    except (ValueError, TypeError):
        logger.warning("mark of an unfinished night refused", extra={"key": key})
        return None


def _graph_of(store: ObjectStore, mark: Mark, mapping: Mapping, settings: TrainerSettings) -> TokenizedGraph | None:
    """None when that night was of another kind, or its graph or tokens are not whole any more."""
    if mark.identity != identity_of(facts_of(mark.fingerprint, {}, settings)):
        return None
    try:
        night = load_night(store, mark.fingerprint)
    except CorruptObject:
        return None
    tensors = load_tensors(store, mark.fingerprint) if night and night.mapping == mapping else None
    return load_tokenized(store, mark.fingerprint, tensors) if tensors else None

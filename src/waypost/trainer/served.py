"""The served model as tonight's opponent: its blind weights, which never saw the holdout of the night they are from.

The pointer names the release, the release its checkpoint, the checkpoint the weights. Where one of them is gone, is of
an older format or cannot be compared, the night says so and is judged as if nothing were served.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from waypost.errors import CorruptObject, NoRelease
from waypost.graph.tensors import NO_TIME
from waypost.model.checkpoint import WholeCheckpoint, load_metadata, load_whole_checkpoint
from waypost.model.graphsage import GraphSAGE
from waypost.model.tokens import TokenizedGraph
from waypost.objects.protocols import ObjectStore
from waypost.release.pointer import read_pointer
from waypost.release.store import load_release_manifest
from waypost.settings import TrainerSettings
from waypost.trainer.continuing import cut_facts, inherit_blind, last_trained
from waypost.trainer.split import Split

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Served:
    release: str
    name: str  # of the checkpoint whose training made its weights
    checkpoint: WholeCheckpoint


def load_served(store: ObjectStore) -> Served | None:
    """What is served; None before the first release, and, with a warning, where its weights cannot be read.

    Raises StoreUnavailable.
    """
    try:
        held = read_pointer(store)
        if held is None:
            return None
        release = held.pointer.release
        name = str(load_release_manifest(store, release).facts.get("checkpoint", ""))
        trained = str(load_metadata(store, name).get("refreshed_from", name))
        return Served(release, trained, load_whole_checkpoint(store, trained))
    except (CorruptObject, NoRelease) as error:
        logger.warning("served model not compared with", extra={"cause": str(error)})
        return None


def boundary_before(store: ObjectStore, served: Served | None) -> int:
    """The latest moment that the weights of a night before were held out from: tonight's holdout lies past it.

    Of those that are served and of those that tonight may continue from; NO_TIME for none with times.
    """
    cuts = [] if served is None else [_cut_of(served.checkpoint.metadata)]
    try:
        name = last_trained(store)
        cuts += [] if name is None else [_cut_of(load_metadata(store, name))]
    except CorruptObject:  # told by whoever wants to start from it
        pass
    return max((_boundary(cut) for cut in cuts), default=NO_TIME)


def opponent(served: Served | None, settings: TrainerSettings, graph: TokenizedGraph, cut: Split) -> GraphSAGE | None:
    """The served release's blind weights for tonight's rows; None, told, when they may know tonight's holdout."""
    if served is None:
        return None
    then, now = _cut_of(served.checkpoint.metadata), cut_facts(settings, cut)
    fair = _boundary(then) <= cut.boundary if cut.temporal and then.get("temporal") else then == now
    if not fair:
        cause = "its holdout was cut in another way than tonight's, so it may have learned some of tonight's"
        logger.warning("served model not compared with", extra={"cause": cause})
        return None
    try:
        return inherit_blind(served.checkpoint, graph)
    except CorruptObject as error:
        logger.warning("served model not compared with", extra={"cause": str(error)})
        return None


def _cut_of(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    cut = metadata.get("cut")
    return cut if isinstance(cut, Mapping) else {}


def _boundary(cut: Mapping[str, Any]) -> int:
    boundary = cut.get("boundary")
    return boundary if cut.get("temporal") and isinstance(boundary, int) else NO_TIME

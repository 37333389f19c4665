"""Whether tonight's training begins with the last checkpoint's weights, and with which.

A night of which little changed since needs a fraction of the steps. The judged model begins with the *blind* weights,
which never saw what was that night's holdout, and only where none of tonight's holdout lies before that night's
boundary: else a model would be judged on what it has learned. The kept one begins with the kept one's.

The policy (`auto`): same features and settings, same version of the code; at most MAX_CHANGED of the pairs came or went
since a training from scratch, added up over the nights between; and at most MAX_NIGHTS in a row. What continuing
costs is small and adds up unseen (rows that settled where they began, a spectral start of an older graph), so a
training from scratch every two weeks bounds it, whatever the figures of a single night say.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from waypost import __version__
from waypost.errors import CorruptObject
from waypost.graph.indexing import ABSENT
from waypost.graph.sorting import distinct
from waypost.graph.store import load_tensors
from waypost.graph.tensors import GraphTensors, pair_key
from waypost.model.checkpoint import WholeCheckpoint, list_checkpoints, load_metadata, load_whole_checkpoint
from waypost.model.graphsage import GraphSAGE
from waypost.model.inheriting import Rows, inherit, rows_before
from waypost.model.kinds import taught
from waypost.model.nodes import nodes_of, rows_in
from waypost.model.tokens import TokenizedGraph
from waypost.objects.protocols import ObjectStore
from waypost.settings import TrainerSettings
from waypost.trainer.resuming import settings_that_matter
from waypost.trainer.split import Split

logger = logging.getLogger(__name__)
MAX_CHANGED = 0.1  # of the pairs, since the last training from scratch
MAX_NIGHTS = 14  # in a row
# Free to differ: how long is trained, and what a cut is, which is compared by itself.
_FREE_SETTINGS = {"seed", "epochs", "device", "holdout_share", "continue_"}


@dataclass(frozen=True)
class Lineage:
    """How a checkpoint's weights came about; kept in its metadata."""

    nights: int = 0  # continued in a row since a training from scratch
    changed_share: float = 0.0  # of the pairs since then, added up
    continued_from: str | None = None  # the checkpoint of the night before


@dataclass(frozen=True, eq=False)
class Start:
    """What tonight's training begins with."""

    blind: GraphSAGE | None  # of tonight's rows; None: from scratch
    kept: GraphSAGE | None  # the same for the model that learns the holdout too; it may have seen all of yesterday
    lineage: Lineage
    reason: str

    @property
    def name(self) -> str:
        """Of the weights, for the key of the night's kept states."""
        return self.lineage.continued_from or ""


def history_facts(settings: TrainerSettings, cut: Split, start: Start) -> dict[str, Any]:
    """What a later night asks of tonight's checkpoint; belongs into its metadata."""
    return {
        "code_version": __version__,
        "cut": cut_facts(settings, cut),
        "lineage": asdict(start.lineage),
        "settings_that_matter": _comparable(settings),
    }


def cut_facts(settings: TrainerSettings, cut: Split) -> dict[str, Any]:
    """How the holdout was cut off, as JSON."""
    by_hash = {} if cut.temporal else {"share": settings.holdout_share, "seed": settings.seed}
    return {"temporal": cut.temporal, "boundary": cut.boundary, **by_hash}


def choose_start(store: ObjectStore, settings: TrainerSettings, graph: TokenizedGraph, cut: Split) -> Start:
    """By the policy of this module. `graph` has tonight's tokens, `cut` is tonight's. Raises StoreUnavailable."""
    try:
        start = _continued(store, settings, graph, cut)
    except _NoStart as why_not:
        start = Start(None, None, Lineage(), str(why_not))
    except CorruptObject as error:
        logger.warning("checkpoint refused as a start", extra={"cause": str(error)})
        start = Start(None, None, Lineage(), "the last checkpoint cannot be read")
    fields = {"from": start.name or "scratch", "cause": start.reason, "nights": start.lineage.nights}
    logger.info("start chosen", extra=fields)
    return start


class _NoStart(Exception):
    """Why tonight's training begins from scratch."""


def _continued(store: ObjectStore, settings: TrainerSettings, graph: TokenizedGraph, cut: Split) -> Start:
    if settings.continue_ == "never":
        raise _NoStart("WAYPOST_TRAINER_CONTINUE is never")
    name = last_trained(store)
    if name is None:
        raise _NoStart("there is no checkpoint")
    checkpoint = load_whole_checkpoint(store, name)
    before = _lineage(checkpoint.metadata)
    if why_not := _why_not(checkpoint.metadata, before, settings, cut):
        raise _NoStart(why_not)
    changed = _changed_since(store, checkpoint, graph.tensors)
    together = before.changed_share + changed
    if together > MAX_CHANGED:
        raise _NoStart(f"{together:.1%} of the pairs changed since the last training from scratch")
    rows = _rows_before(checkpoint, graph)
    return Start(
        inherit(checkpoint.blind, rows),
        inherit(checkpoint.model, rows),
        Lineage(before.nights + 1, together, name),
        f"{changed:.2%} of the pairs changed since, {together:.2%} since the last training from scratch",
    )


def inherit_blind(checkpoint: WholeCheckpoint, graph: TokenizedGraph) -> GraphSAGE:
    """The checkpoint's blind weights for this graph's rows. Raises CorruptObject."""
    return inherit(checkpoint.blind, _rows_before(checkpoint, graph))


def _rows_before(checkpoint: WholeCheckpoint, graph: TokenizedGraph) -> Rows:
    vocabulary, now = len(checkpoint.blind.token), nodes_of(graph.tensors)
    return rows_before(checkpoint.nodes, checkpoint.tokenizer, vocabulary, graph, now)


def last_trained(store: ObjectStore) -> str | None:
    """The newest checkpoint that a training made, not a refresh; None without one. Raises CorruptObject."""
    newest = next(iter(list_checkpoints(store)), None)
    return None if newest is None else str(load_metadata(store, newest).get("refreshed_from", newest))


def changed_share(before: GraphTensors, now: GraphTensors) -> float:
    """Taught pairs that are in one of the graphs and not in the other, by the app's own keys, over those of now."""
    users = rows_in(nodes_of(now).users, nodes_of(before).users)
    posts = rows_in(nodes_of(now).posts, nodes_of(before).posts)
    learned, known = taught(now), taught(before)
    pairs = distinct(pair_key(learned.user, learned.post, now.num_posts))
    user, post = users[known.user], posts[known.post]
    both = (user != ABSENT) & (post != ABSENT)
    kept = distinct(pair_key(user[both], post[both], now.num_posts))
    gone = len(distinct(pair_key(known.user, known.post, before.num_posts))) - len(kept)
    shared = len(np.intersect1d(pairs, kept, assume_unique=True))
    return (gone + len(kept) - shared + len(pairs) - shared) / max(len(pairs), 1)


def _lineage(metadata: Mapping[str, Any]) -> Lineage:
    try:
        return Lineage(**metadata["lineage"])
    except (KeyError, TypeError):
        return Lineage(nights=MAX_NIGHTS)  # who says nothing of its past is no start


def _why_not(metadata: Mapping[str, Any], lineage: Lineage, settings: TrainerSettings, cut: Split) -> str:
    """Empty when nothing but the graph can speak against it."""
    if lineage.nights >= MAX_NIGHTS:
        return f"{MAX_NIGHTS} nights in a row were continued"
    if metadata.get("code_version") != __version__:
        return "another version of Waypost trained the last checkpoint"
    before, now = metadata.get("settings_that_matter"), _comparable(settings)
    if before != now:
        names = [name for name in now if not isinstance(before, dict) or before.get(name) != now[name]]
        return f"settings differ from the last checkpoint's: {', '.join(names) or 'some were removed'}"
    then, tonight = metadata.get("cut", {}), cut_facts(settings, cut)
    if cut.temporal and then.get("temporal") and isinstance(then.get("boundary"), int):
        return "" if then["boundary"] <= cut.boundary else "the last checkpoint has learned some of tonight's holdout"
    return "" if then == tonight else "the holdout is cut in another way than the last checkpoint's"


def _comparable(settings: TrainerSettings) -> dict[str, Any]:
    chosen = settings_that_matter(settings)
    return {name: value for name, value in chosen.items() if name not in _FREE_SETTINGS}


def _changed_since(store: ObjectStore, checkpoint: WholeCheckpoint, now: GraphTensors) -> float:
    before = load_tensors(store, str(checkpoint.metadata.get("fingerprint", "")))
    if before is None:
        raise _NoStart("the last checkpoint's graph is no longer kept")
    if (before.kinds, before.kind_weights) != (now.kinds, now.kind_weights):
        raise _NoStart("the kinds of interactions or their weights changed")
    return changed_share(before, now)

"""CSR both ways with maps of ids, from the columns of edges: ours against pandas and scipy as people write it."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from bench.extraction import OWN_MODULE
from bench.measures import Measure, Section
from bench.peers import MODULE, have_peers
from bench.processes import OWN, interleaved, median, started
from waypost.graph.tensors import Int64Array
from waypost.local.world_model import build_world

SEED = 1
WAYS = {"pandas.factorize, scipy": "factorized", "np.unique, scipy": "unique"}


def measure(interactions: int, rounds: int) -> Section:
    python = have_peers()
    with tempfile.TemporaryDirectory() as folder, started(OWN, OWN_MODULE) as own, started(python, MODULE) as peers:
        path = Path(folder) / "columns.npz"
        edges = write_columns(path, interactions)
        own.ask("columns", path=str(path))
        peers.ask("columns", path=str(path))
        runs = {"ours": partial(own.ask, "both")}
        runs |= {name: partial(peers.ask, command) for name, command in WAYS.items()}
        answers = interleaved(rounds, runs)
    if len({answer["sha256"] for named in answers.values() for answer in named}) != 1:
        raise RuntimeError("the ways of building CSR give different graphs")
    seconds = {name: median(found) for name, found in answers.items()}
    return Section(
        "csr",
        f"CSR both ways with id maps, {edges:,} edges",
        (Measure("time", "s", seconds.pop("ours"), seconds),),
        rounds=rounds,
        notes=(
            "all give the same rows by ascending id; the peers' own order of ids is put right after the clock stopped",
        ),
    )


def write_columns(path: Path, interactions: int) -> int:
    """The generated world's edges by app id, in no order, and the ids of the users and posts they name."""
    choose = np.random.default_rng(SEED)
    events = build_world(interactions, SEED).events
    order = choose.permutation(len(events.user))
    user_id, post_id = (_ids(row, choose)[order] for row in (events.user, events.post))
    users, posts = (choose.permutation(np.unique(ids)) for ids in (user_id, post_id))
    np.savez(path, user_id=user_id, post_id=post_id, users=users, posts=posts)
    return len(order)


def _ids(rows: Int64Array, choose: np.random.Generator) -> Int64Array:
    """Ids with gaps, as deletes leave them."""
    ids: Int64Array = np.cumsum(choose.integers(1, 4, int(rows.max()) + 1))
    return ids[rows]

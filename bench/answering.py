"""Answers per second of the exported model over 200,000 posts: 64 users in one call against 64 calls."""

from __future__ import annotations

import numpy as np

from bench.measures import Measure, Section
from bench.processes import interleaved, median, timed
from waypost.exporter.onnx_graph import sizes_of, to_onnx
from waypost.model.serving import ServingTables
from waypost.model.signature import Row, pack
from waypost.release.onnx_runner import load_onnx

USERS, POSTS, DIM, BATCH = 10_000, 200_000, 64, 64
PEER = f"{BATCH} calls of one"


def measure(interactions: int, rounds: int) -> Section:
    """Of a size of its own, whatever the world's."""
    tables = _tables()
    sizes, infer = sizes_of(tables), load_onnx(to_onnx(tables))
    together = pack([Row(user) for user in range(BATCH)], sizes)
    alone = [pack([Row(user)], sizes) for user in range(BATCH)]

    def run_together() -> None:
        infer(dict(together))

    def run_alone() -> None:
        for inputs in alone:
            infer(dict(inputs))

    answers = interleaved(rounds, {"ours": timed(run_together), PEER: timed(run_alone)})
    seconds = {name: median(found) for name, found in answers.items()}
    return Section(
        "answering",
        f"answers over {POSTS:,} posts",
        (Measure(f"{BATCH} users in one call", "s", seconds.pop("ours"), seconds),),
        rounds=rounds,
    )


def _tables() -> ServingTables:
    choose = np.random.default_rng(0)

    def table(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return choose.normal(size=shape).astype(np.float32)

    return ServingTables(
        user_own=table(USERS, DIM),
        user_state_sum=table(USERS, DIM),
        user_state_count=np.ones(USERS, np.float32),
        post_message=table(POSTS, DIM),
        post_vector=table(POSTS, DIM),
        token_message=table(8_000, DIM),
        tag_message=table(500, DIM),
        default_own=table(DIM),
        weight=table(DIM, DIM),
        alpha=0.5,
    )

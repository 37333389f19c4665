"""Small graphs, tables and releases for the tests, each with one visible difference: `a_release(version=2)`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from waypost.exporter.contents import ask_golden, build_lookups, golden_rows
from waypost.exporter.onnx_graph import sizes_of, to_onnx
from waypost.graph.tensors import NO_AUTHOR, NO_TIME, GraphTensors, Interactions, csr_from_pairs, no_entries
from waypost.graph.texts import no_texts, to_texts
from waypost.model.serving import ServingTables
from waypost.release import golden, lookups
from waypost.release.onnx_runner import load_onnx
from waypost.release.popular import to_popular
from waypost.release.store import GOLDEN, LOOKUPS, MODEL, POPULAR, TOKENIZER

WIDTH = 8


def some_tensors(
    num_users: int = 12, num_posts: int = 30, num_tags: int = 5, seed: int = 0, **changes: Any
) -> GraphTensors:
    """A random graph: user ids 10, 20, …, post ids 1000, 1001, …; user 0 has no interactions; tag names `Tag0`, …"""
    choose = np.random.default_rng(seed)
    count = num_users * 5
    user = choose.integers(min(1, num_users - 1), num_users, count).astype(np.int32)
    post = choose.integers(0, num_posts, count).astype(np.int32)
    order = np.lexsort((post, user))
    interactions = Interactions(
        user[order], post[order], np.zeros(count, np.uint8), np.sort(choose.integers(0, 10**15, count))
    )
    tag_pairs = choose.integers(0, num_posts, num_posts), choose.integers(0, max(num_tags, 1), num_posts)
    pairs = tag_pairs if num_tags else (np.zeros(0, np.int64), np.zeros(0, np.int64))
    tensors = GraphTensors(
        user_ids=np.arange(1, num_users + 1, dtype=np.int64) * 10,
        post_ids=np.arange(1000, 1000 + num_posts, dtype=np.int64),
        tag_ids=np.arange(num_tags, dtype=np.int64),
        tag_names=tuple(f"Tag{i}" for i in range(num_tags)),
        kinds=("view",),
        post_author=np.full(num_posts, NO_AUTHOR, np.int32),
        post_created_at=np.full(num_posts, NO_TIME, np.int64),
        post_tags=csr_from_pairs(*pairs, num_posts),
        interactions=interactions,
        post_texts=no_texts(num_posts),
        post_tokens=no_entries(num_posts),
        kind_weights=(1.0,),
    )
    return replace(tensors, **changes)


def keyed_by_strings(tensors: GraphTensors) -> GraphTensors:
    """The same graph, row by row, where users go by UUIDs and posts by texts: see `uuid_at` and `slug_at`."""
    return replace(
        tensors,
        user_ids=np.arange(tensors.num_users),
        post_ids=np.arange(tensors.num_posts),
        user_key_type="uuid",
        post_key_type="text",
        user_keys=to_texts(uuid_at(row) for row in range(tensors.num_users)),
        post_keys=to_texts(slug_at(row) for row in range(tensors.num_posts)),
    )


def uuid_at(row: int) -> str:
    """The user's key in that row; ascending."""
    return f"{row:08x}-ab00-4000-8000-00000000cafe"


def slug_at(row: int) -> str:
    """The post's key in that row; ascending, with whatever a text key may hold."""
    return f"{row:06d} é\t\U0001f3d6\\\x00\uffff"


def some_tables(tensors: GraphTensors, num_tokens: int = 6, seed: int = 0, **changes: Any) -> ServingTables:
    """Random tables of the right sizes; states are the sums over the graph's own distinct pairs."""
    choose = np.random.default_rng(seed)

    def table(*shape: int) -> Any:
        return choose.normal(size=shape).astype(np.float32)

    message = table(tensors.num_posts, WIDTH)
    pairs = csr_from_pairs(tensors.interactions.user, tensors.interactions.post, tensors.num_users)
    state = np.zeros((tensors.num_users, WIDTH), np.float32)
    np.add.at(state, np.repeat(np.arange(tensors.num_users), np.diff(pairs.indptr)), message[pairs.indices])
    default_own = table(WIDTH)
    user_own = table(tensors.num_users, WIDTH)
    user_own[np.diff(pairs.indptr) == 0] = default_own  # the id of a user without interactions was never trained
    tables = ServingTables(
        user_own=user_own,
        user_state_sum=state,
        user_state_count=np.diff(pairs.indptr).astype(np.float32),
        post_message=message,
        post_vector=table(tensors.num_posts, WIDTH),
        token_message=table(num_tokens, WIDTH),
        tag_message=table(tensors.num_tags, WIDTH),
        default_own=default_own,
        weight=table(WIDTH, WIDTH),
        alpha=0.5,
    )
    return replace(tables, **changes)


def a_tokenizer() -> str:
    """tokenizer.json of a tokenizer that knows six words."""
    words = {word: i for i, word in enumerate(["<unk>", "beach", "snow", "train", "food", "lisbon"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    content: str = tokenizer.to_str()
    return content


def a_release(
    version: int = 1, seed: int = 0, tensors: GraphTensors | None = None, drift: int = 0, **sizes: int
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Files and facts of a whole, right release; another `drift` is the same model after another night."""
    tensors = tensors or some_tensors(seed=seed, **sizes)
    tables = some_tables(tensors, seed=seed)
    if drift:
        noise = np.random.default_rng(drift).normal(scale=0.05, size=tables.post_vector.shape)
        tables = replace(tables, post_vector=tables.post_vector + noise.astype(np.float32))
    return release_of(tensors, tables, version)


def release_of(tensors: GraphTensors, tables: ServingTables, version: int) -> tuple[dict[str, bytes], dict[str, Any]]:
    model, found = to_onnx(tables), build_lookups(tensors, tables)
    asked = ask_golden(golden_rows(found), sizes_of(tables), load_onnx(model, threads=1))
    files = {
        MODEL: model,
        LOOKUPS: lookups.to_bytes(found),
        TOKENIZER: a_tokenizer().encode(),
        GOLDEN: golden.to_bytes(asked),
        POPULAR: to_popular(found, version),
    }
    return files, {"version": version, "made_at": "2026-01-01T00:00:00+00:00"}

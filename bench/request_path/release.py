"""A release over 200,000 posts made of random weights: what training finds changes no microsecond of a request's way.

Of the width that `waypost night` trains by default; every user has seen some posts, as the default request leaves
seen posts out."""

from __future__ import annotations

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from waypost.clock import SystemClock
from waypost.exporter.contents import ask_golden, build_lookups, golden_rows
from waypost.exporter.onnx_graph import sizes_of, to_onnx
from waypost.graph.tensors import NO_AUTHOR, NO_TIME, GraphTensors, Interactions, csr_from_pairs, no_entries
from waypost.graph.texts import no_texts
from waypost.model.serving import ServingTables
from waypost.objects.protocols import ObjectStore
from waypost.release import golden, lookups
from waypost.release.onnx_runner import load_onnx
from waypost.release.pointer import Target, move_pointer, read_pointer
from waypost.release.popular import to_popular
from waypost.release.signing import SigningKey
from waypost.release.store import GOLDEN, LOOKUPS, MODEL, POPULAR, TOKENIZER, publish
from waypost.settings import TrainerSettings

USERS, POSTS, TAGS, SEEN = 20_000, 200_000, 500, 25  # SEEN: interactions of each user, as in the generated world
FIRST_USER, FIRST_POST = 1_000_000, 5_000_000  # ids of seven digits, as an app's are
DIM = TrainerSettings().dim
VERSION = 1


def user_ids() -> range:
    return range(FIRST_USER, FIRST_USER + USERS)


def publish_release(store: ObjectStore, key: SigningKey) -> None:
    """Publish it and point to it."""
    name = f"{VERSION:06d}-bench"
    publish(store, name, release_files(), {"version": VERSION, "made_at": "2026-01-01T00:00:00+00:00"}, key)
    move_pointer(store, read_pointer(store), Target(name, VERSION, "publish", "bench", "a bench"), SystemClock())


def release_files() -> dict[str, bytes]:
    choose = np.random.default_rng(0)
    tensors = _tensors(choose)
    tables = _tables(tensors, choose)
    model, found = to_onnx(tables), build_lookups(tensors, tables)
    asked = ask_golden(golden_rows(found), sizes_of(tables), load_onnx(model))
    return {
        MODEL: model,
        LOOKUPS: lookups.to_bytes(found),
        TOKENIZER: _tokenizer().encode(),
        GOLDEN: golden.to_bytes(asked),
        POPULAR: to_popular(found, VERSION),
    }


def _tensors(choose: np.random.Generator) -> GraphTensors:
    user = np.repeat(np.arange(USERS, dtype=np.int32), SEEN)
    post = (POSTS * choose.random(len(user)) ** 2).astype(np.int32)  # some posts are far more popular than others
    order = np.lexsort((post, user))
    tags = csr_from_pairs(np.arange(POSTS), choose.integers(0, TAGS, POSTS), POSTS)
    return GraphTensors(
        user_ids=np.array(user_ids(), np.int64),
        post_ids=np.arange(FIRST_POST, FIRST_POST + POSTS, dtype=np.int64),
        tag_ids=np.arange(TAGS, dtype=np.int64),
        tag_names=tuple(f"tag {i}" for i in range(TAGS)),
        kinds=("view",),
        post_author=np.full(POSTS, NO_AUTHOR, np.int32),
        post_created_at=np.full(POSTS, NO_TIME, np.int64),
        post_tags=tags,
        interactions=Interactions(
            user[order], post[order], np.zeros(len(user), np.uint8), np.arange(len(user), dtype=np.int64)
        ),
        post_texts=no_texts(POSTS),
        post_tokens=no_entries(POSTS),
        kind_weights=(1.0,),
    )


def _tables(tensors: GraphTensors, choose: np.random.Generator) -> ServingTables:
    def table(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return choose.standard_normal(shape, np.float32)

    return ServingTables(
        user_own=table(USERS, DIM),
        user_state_sum=table(USERS, DIM),
        user_state_count=np.full(USERS, SEEN, np.float32),
        post_message=table(POSTS, DIM),
        post_vector=table(POSTS, DIM),
        token_message=table(8_000, DIM),
        tag_message=table(TAGS, DIM),
        default_own=table(DIM),
        weight=table(DIM, DIM),
        alpha=0.5,
    )


def _tokenizer() -> str:
    words = {word: i for i, word in enumerate(["<unk>", "beach", "snow", "train", "food", "lisbon"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    content: str = tokenizer.to_str()
    return content

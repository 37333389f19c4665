"""CPU of one question from its ids to its items, the model's own call left out: `python -m bench.questions`; and with
`--model` what whole batches take whose rows have lists of different lengths, the real model on one core included.

Two million seen posts of 50,000 users, 200,000 posts, 500 tags of about 1,200 posts and one of every second post.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from waypost.exporter.onnx_graph import to_onnx
from waypost.graph.tensors import csr_from_pairs
from waypost.model.serving import ServingTables
from waypost.questions import Question, TagFilter
from waypost.release.answering import Answerer
from waypost.release.lookups import Lookups
from waypost.release.onnx_runner import load_onnx
from waypost.stages import StageTimer

USERS, POSTS, TAGS, SEEN_EACH, TAGS_EACH, ITEMS = 50_000, 200_000, 500, 40, 3, 100
DIM = 128
BATCHES, QUESTIONS, ROUNDS = (1, 10, 64), 1_280, 5
Array = np.ndarray[Any, Any]


def an_answerer() -> Answerer:
    choose = np.random.default_rng(0)
    popularity = choose.random(POSTS).astype(np.float32)
    count = USERS * SEEN_EACH
    lookups = Lookups(
        user_ids=np.sort(choose.choice(10**12, USERS, replace=False)),
        post_ids=np.sort(choose.choice(10**12, POSTS, replace=False)),
        tag_names=(*(f"Tag{i}" for i in range(TAGS)), "half"),
        num_tokens=6,
        user_has_state=np.ones(USERS, bool),
        seen=csr_from_pairs(choose.integers(0, USERS, count), choose.integers(0, POSTS, count), USERS),
        tag_posts=csr_from_pairs(
            np.concatenate([choose.integers(0, TAGS, TAGS_EACH * POSTS), np.full(POSTS // 2, TAGS)]),
            np.concatenate([choose.integers(0, POSTS, TAGS_EACH * POSTS), np.arange(0, POSTS, 2)]),
            TAGS + 1,
        ),
        popular_posts=np.argsort(-popularity, kind="stable").astype(np.int32),
        popularity=popularity,
    )
    rows = np.stack([choose.choice(POSTS, ITEMS, replace=False) for _ in range(max(BATCHES))])
    scores = -np.sort(-choose.normal(size=rows.shape).astype(np.float32), axis=1)

    def infer(inputs: dict[str, Array]) -> dict[str, Array]:
        asked = len(inputs["user_index"])
        return {"post_index": rows[:asked], "score": scores[:asked]}

    return Answerer(1, lookups, _tokenizer(), infer)


def _tokenizer() -> Tokenizer:
    words = {word: i for i, word in enumerate(["<unk>", "beach", "snow", "train", "food", "lisbon"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def kinds(answerer: Answerer) -> dict[str, Callable[[int], Question]]:
    users, posts = answerer.lookups.user_ids.tolist(), answerer.lookups.post_ids.tolist()

    def some_posts(i: int, count: int) -> tuple[int, ...]:
        return tuple(posts[(i * 7 + j * 131) % POSTS] for j in range(count))

    def of(i: int, **fields: Any) -> Question:
        return Question(users[i % USERS], 20, **fields)

    return {
        "a known user": of,
        "with 10 recent posts": lambda i: of(i, recent_post_ids=some_posts(i, 10)),
        "with 100 excludes": lambda i: of(i, exclude_post_ids=some_posts(i, 100)),
        "with 10,000 excludes": lambda i: of(i, exclude_post_ids=some_posts(i, 10_000)),
        "with a tag wanted": lambda i: of(i, tags=TagFilter(any=(f"tag{i % TAGS}",))),
        "with a tag unwanted": lambda i: of(i, tags=TagFilter(none=(f"tag{i % TAGS}",))),
        "with a query": lambda i: of(i, query="beach train lisbon"),
        "a stranger": lambda i: Question(-5 - i, 20),
    }


def microseconds(answerer: Answerer, kind: Callable[[int], Question], batch: int) -> float:
    """CPU of one question; the best of some rounds."""
    rounds = []
    asked = [[kind(start + i) for i in range(batch)] for start in range(0, QUESTIONS // 4, batch)]
    for _ in range(ROUNDS):
        began = time.process_time()
        for questions in asked:
            answerer.answer(questions, StageTimer())
        rounds.append((time.process_time() - began) / (len(asked) * batch))
    return min(rounds) * 1e6


def mixed_batches(answerer: Answerer) -> dict[str, list[Question]]:
    """Of 64 questions each."""
    made, plain = kinds(answerer), [kinds(answerer)["a known user"](i) for i in range(64)]
    half = [Question(question.user_id, 20, tags=TagFilter(any=("half",))) for question in plain]
    return {
        "64 known users": plain,
        "one wants a tag of 1,200 posts": [made["with a tag wanted"](0), *plain[1:]],
        "16 want tags of 1,200 posts": [*(made["with a tag wanted"](i) for i in range(16)), *plain[16:]],
        "one wants a tag of half of all posts": [half[0], *plain[1:]],
        "16 want a tag of half of all posts": [*half[:16], *plain[16:]],
        "one has 10,000 excludes": [made["with 10,000 excludes"](0), *plain[1:]],
        "64 have 10,000 excludes": [made["with 10,000 excludes"](i) for i in range(64)],
    }


def with_model(answerer: Answerer) -> Answerer:
    choose = np.random.default_rng(0)

    def table(*shape: int) -> Array:
        return choose.normal(size=shape).astype(np.float32)

    tables = ServingTables(
        user_own=table(USERS, DIM),
        user_state_sum=table(USERS, DIM),
        user_state_count=np.ones(USERS, np.float32),
        post_message=table(POSTS, DIM),
        post_vector=table(POSTS, DIM),
        token_message=table(6, DIM),
        tag_message=table(TAGS + 1, DIM),
        default_own=table(DIM),
        weight=table(DIM, DIM),
        alpha=0.5,
    )
    return replace(answerer, infer=load_onnx(to_onnx(tables), threads=1))


def show_batches(answerer: Answerer) -> None:
    print("ms a batch of 64, the model on one core")
    for name, batch in mixed_batches(answerer).items():
        seconds = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            answerer.answer(batch, StageTimer())
            seconds.append(time.perf_counter() - began)
        print(f"{name:38}{min(seconds) * 1e3:8.1f}", flush=True)


def main() -> None:
    answerer = an_answerer()
    if "--model" in sys.argv:
        show_batches(with_model(answerer))
        return
    print(f"{'µs of CPU a question, in batches of':36}" + "".join(f"{batch:>8}" for batch in BATCHES))
    for name, kind in kinds(answerer).items():
        figures = [microseconds(answerer, kind, batch) for batch in BATCHES]
        print(f"{name:36}" + "".join(f"{figure:8.1f}" for figure in figures), flush=True)


if __name__ == "__main__":
    main()

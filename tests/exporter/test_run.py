"""A release is made of the very graph and tokens its checkpoint was trained on, or not at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.factories import some_tensors
from waypost.errors import NoRelease
from waypost.exporter.building import SHOWN_SCORES, build_release
from waypost.exporter.run import read_graph_of
from waypost.graph.mapping import DEFAULT
from waypost.graph.state import GraphState, Nodes, PostFacts, empty_state
from waypost.graph.store import Night, save_base
from waypost.graph.tensors import NO_AUTHOR, GraphTensors
from waypost.graph.texts import to_texts
from waypost.model.checkpoint import Checkpoint
from waypost.model.features import VOCABULARY_SIZE, train_tokenizer
from waypost.model.graphsage import GraphSAGE
from waypost.model.signature import SIGNATURE_VERSION
from waypost.model.tokens import TokenizedGraph, tokenized
from waypost.objects.memory import MemoryObjectStore
from waypost.release import lookups
from waypost.release.store import LOOKUPS, TOKENIZER

WORDS = ["beach", "snow", "train", "food", "lisbon"]
TENSORS = some_tensors(post_texts=to_texts([f"{WORDS[i % 5]} and {WORDS[i * 2 % 5]}" for i in range(30)]))


def a_checkpoint(graph: TokenizedGraph) -> Checkpoint:
    """Of the fingerprint `one`."""
    tensors = graph.tensors
    model = GraphSAGE(tensors.num_users, tensors.num_posts, tensors.num_tags, VOCABULARY_SIZE, dim=8, layers=2)
    metadata = {
        "fingerprint": "one",
        "tokenizer_sha256": graph.tokenizer_sha256,
        "scores": dict.fromkeys(SHOWN_SCORES, 0.5),
        "git_commit": "unknown",
    }
    return Checkpoint(model, metadata)


def a_state(tensors: GraphTensors) -> GraphState:
    """What the data half keeps of them."""
    post = np.repeat(np.arange(tensors.num_posts, dtype=np.int32), np.diff(tensors.post_tags.indptr))
    no_author = tensors.post_author == NO_AUTHOR
    return replace(
        empty_state(),
        users=Nodes(tensors.user_ids),
        posts=Nodes(tensors.post_ids),
        tags=Nodes(tensors.tag_ids),
        post_facts=PostFacts(np.zeros_like(tensors.post_ids), ~no_author, tensors.post_created_at, tensors.post_texts),
        tag_names=to_texts(tensors.tag_names),
        post_tags=replace(empty_state().post_tags, post=post, tag=tensors.post_tags.indices),
        kinds=tuple((kind, "interactions") for kind in tensors.kinds),
        interactions=tensors.interactions,
    )


def a_night(tensors: GraphTensors = TENSORS) -> tuple[MemoryObjectStore, Checkpoint]:
    """What the trainer leaves behind."""
    store = MemoryObjectStore()
    mapping = replace(DEFAULT, weights=tuple(zip(tensors.kinds, tensors.kind_weights, strict=True)))
    night = Night("one", mapping, server=18, made_at=0.0, counts={}, objects=())
    save_base(store, night, a_state(tensors), digests={})
    return store, a_checkpoint(tokenized(store, "one", tensors))


def test_the_release_holds_the_tokenizer_the_checkpoint_was_trained_with() -> None:
    store, checkpoint = a_night()
    tokenized(store, "two", some_tensors(post_texts=to_texts(["a later night, other words"] * 30)))
    graph = read_graph_of(store, checkpoint)
    release = build_release(1, "a run", checkpoint, graph, "26.07")
    assert release.files[TOKENIZER].decode() == train_tokenizer(sorted(TENSORS.post_texts))
    assert release.facts["sizes"] == {"users": 12, "posts": 30, "tags": 5, "interactions": 60}


def test_the_manifest_says_what_the_release_was_made_for_and_from() -> None:
    store, checkpoint = a_night()
    facts = build_release(3, "a run", checkpoint, read_graph_of(store, checkpoint), "26.07").facts
    assert {name: facts[name] for name in ("version", "triton_target", "onnxruntime", "ir_version", "opset")} == {
        "version": 3, "triton_target": "26.07", "onnxruntime": "1.27.0", "ir_version": 8, "opset": 17,
    }  # fmt: skip
    assert (facts["checkpoint"], facts["fingerprint"], facts["git_commit"]) == ("a run", "one", "unknown")
    assert facts["signature_version"] == SIGNATURE_VERSION


def test_the_manifest_says_what_the_gate_said_and_what_an_operator_let_pass() -> None:
    store, checkpoint = a_night()
    passed = {"checks": ["coverage"], "reason": "a small shop", "by": "ann@host"}
    gate = {"reason": "coverage: narrow (let pass)", "override": passed, "comparisons": [1]}
    checkpoint = replace(checkpoint, metadata={**checkpoint.metadata, "gate": gate})
    facts = build_release(3, "a run", checkpoint, read_graph_of(store, checkpoint), "26.07").facts
    assert (facts["gate"], facts["gate_override"]) == ("coverage: narrow (let pass)", passed)


@pytest.mark.parametrize("gone", ["tensors/one/", "tensors/one/tokens/"])
def test_without_its_graph_or_its_tokens_a_checkpoint_is_not_exported(gone: str) -> None:
    store, checkpoint = a_night()
    store.delete([info.key for info in store.list(gone)])
    with pytest.raises(NoRelease, match="not in the store any more; run `waypost trainer` again"):
        read_graph_of(store, checkpoint)


def test_a_tokenizer_made_again_in_another_way_is_not_taken_for_the_checkpoints() -> None:
    store, checkpoint = a_night()
    store.delete([info.key for info in store.list("tensors/one/tokens/")])
    more = to_texts([*TENSORS.post_texts, *["a ferry to Porto"] * 10])
    tokenized(store, "two", some_tensors(num_posts=40, post_texts=more))
    tokenized(store, "one", TENSORS)
    with pytest.raises(NoRelease, match="not in the store any more"):
        read_graph_of(store, checkpoint)


def with_reports(tensors: GraphTensors) -> GraphTensors:
    """User 3 has reported posts and done nothing else."""
    kind = (tensors.interactions.user != 3).astype(np.uint8)
    interactions = replace(tensors.interactions, kind=kind)
    return replace(tensors, kinds=("report", "view"), kind_weights=(0.0, 1.0), interactions=interactions)


def test_a_kind_of_weight_0_is_seen_and_is_no_part_of_a_users_state() -> None:
    store, checkpoint = a_night(with_reports(TENSORS))
    release = build_release(1, "a run", checkpoint, read_graph_of(store, checkpoint), "26.07")
    found = lookups.from_bytes(release.files[LOOKUPS])
    assert not found.user_has_state[3]
    assert found.user_has_state[4]
    assert found.seen_rows(3).tolist() == np.unique(TENSORS.interactions.post[TENSORS.interactions.user == 3]).tolist()

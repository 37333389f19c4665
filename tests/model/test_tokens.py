"""Tokens kept beside the tensors: found again, brought up to date with few new texts, trained anew with many."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors import numpy as safetensors

from tests.factories import some_tensors
from waypost.graph.tensors import GraphTensors
from waypost.graph.texts import no_texts, to_texts
from waypost.model.features import MAX_TOKENS, encode_texts, train_tokenizer
from waypost.model.tokens import (
    FORMAT,
    MAX_NEW_SHARE,
    TokenizedGraph,
    digest_texts,
    load_tokenized,
    tokenized,
    tokenized_by,
    training_sample,
)
from waypost.objects.bundle import save_bundle
from waypost.objects.memory import MemoryObjectStore
from waypost.objects.protocols import ObjectStore

FILES = ["tokens.safetensors", "tokenizer.json", "manifest.json"]
PLACES = ["Lisbon", "Porto", "Faro", "Évora", "Sintra", "Braga", "Tomar", "Óbidos"]
TEXTS = [f"Day {i}: by train to {PLACES[i % 8]}\nfood, snow and beaches of {PLACES[i * 3 % 8]} 🏔" for i in range(100)]


def posts_with(texts: list[str]) -> GraphTensors:
    return some_tensors(num_posts=len(texts), post_texts=to_texts(texts))


def facts_of(store: ObjectStore, fingerprint: str) -> dict[str, Any]:
    found = store.get(f"tensors/{fingerprint}/tokens/manifest.json")
    assert found is not None
    facts: dict[str, Any] = json.loads(found.body)
    return facts


def bodies(store: ObjectStore) -> dict[str, bytes]:
    found = {info.key: store.get(info.key) for info in store.list("tensors/")}
    return {key: stored.body for key, stored in found.items() if stored}


def damage(store: ObjectStore, fingerprint: str, file: str) -> None:
    key = f"tensors/{fingerprint}/tokens/{file}"
    whole = store.get(key)
    assert whole is not None
    assert store.put_if(key, whole.body[: len(whole.body) // 2], whole.etag)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def assert_tokens_are_of(graph: TokenizedGraph, texts: list[str]) -> None:
    """Whatever was kept and whatever was new, the rows are what its tokenizer makes of the texts."""
    expected = encode_texts(graph.tokenizer, texts)
    assert graph.tensors.post_tokens.indptr.tolist() == expected.indptr.tolist()
    assert graph.tensors.post_tokens.indices.tolist() == expected.indices.tolist()
    assert graph.tensors.post_tokens.indices.dtype == np.int32


def test_the_first_night_trains_on_all_texts_and_encodes_them() -> None:
    store = MemoryObjectStore()
    graph = tokenized(store, "one", posts_with(TEXTS))
    assert graph.tokenizer == train_tokenizer(sorted(TEXTS))
    assert_tokens_are_of(graph, TEXTS)
    facts = facts_of(store, "one")
    assert (facts["trained_texts"], facts["new_texts"]) == (100, 0)


def test_the_same_texts_give_the_same_bytes() -> None:
    first, second = MemoryObjectStore(), MemoryObjectStore()
    tokenized(first, "one", posts_with(TEXTS))
    tokenized(second, "one", posts_with(TEXTS))
    assert bodies(first) == bodies(second)


def test_the_tokenizer_does_not_depend_on_the_order_of_posts() -> None:
    first, second = MemoryObjectStore(), MemoryObjectStore()
    forth, back = tokenized(first, "one", posts_with(TEXTS)), tokenized(second, "one", posts_with(TEXTS[::-1]))
    assert forth.tokenizer == back.tokenizer


def test_what_was_kept_is_found_again_and_nothing_is_written(object_store: ObjectStore) -> None:
    first = tokenized(object_store, "one", posts_with(TEXTS))
    kept = bodies(object_store)
    again = tokenized(object_store, "one", posts_with(TEXTS))
    assert again.tokenizer == first.tokenizer
    assert_tokens_are_of(again, TEXTS)
    assert bodies(object_store) == kept


def test_few_new_texts_keep_the_tokenizer_and_only_they_are_encoded(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryObjectStore()
    first = tokenized(store, "one", posts_with(TEXTS))
    texts = ["Zanzibar!", *TEXTS[50:], *TEXTS[:19], TEXTS[7], "Samarkand, Samarkand"]
    caplog.clear()
    with caplog.at_level(logging.INFO):
        second = tokenized(store, "two", posts_with(texts))
    assert second.tokenizer == first.tokenizer
    assert_tokens_are_of(second, texts)
    facts = facts_of(store, "two")
    assert (facts["texts"], facts["trained_texts"], facts["new_texts"]) == (72, 100, 2)
    [encoded] = [record for record in caplog.records if record.getMessage() == "texts encoded"]
    assert (vars(encoded)["new"], vars(encoded)["known"]) == (2, 70)


def test_texts_new_since_training_add_up_over_nights_until_the_tokenizer_is_trained_anew() -> None:
    store, texts = MemoryObjectStore(), list(TEXTS)
    first = tokenized(store, "night-0", posts_with(texts))
    for night in range(1, 3):
        texts += [f"Lofoten in the winter of {night}{i}" for i in range(5)]
        assert tokenized(store, f"night-{night}", posts_with(texts)).tokenizer == first.tokenizer
    assert facts_of(store, "night-2")["new_texts"] == 10 <= MAX_NEW_SHARE * len(texts)
    texts += [f"Lofoten in the winter of 3{i}" for i in range(5)]
    third = tokenized(store, "night-3", posts_with(texts))
    assert third.tokenizer == train_tokenizer(sorted(texts))
    assert_tokens_are_of(third, texts)
    facts = facts_of(store, "night-3")
    assert (facts["trained_texts"], facts["new_texts"]) == (115, 0)


def test_a_text_edited_night_after_night_is_one_new_text() -> None:
    store = MemoryObjectStore()
    first = tokenized(store, "night-0", posts_with(TEXTS))
    for night in range(1, 15):
        texts = [*TEXTS[1:], f"edited {night} times"]
        assert tokenized(store, f"night-{night}", posts_with(texts)).tokenizer == first.tokenizer
    assert facts_of(store, "night-14")["new_texts"] == 1


def test_the_newest_tokens_are_the_ones_to_start_from() -> None:
    store = MemoryObjectStore()
    tokenized(store, "older", posts_with(TEXTS))
    others = [text.replace("train", "night boat") for text in TEXTS]
    newer = tokenized(store, "newer", posts_with(others))
    third = tokenized(store, "a-third", posts_with(others[:-1]))
    assert third.tokenizer == newer.tokenizer != train_tokenizer(sorted(others[:-1]))


@pytest.mark.parametrize("file", FILES)
def test_damaged_tokens_are_refused_with_one_warning_and_made_again(
    object_store: ObjectStore, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    tokenized(object_store, "one", posts_with(TEXTS))
    whole = bodies(object_store)
    damage(object_store, "one", file)
    caplog.clear()
    assert load_tokenized(object_store, "one", posts_with(TEXTS)) is None
    assert warnings_in(caplog) == ["kept tokens refused"]
    caplog.clear()
    assert_tokens_are_of(tokenized(object_store, "one", posts_with(TEXTS)), TEXTS)
    assert warnings_in(caplog) == ["kept tokens refused"]
    assert bodies(object_store) == whole


def test_damaged_tokens_of_yesterday_are_no_start(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryObjectStore()
    tokenized(store, "one", posts_with(TEXTS))
    damage(store, "one", "tokens.safetensors")
    texts = [*TEXTS, "Zanzibar"]
    assert tokenized(store, "two", posts_with(texts)).tokenizer == train_tokenizer(sorted(texts))
    assert warnings_in(caplog) == ["kept tokens refused"]


@pytest.mark.parametrize("indices", [[1, 9_000], [1, -1], [1, 2, 3]])
def test_arrays_that_would_lead_outside_are_refused(indices: list[int], caplog: pytest.LogCaptureFixture) -> None:
    store, tensors = MemoryObjectStore(), posts_with(["one text"])
    arrays = {
        "indptr": np.array([0, 2]),
        "indices": np.array(indices, np.int32),
        "digests": digest_texts(tensors.post_texts),
        "is_new": np.zeros(1, bool),
    }
    files = {"tokens.safetensors": safetensors.save(arrays), "tokenizer.json": train_tokenizer([]).encode()}
    save_bundle(store, "tensors/one/tokens", files, {"format": FORMAT, "trained_texts": 0})
    assert load_tokenized(store, "one", tensors) is None
    assert warnings_in(caplog) == ["kept tokens refused"]


def test_the_tokens_of_other_texts_are_refused() -> None:
    store = MemoryObjectStore()
    tokenized(store, "one", posts_with(TEXTS))
    assert load_tokenized(store, "one", posts_with(TEXTS[::-1])) is None


def test_the_exporter_is_given_the_trainers_tokens() -> None:
    store, texts = MemoryObjectStore(), [*TEXTS, "Zanzibar"]
    tokenized(store, "one", posts_with(TEXTS))
    trained = tokenized(store, "two", posts_with(texts))
    tokenized(store, "three", posts_with([text.replace("train", "night boat") for text in texts]))
    loaded = load_tokenized(store, "two", posts_with(texts))
    assert loaded is not None
    assert loaded.tokenizer_sha256 == trained.tokenizer_sha256
    assert_tokens_are_of(loaded, texts)
    assert load_tokenized(store, "four", posts_with(texts)) is None


def test_a_given_tokenizer_is_kept_however_many_texts_are_new_to_it(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryObjectStore()
    first = tokenized(store, "one", posts_with(TEXTS))
    texts = [*TEXTS[:50], *(f"Samarkand {i}" for i in range(70))]
    caplog.set_level(logging.INFO)
    caplog.clear()
    again = tokenized_by(store, "two", posts_with(texts), first.tokenizer)
    assert again.tokenizer == first.tokenizer
    assert_tokens_are_of(again, texts)
    [encoded] = [record for record in caplog.records if record.getMessage() == "texts encoded"]
    assert (vars(encoded)["new"], vars(encoded)["known"]) == (70, 50)
    kept = bodies(store)
    assert_tokens_are_of(tokenized_by(store, "two", posts_with(texts), first.tokenizer), texts)
    assert bodies(store) == kept
    loaded = load_tokenized(store, "two", posts_with(texts))
    assert loaded is not None
    assert loaded.tokenizer == first.tokenizer


def test_a_given_tokenizer_needs_no_kept_tokens_of_its_own_and_replaces_those_of_another() -> None:
    store = MemoryObjectStore()
    given = train_tokenizer(text.replace("train", "night boat") for text in TEXTS)
    assert_tokens_are_of(tokenized_by(store, "one", posts_with(["", *TEXTS]), given), ["", *TEXTS])
    store = MemoryObjectStore()
    other = tokenized(store, "one", posts_with(TEXTS))
    found = tokenized_by(store, "one", posts_with(TEXTS), given)
    assert found.tokenizer == given != other.tokenizer
    assert_tokens_are_of(found, TEXTS)
    loaded = load_tokenized(store, "one", posts_with(TEXTS))
    assert loaded is not None
    assert loaded.tokenizer == given


def test_a_night_after_refreshes_counts_what_they_met_as_new() -> None:
    store = MemoryObjectStore()
    first = tokenized(store, "one", posts_with(TEXTS))
    texts = [*TEXTS, *(f"Samarkand {i}" for i in range(20))]
    tokenized_by(store, "two", posts_with(texts), first.tokenizer)
    assert facts_of(store, "two")["new_texts"] == 20
    assert tokenized(store, "three", posts_with([*texts, "Khiva"])).tokenizer != first.tokenizer


def test_posts_without_text_have_no_tokens() -> None:
    store, texts = MemoryObjectStore(), ["", *TEXTS, "", "x" * 3_000]
    for fingerprint in ("one", "two"):
        rows = tokenized(store, fingerprint, posts_with(texts)).tensors.post_tokens
        lengths = np.diff(rows.indptr)
        assert lengths[0] == lengths[101] == 0
        assert lengths[1:101].min() > 0
        assert lengths.max() <= MAX_TOKENS
    assert facts_of(store, "one")["trained_texts"] == 101
    assert facts_of(store, "two")["new_texts"] == 0


def test_an_app_without_any_text_works_and_so_do_its_first_texts() -> None:
    store = MemoryObjectStore()
    for fingerprint in ("one", "two"):
        graph = tokenized(store, fingerprint, posts_with([""] * 30))
        assert len(graph.tensors.post_tokens.indices) == 0
        assert graph.tensors.post_tokens.num_rows == 30
    assert tokenized(store, "three", posts_with(TEXTS)).tokenizer == train_tokenizer(sorted(TEXTS))


def test_a_graph_without_posts_is_no_start() -> None:
    store = MemoryObjectStore()
    tensors = replace(some_tensors(), post_ids=np.zeros(0, np.int64), post_texts=no_texts(0))
    assert tokenized(store, "one", tensors).tensors.post_tokens.num_rows == 0
    assert_tokens_are_of(tokenized(store, "two", posts_with(TEXTS)), TEXTS)


def test_more_text_than_training_takes_is_sampled_alike_whatever_the_order_of_posts() -> None:
    samples = []
    for texts in ([*TEXTS, ""], TEXTS[::-1]):
        found = to_texts(texts)
        rows = training_sample(found.lengths, digest_texts(found), max_bytes=int(found.lengths.sum()) // 2)
        assert 40 <= len(rows) <= 60
        samples.append([texts[row] for row in rows])
    assert samples[0] == samples[1]


def test_token_ids_are_kept_in_two_bytes_each() -> None:
    store = MemoryObjectStore()
    graph = tokenized(store, "one", posts_with(TEXTS))
    kept = safetensors.load(bodies(store)["tensors/one/tokens/tokens.safetensors"])
    assert kept["indices"].dtype == np.uint16
    assert kept["indices"].tolist() == graph.tensors.post_tokens.indices.tolist()

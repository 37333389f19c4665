import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.exporter.killing import Killed, KillingStore
from tests.factories import keyed_by_strings, some_tensors
from waypost.errors import CorruptObject
from waypost.model.checkpoint import (
    WHOLE_FILES,
    WholeCheckpoint,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    load_metadata,
    load_whole_checkpoint,
    save_checkpoint,
)
from waypost.model.graphsage import GraphSAGE
from waypost.model.nodes import NodeKeys, nodes_of
from waypost.objects.bundle import save_bundle
from waypost.objects.memory import MemoryObjectStore
from waypost.objects.protocols import ObjectStore

TENSORS = some_tensors(num_users=3, num_posts=4, num_tags=2)
NAME = "20260101-a"


def a_model(dim: int = 8, num_posts: int = 4) -> GraphSAGE:
    model = GraphSAGE(num_users=3, num_posts=num_posts, num_tags=2, vocabulary=5, dim=dim, layers=2)
    torch.nn.init.normal_(model.post_id)
    return model


def a_checkpoint(dim: int = 8, nodes: NodeKeys | None = None) -> WholeCheckpoint:
    metadata = {"fingerprint": "f", "scores": {"recall": 0.5}}
    return WholeCheckpoint(a_model(dim), metadata, a_model(dim), nodes or nodes_of(TENSORS), '{"é": 1}')


def a_store() -> MemoryObjectStore:
    store = MemoryObjectStore()
    save_checkpoint(store, NAME, a_checkpoint())
    return store


def files_of(store: ObjectStore, name: str = NAME) -> dict[str, bytes]:
    keys = [info.key for info in store.list(f"checkpoints/{name}/") if not info.key.endswith("manifest.json")]
    found = {key.split("/")[-1]: store.get(key) for key in keys}
    return {path: stored.body for path, stored in found.items() if stored}


def _replaced(store: ObjectStore, key: str, body: bytes) -> None:
    found = store.get(key)
    assert found is not None
    assert store.put_if(key, body, found.etag)


def assert_same_weights(found: GraphSAGE, expected: GraphSAGE) -> None:
    for name, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name


def test_a_checkpoint_comes_back_as_it_was(object_store: ObjectStore) -> None:
    kept = a_checkpoint()
    save_checkpoint(object_store, "one", kept, report="<html>")
    loaded = load_whole_checkpoint(object_store, "one")
    assert_same_weights(loaded.model, kept.model)
    assert_same_weights(loaded.blind, kept.blind)
    assert loaded.metadata["fingerprint"] == "f"
    assert loaded.tokenizer == kept.tokenizer
    assert np.array_equal(loaded.nodes.posts, TENSORS.post_ids)  # type: ignore[arg-type]
    assert np.array_equal(loaded.nodes.tags, TENSORS.tag_ids)
    assert files_of(object_store, "one").keys() == WHOLE_FILES | {"report.html"}


def test_keys_that_are_strings_come_back_as_they_were() -> None:
    store, nodes = MemoryObjectStore(), nodes_of(keyed_by_strings(TENSORS))
    save_checkpoint(store, "one", a_checkpoint(nodes=nodes))
    loaded = load_whole_checkpoint(store, "one").nodes
    assert (loaded.user_key_type, loaded.post_key_type) == ("uuid", "text")
    assert list(loaded.users) == list(nodes.users)
    assert list(loaded.posts) == list(nodes.posts)


def test_an_exporter_is_given_the_served_weights_and_reads_nothing_else() -> None:
    store = a_store()
    for file in ("blind.safetensors", "nodes.safetensors", "tokenizer.json"):
        store.delete([f"checkpoints/{NAME}/{file}"])
    assert load_checkpoint(store, NAME).metadata["fingerprint"] == "f"
    with pytest.raises(CorruptObject, match=r"blind\.safetensors is missing"):
        load_whole_checkpoint(store, NAME)


def test_the_metadata_is_readable_json() -> None:
    assert json.loads(files_of(a_store())["metadata.json"])["scores"] == {"recall": 0.5}
    assert load_metadata(a_store(), NAME)["scores"] == {"recall": 0.5}


def test_the_latest_checkpoint_is_the_last_by_name_that_is_whole() -> None:
    store = a_store()
    save_checkpoint(store, "20260102-b", a_checkpoint())
    store.put_new("checkpoints/20260103-c/model.safetensors", b"half-written")
    store.put_new("checkpoints/20260104-d/notes/manifest.json", b"a stray object")
    assert latest_checkpoint(store) == "20260102-b"
    assert list_checkpoints(store) == ["20260102-b", NAME]
    assert latest_checkpoint(MemoryObjectStore()) is None


def test_killed_at_any_call_there_is_the_whole_checkpoint_or_none() -> None:
    counting = KillingStore(MemoryObjectStore())
    save_checkpoint(counting, "one", a_checkpoint())
    for point in range(1, len(counting.calls) + 1):
        store = MemoryObjectStore()
        with pytest.raises(Killed):
            save_checkpoint(KillingStore(store, point), "one", a_checkpoint())
        assert latest_checkpoint(store) is None
        save_checkpoint(store, "one", a_checkpoint())
        load_whole_checkpoint(store, "one")


@pytest.mark.parametrize("file", sorted(WHOLE_FILES))
def test_a_truncated_file_is_refused(file: str) -> None:
    store = a_store()
    _replaced(store, f"checkpoints/{NAME}/{file}", files_of(store)[file][:-7])
    with pytest.raises(CorruptObject, match=file):
        load_whole_checkpoint(store, NAME)


@pytest.mark.parametrize("file", sorted(WHOLE_FILES))
def test_a_flipped_bit_is_refused(file: str) -> None:
    store = a_store()
    body = bytearray(files_of(store)[file])
    body[len(body) // 2] ^= 1
    _replaced(store, f"checkpoints/{NAME}/{file}", bytes(body))
    with pytest.raises(CorruptObject, match=file):
        load_whole_checkpoint(store, NAME)


@pytest.mark.parametrize(
    "files",
    [
        {"model.safetensors": b"", "metadata.json": b"[]"},
        {"model.safetensors": b"", "metadata.json": b"not json"},
        {"model.safetensors": b"", "metadata.json": b'{"format": 2, "shape": {"dim": 8}}'},
        {
            "model.safetensors": b"\x80\x04pickled",
            "metadata.json": b'{"format": 2, "shape": {"dim": 8}, "key_types": {"user": "text", "post": "text"}}',
        },
        {"metadata.json": b"{}"},
    ],
)
def test_files_that_are_not_ours_are_refused(files: dict[str, bytes]) -> None:
    store = MemoryObjectStore()
    save_bundle(store, "checkpoints/foreign", files, {})
    with pytest.raises(CorruptObject):
        load_checkpoint(store, "foreign")


def test_a_checkpoint_of_the_format_before_is_refused_by_its_number() -> None:
    store = MemoryObjectStore()
    save_bundle(store, "checkpoints/old", {"model.safetensors": b"", "metadata.json": b"{}"}, {"format": 1})
    for load in (load_checkpoint, load_whole_checkpoint, load_metadata):
        with pytest.raises(CorruptObject, match="of format 1, this version of Waypost reads 2; run `waypost trainer`"):
            load(store, "old")


def _saved_with(changed: dict[str, bytes]) -> MemoryObjectStore:
    """A bundle whose digests are right, of files that do not belong together."""
    store = MemoryObjectStore()
    save_bundle(store, "checkpoints/mixed", {**files_of(a_store()), **changed}, {"format": 2})
    return store


@pytest.mark.parametrize("file", ["model.safetensors", "blind.safetensors"])
def test_weights_of_another_shape_are_refused(file: str) -> None:
    other = MemoryObjectStore()
    save_checkpoint(other, NAME, a_checkpoint(dim=16))
    with pytest.raises(CorruptObject, match=f"{file} does not fit"):
        load_whole_checkpoint(_saved_with({file: files_of(other)[file]}), "mixed")


def test_keys_of_another_number_of_rows_are_refused() -> None:
    other = MemoryObjectStore()
    save_checkpoint(other, NAME, a_checkpoint(nodes=nodes_of(some_tensors(num_users=3, num_posts=5, num_tags=2))))
    with pytest.raises(CorruptObject, match="names other rows than the weights have"):
        load_whole_checkpoint(_saved_with({"nodes.safetensors": files_of(other)["nodes.safetensors"]}), "mixed")


def test_keys_that_lead_outside_their_bytes_are_refused() -> None:
    store, nodes = MemoryObjectStore(), nodes_of(keyed_by_strings(TENSORS))
    assert not isinstance(nodes.users, np.ndarray)
    broken = replace(nodes.users, offsets=nodes.users.offsets[::-1].copy())
    save_checkpoint(store, "one", a_checkpoint(nodes=replace(nodes, users=broken)))
    with pytest.raises(CorruptObject, match="users do not fit together"):
        load_whole_checkpoint(store, "one")


def test_another_tokenizer_is_refused() -> None:
    with pytest.raises(CorruptObject, match="not the one the weights were trained with"):
        load_whole_checkpoint(_saved_with({"tokenizer.json": b"{}"}), "mixed")


def test_an_absent_checkpoint_is_named() -> None:
    with pytest.raises(CorruptObject, match="no checkpoint checkpoints/nowhere"):
        load_checkpoint(MemoryObjectStore(), "nowhere")

import json

import pytest
import torch

from waypost.errors import CorruptObject
from waypost.model.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from waypost.model.graphsage import GraphSAGE
from waypost.objects.bundle import save_bundle
from waypost.objects.memory import MemoryObjectStore


def a_model(dim: int = 8) -> GraphSAGE:
    model = GraphSAGE(num_users=3, num_posts=4, num_tags=0, vocabulary=5, dim=dim, layers=2)
    torch.nn.init.normal_(model.post_id)
    return model


def a_store() -> MemoryObjectStore:
    store = MemoryObjectStore()
    save_checkpoint(store, "20260101-a", a_model(), {"fingerprint": "f", "scores": {"recall": 0.5}})
    return store


def _replaced(store: MemoryObjectStore, key: str, body: bytes) -> None:
    found = store.get(key)
    assert found is not None
    assert store.put_if(key, body, found.etag)


def test_a_checkpoint_comes_back_as_it_was() -> None:
    store, model = MemoryObjectStore(), a_model()
    save_checkpoint(store, "one", model, {"fingerprint": "f"})
    loaded = load_checkpoint(store, "one")
    assert loaded.metadata["fingerprint"] == "f"
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name


def test_the_metadata_is_readable_json() -> None:
    found = a_store().get("checkpoints/20260101-a/metadata.json")
    assert found is not None
    assert json.loads(found.body)["scores"] == {"recall": 0.5}


def test_the_latest_checkpoint_is_the_last_by_name_that_is_whole() -> None:
    store = a_store()
    save_checkpoint(store, "20260102-b", a_model(), {})
    store.put_new("checkpoints/20260103-c/model.safetensors", b"half-written")
    assert latest_checkpoint(store) == "20260102-b"
    assert latest_checkpoint(MemoryObjectStore()) is None


@pytest.mark.parametrize("file", ["model.safetensors", "metadata.json"])
def test_a_truncated_file_is_refused(file: str) -> None:
    store = a_store()
    key = f"checkpoints/20260101-a/{file}"
    found = store.get(key)
    assert found is not None
    _replaced(store, key, found.body[:-7])
    with pytest.raises(CorruptObject, match=file):
        load_checkpoint(store, "20260101-a")


@pytest.mark.parametrize(
    "files",
    [
        {"model.safetensors": b"", "metadata.json": b"[]"},
        {"model.safetensors": b"", "metadata.json": b"not json"},
        {"model.safetensors": b"\x80\x04pickled", "metadata.json": b'{"format": 1, "shape": {"dim": 8}}'},
        {"metadata.json": b"{}"},
    ],
)
def test_files_that_are_not_ours_are_refused(files: dict[str, bytes]) -> None:
    store = MemoryObjectStore()
    save_bundle(store, "checkpoints/foreign", files, {})
    with pytest.raises(CorruptObject):
        load_checkpoint(store, "foreign")


def test_weights_of_another_shape_are_refused() -> None:
    store, other = a_store(), MemoryObjectStore()
    save_checkpoint(other, "x", a_model(dim=16), {})
    weights, metadata = other.get("checkpoints/x/model.safetensors"), store.get("checkpoints/20260101-a/metadata.json")
    assert weights is not None
    assert metadata is not None
    save_bundle(store, "checkpoints/mixed", {"model.safetensors": weights.body, "metadata.json": metadata.body}, {})
    with pytest.raises(CorruptObject, match="does not fit"):
        load_checkpoint(store, "mixed")


def test_an_absent_checkpoint_is_named() -> None:
    with pytest.raises(CorruptObject, match="no checkpoint checkpoints/nowhere"):
        load_checkpoint(MemoryObjectStore(), "nowhere")

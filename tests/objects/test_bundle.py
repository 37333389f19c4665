from __future__ import annotations

from collections.abc import Callable

import pytest

from waypost.errors import CorruptObject
from waypost.objects.bundle import describe, load_files, load_manifest, parse_manifest, save_bundle
from waypost.objects.memory import MemoryObjectStore

INFINITE = b'{"files": [{"path": "a", "sha256": "0", "size": 1e999}]}'
FILES = {"one.bin": b"\x01" * 100, "two.json": b"{}"}


class StoreThatDies(MemoryObjectStore):
    """Refuses every write after the first `writes`."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.writes = writes

    def put_new(self, key: str, body: bytes) -> bool:
        if self.writes <= 0:
            raise ConnectionError
        self.writes -= 1
        return super().put_new(key, body)


def test_a_saved_bundle_is_loaded_whole() -> None:
    store = MemoryObjectStore()
    save_bundle(store, "b", FILES, {"format": 1})
    manifest = load_manifest(store, "b")
    assert manifest is not None
    assert manifest.facts == {"format": 1}
    assert load_files(store, "b", manifest) == FILES


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_writer_that_dies_leaves_no_bundle_and_the_next_one_heals(writes: int) -> None:
    store = StoreThatDies(writes)
    with pytest.raises(ConnectionError):
        save_bundle(store, "b", FILES, {})
    assert load_manifest(store, "b") is None
    store.writes = 100
    manifest = save_bundle(store, "b", FILES, {})
    assert load_files(store, "b", manifest) == FILES


@pytest.mark.parametrize("damage", [lambda body: body[:-1], lambda body: b"\x02" + body[1:], lambda body: body + b"x"])
def test_a_damaged_file_is_never_returned(damage: object) -> None:
    store = MemoryObjectStore()
    manifest = save_bundle(store, "b", FILES, {})
    found = store.get("b/one.bin")
    assert found is not None
    assert callable(damage)
    store.put_if("b/one.bin", damage(found.body), found.etag)
    with pytest.raises(CorruptObject, match=r"b/one.bin"):
        load_files(store, "b", manifest)


def test_a_missing_file_is_corrupt() -> None:
    store = MemoryObjectStore()
    manifest = save_bundle(store, "b", FILES, {})
    store.delete(["b/two.json"])
    with pytest.raises(CorruptObject, match="missing"):
        load_files(store, "b", manifest)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"files": 1}', b'{"files": [{"path": "a"}]}', b"\xff", INFINITE])
def test_what_is_no_manifest_is_refused(body: bytes) -> None:
    with pytest.raises(CorruptObject, match="not a manifest"):
        parse_manifest(body, "x")


@pytest.mark.parametrize(
    "other",
    [
        lambda body: body + b"\n",
        lambda body: body.replace(b"  ", b" ", 1),
        lambda body: body.replace(b'"size": 1', b'"size": 1.0'),
        lambda body: body.replace(b'"format"', b'"\\u0066ormat"'),
    ],
)
def test_a_manifest_in_another_spelling_was_changed(other: Callable[[bytes], bytes]) -> None:
    body = describe({"a": b"x"}, {"format": 1, "by": {3: "int keys become what a reader finds"}}).to_bytes()
    assert parse_manifest(body, "x").to_bytes() == body
    with pytest.raises(CorruptObject, match="was changed after it was written"):
        parse_manifest(other(body), "x")


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../up"])
def test_a_manifest_that_leaves_its_folder_is_refused(path: str) -> None:
    body = b'{"files": [{"path": "%s", "size": 1, "sha256": "00"}]}' % path.encode()
    with pytest.raises(CorruptObject, match="outside"):
        parse_manifest(body, "x")

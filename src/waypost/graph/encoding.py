"""GraphState, Changes and Digests as safetensors files, packed. Pure; nothing here is ever unpickled.

Equal content gives equal bytes, so a file can be named by its own digest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors
from zstandard import ZstdCompressor, ZstdDecompressor, ZstdError, frame_content_size

from waypost.errors import CorruptObject
from waypost.graph.digests import Digests
from waypost.graph.packing import (
    Arrays,
    pack_ascending,
    pack_ints,
    prefixed,
    under,
    unpack_ascending,
    unpack_ints,
)
from waypost.graph.partitions import Partition
from waypost.graph.rows import SourceRows
from waypost.graph.state import GraphState, Nodes, OrphanInteractions, PostFacts, PostTags
from waypost.graph.tensors import Interactions, pair_key
from waypost.graph.texts import Texts
from waypost.graph.updating import Change

EDGES, NODES, TEXTS = "edges", "nodes", "texts"  # the files of a base
ZSTD_LEVEL = 3


def encode_state(state: GraphState) -> dict[str, bytes]:
    """The files of a base."""
    interactions, orphans, tags = state.interactions, state.orphans, state.post_tags
    num_posts, num_tags = len(state.posts), len(state.tags)
    edges = (
        prefixed("pairs", pack_ascending(pair_key(interactions.user, interactions.post, num_posts)))
        | prefixed("kind", pack_ints(interactions.kind))
        | prefixed("created_at", pack_ints(interactions.created_at))
        | prefixed("orphan_user", pack_ints(orphans.user_ids))
        | prefixed("orphan_post", pack_ints(orphans.post_ids))
        | prefixed("orphan_kind", pack_ints(orphans.kind))
        | prefixed("orphan_created_at", pack_ints(orphans.created_at))
        | prefixed("post_tags", pack_ascending(pair_key(tags.post, tags.tag, num_tags)))
        | prefixed("orphan_tagged_post", pack_ints(tags.orphan_post_ids))
        | prefixed("orphan_tag", pack_ints(tags.orphan_tag_ids))
    )
    facts = state.post_facts
    nodes = (
        _pack_nodes("users", state.users)
        | _pack_nodes("posts", state.posts)
        | _pack_nodes("tags", state.tags)
        | _pack_texts("tag_names", state.tag_names)
        | prefixed("author", pack_ints(facts.author_ids))
        | prefixed("has_author", pack_ints(facts.has_author))
        | prefixed("post_created_at", pack_ints(facts.created_at))
        | {"kinds": _json(state.kinds)}
    )
    return {EDGES: _save(edges), NODES: _save(nodes), TEXTS: _save(_pack_texts("posts", facts.texts))}


def decode_state(files: Mapping[str, bytes]) -> GraphState:
    """The inverse of encode_state. Raises CorruptObject."""
    with _whole():
        edges, nodes, texts = (safetensors.load(files[name]) for name in (EDGES, NODES, TEXTS))
        users, posts, tags = (_unpack_nodes(name, nodes) for name in ("users", "posts", "tags"))
        user, post = np.divmod(unpack_ascending(under("pairs", edges)), max(len(posts), 1))
        tagged, tag = np.divmod(unpack_ascending(under("post_tags", edges)), max(len(tags), 1))
        return GraphState(
            users=users,
            posts=posts,
            tags=tags,
            post_facts=PostFacts(
                author_ids=_ints("author", nodes),
                has_author=_ints("has_author", nodes).astype(bool),
                created_at=_ints("post_created_at", nodes),
                texts=_unpack_texts("posts", texts),
            ),
            tag_names=_unpack_texts("tag_names", nodes),
            post_tags=PostTags(
                tagged.astype(np.int32),
                tag.astype(np.int32),
                _ints("orphan_tagged_post", edges),
                _ints("orphan_tag", edges),
            ),
            kinds=tuple((str(kind), str(source)) for kind, source in _from_json(nodes["kinds"])),
            interactions=Interactions(
                user.astype(np.int32),
                post.astype(np.int32),
                _ints("kind", edges).astype(np.uint8),
                _ints("created_at", edges),
            ),
            orphans=OrphanInteractions(
                _ints("orphan_user", edges),
                _ints("orphan_post", edges),
                _ints("orphan_kind", edges).astype(np.uint8),
                _ints("orphan_created_at", edges),
            ),
        )
    raise AssertionError  # _whole() raises or the block returned


def encode_changes(changes: Mapping[str, Change]) -> bytes:
    """One file with the changes of a night, by source."""
    arrays: Arrays = {}
    described = {}
    for name, change in changes.items():
        rows = change.rows
        described[name] = {
            "partition": _describe(change.partition) if change.partition else None,
            "count": rows.count,
            "columns": sorted(rows.columns),
            "texts": sorted(rows.texts),
            "kind_names": rows.kind_names,
        }
        if change.cells is not None:
            arrays |= prefixed(f"{name}.cells", pack_ints(change.cells))
        for column, values in rows.columns.items():
            arrays |= prefixed(f"{name}.{column}", pack_ints(values))
        for column, texts in rows.texts.items():
            arrays |= _pack_texts(f"{name}.{column}", texts)
    return _save(arrays | {"sources": _json(described)})


_NARROW = {"kind": np.uint8, "has_author": np.bool_}


def decode_changes(body: bytes) -> dict[str, Change]:
    """The inverse of encode_changes. Raises CorruptObject."""
    with _whole():
        arrays = safetensors.load(body)
        changes = {}
        for name, facts in _from_json(arrays["sources"]).items():
            columns: dict[str, NDArray[Any]] = {
                column: _ints(f"{name}.{column}", arrays).astype(_NARROW.get(column, np.int64), copy=False)
                for column in facts["columns"]
            }
            texts = {column: _unpack_texts(f"{name}.{column}", arrays) for column in facts["texts"]}
            rows = SourceRows(int(facts["count"]), columns, texts, tuple(facts["kind_names"]))
            partition = _partition(facts["partition"]) if facts["partition"] else None
            cells = _ints(f"{name}.cells", arrays) if f"{name}.cells.head" in arrays else None
            changes[name] = Change(rows, partition, cells)
        return changes
    raise AssertionError


def encode_digests(digests: Mapping[str, Digests]) -> bytes:
    arrays: Arrays = {"sources": _json({name: _describe(digest.partition) for name, digest in digests.items()})}
    for name, digest in digests.items():
        arrays |= prefixed(f"{name}.cells", pack_ints(digest.cells))
        arrays |= prefixed(f"{name}.rows", pack_ints(digest.rows))
        arrays |= prefixed(f"{name}.complete", pack_ints(digest.complete))
        arrays[f"{name}.sums"] = digest.sums
    return _save(arrays)


def decode_digests(body: bytes) -> dict[str, Digests]:
    """The inverse of encode_digests. Raises CorruptObject."""
    with _whole():
        arrays = safetensors.load(body)
        return {
            name: Digests(
                _partition(facts),
                _ints(f"{name}.cells", arrays),
                _ints(f"{name}.rows", arrays),
                _ints(f"{name}.complete", arrays),
                arrays[f"{name}.sums"],
            )
            for name, facts in _from_json(arrays["sources"]).items()
        }
    raise AssertionError


class _whole:  # noqa: N801  # reads as a phrase: `with _whole():`
    """Turns whatever a foreign or cut file makes the block raise into CorruptObject."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (SafetensorError, ZstdError, KeyError, ValueError, TypeError, IndexError, AttributeError)):
            raise CorruptObject(f"not a graph of ours: {type(error).__name__}") from None


def _ints(name: str, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    return unpack_ints(under(name, arrays))


def _pack_nodes(name: str, nodes: Nodes) -> Arrays:
    packed = prefixed(name, pack_ints(nodes.ids))
    return packed if nodes.keys is None else packed | _pack_texts(f"{name}.keys", nodes.keys)


def _unpack_nodes(name: str, arrays: Mapping[str, NDArray[Any]]) -> Nodes:
    keys = _unpack_texts(f"{name}.keys", arrays) if f"{name}.keys.data" in arrays else None
    return Nodes(_ints(name, arrays), keys)


def _pack_texts(name: str, texts: Texts) -> Arrays:
    return {f"{name}.data": _compressed(texts)} | prefixed(f"{name}.lengths", pack_ints(texts.lengths))


def _unpack_texts(name: str, arrays: Mapping[str, NDArray[Any]]) -> Texts:
    lengths = _ints(f"{name}.lengths", arrays)
    return Texts(_decompressed(arrays[f"{name}.data"], lengths), np.concatenate(([0], np.cumsum(lengths))))


def _compressed(texts: Texts) -> NDArray[np.uint8]:
    """Text is most of a graph's bytes; at this level it shrinks by 60 % and more, faster than it travels."""
    data = texts.data[texts.offsets[0] : texts.offsets[-1]]
    return np.frombuffer(ZstdCompressor(level=ZSTD_LEVEL).compress(data.tobytes()), np.uint8)


def _decompressed(stored: NDArray[np.uint8], lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    if frame_content_size(stored.tobytes()) != lengths.sum():  # asked before room is made for it
        raise ValueError("texts of another length")
    return np.frombuffer(ZstdDecompressor().decompress(stored.tobytes()), np.uint8)


def _describe(partition: Partition) -> list[Any]:
    return [partition.by, partition.column, partition.width]


def _partition(described: Any) -> Partition:
    """Its words go into SQL, so only known ones come in."""
    by, column, width = described
    known = ("time", "created_at"), ("key", "user_id"), ("key", "post_id"), ("key", "tag_id")
    if (by, column) not in known or int(width) < 1 or int(width) & (int(width) - 1) * (by == "key"):
        raise ValueError(f"no partition: {described}")
    return Partition(by, column, int(width))


def _save(arrays: Arrays) -> bytes:
    body: bytes = safetensors.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    return body


def _json(content: object) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(content, sort_keys=True).encode(), np.uint8)


def _from_json(array: NDArray[Any]) -> Any:
    return json.loads(array.tobytes())

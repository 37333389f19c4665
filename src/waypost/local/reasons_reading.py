"""Reads what reasons are made of: the graph that the served release was trained on, and the release's own files.

It follows the pointer: each question is answered for the release that is served then.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from waypost.errors import CorruptObject, NoRelease
from waypost.graph.store import load_tensors
from waypost.local.reasons import FloatArray, PostTables, Reasons
from waypost.objects.protocols import ObjectStore
from waypost.release import lookups
from waypost.release.opening import file_of
from waypost.release.pointer import Pointer, read_pointer
from waypost.release.signing import TrustedKeys
from waypost.release.store import LOOKUPS, MODEL, load_release, version_of

_TABLES = ("post_message", "post_vector", "weight", "alpha")  # as exporter/served.onnxtxt names them


@dataclass
class ReasonsReader:
    store: ObjectStore
    trusted: TrustedKeys
    _lock: threading.Lock = field(default_factory=threading.Lock)  # one reads, the others wait for what it found
    _release: str | None = None
    _held: Reasons | None = None

    def served(self) -> Reasons:
        """Of the release that the pointer names now. Raises NoRelease, CorruptObject, StoreUnavailable."""
        found = read_pointer(self.store)
        if found is None:
            raise NoRelease("no release was ever published", "run `waypost night` first")
        with self._lock:
            if self._held is None or self._release != found.pointer.release:
                self._held, self._release = read_reasons(self.store, self.trusted, found.pointer), found.pointer.release
            return self._held


def read_reasons(store: ObjectStore, trusted: TrustedKeys, pointer: Pointer) -> Reasons:
    """Raises NoRelease when the graph behind the release was tidied away; CorruptObject, StoreUnavailable."""
    manifest, files = load_release(
        store, pointer.release, trusted, version=pointer.version, wanted=(MODEL, LOOKUPS).__contains__
    )
    tensors = load_tensors(store, str(manifest.facts.get("fingerprint")))
    if tensors is None:
        raise NoRelease("the graph behind this release is no longer kept", "run `waypost night`")
    found = lookups.from_bytes(file_of(files, LOOKUPS))
    tables = read_tables(file_of(files, MODEL))
    if not len(tables.vector) == len(found.post_ids) == tensors.num_posts:
        raise CorruptObject(f"release {pointer.release} has other posts than the graph that it names", "run a night")
    return Reasons(version_of(manifest), tensors, found, tables)


def read_tables(model: bytes) -> PostTables:
    """From the model file's constants. Raises CorruptObject for a file without them."""
    try:
        constants = onnx.load_model_from_string(model).graph.initializer
        found = {tensor.name: numpy_helper.to_array(tensor) for tensor in constants if tensor.name in _TABLES}
        message, vector, weight, alpha = (found[name] for name in _TABLES)
    except Exception as error:  # protobuf's own errors have no common class
        raise CorruptObject(f"model.onnx has no tables of posts: {type(error).__name__}") from None
    return PostTables(_real(message), _real(vector)[:, :-1], weight.astype(np.float32), float(alpha))


def _real(table: FloatArray) -> FloatArray:
    """Without the padding row; the last column of the vectors is the gate of restricted rows."""
    return table[:-1]

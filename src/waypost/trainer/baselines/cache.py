"""The baselines' lists in the store, `baselines/<fingerprint>-<digest>/`: a night judged again need not fit them.

A bundle like every other, written once, its manifest last. The fingerprint names the graph, the digest what was asked
of it: the cut, the users, the length of the lists, the baselines and their parameters. Lists are kept and not models,
since they are what is compared. What is damaged or foreign is told, and made again. Retention sweeps a bundle when the
tensors that its fingerprint names are gone (graph/retention.py).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from waypost.errors import CorruptObject
from waypost.graph.retention import BASELINES
from waypost.graph.tensors import GraphTensors, Int32Array
from waypost.objects.bundle import REMEDY, load_files, load_manifest, save_bundle
from waypost.objects.protocols import ObjectStore
from waypost.trainer.split import Split

logger = logging.getLogger(__name__)
FORMAT = 1  # raise it when the same baseline with the same parameters would give other lists
DIGEST_CHARACTERS = 16  # of what was asked; few questions are ever asked of one graph
_LISTS = "lists.safetensors"

Lists = dict[str, Int32Array]  # by baseline, [num_users, k], -1 where no post was left


@dataclass(frozen=True)
class BaselineCache:
    store: ObjectStore
    fingerprint: str  # of the graph that `tensors` were made of

    def prefix(self, digest: str) -> str:
        return f"{BASELINES}/{self.fingerprint}-{digest}"


@dataclass(frozen=True, eq=False)
class Question:
    """What lists are asked for; `parameters` by baseline, as people can read them."""

    users: Int32Array  # [num_users]
    k: int
    seed: int
    parameters: Mapping[str, Mapping[str, float]]

    def facts(self) -> dict[str, Any]:
        asked = {name: dict(values) for name, values in self.parameters.items()}
        return {"format": FORMAT, "users": len(self.users), "k": self.k, "seed": self.seed, "baselines": asked}


def digest_of(question: Question, tensors: GraphTensors, cut: Split) -> str:
    """The same lists, the same digest: of everything that decides about them besides the graph itself."""
    found = hashlib.sha256(json.dumps(question.facts(), sort_keys=True).encode())
    for array in (
        question.users,
        *(cut.train.user, cut.train.post, cut.seen.user, cut.seen.post),
        *(tensors.post_tokens.indptr, tensors.post_tokens.indices),
    ):
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:DIGEST_CHARACTERS]


def load_lists(cache: BaselineCache, digest: str, question: Question, num_posts: int) -> Lists | None:
    """None when they are not there, or with a warning not whole. Raises StoreUnavailable."""
    prefix = cache.prefix(digest)
    try:
        manifest = load_manifest(cache.store, prefix)
        if manifest is None:
            return None
        lists = _parse(load_files(cache.store, prefix, manifest), prefix)
        if not _answers(lists, question, num_posts):
            raise CorruptObject(f"{prefix} holds other lists than were asked for", REMEDY)
    except CorruptObject as error:
        logger.warning("kept baselines refused", extra={"cause": str(error)})
        return None
    return lists


def save_lists(cache: BaselineCache, digest: str, question: Question, lists: Lists) -> None:
    """Raises StoreUnavailable."""
    save_bundle(cache.store, cache.prefix(digest), {_LISTS: safetensors.save(lists)}, question.facts())


def _parse(files: Mapping[str, bytes], prefix: str) -> Lists:
    try:
        lists: Lists = safetensors.load(files[_LISTS])
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CorruptObject(f"{prefix} holds no lists of ours: {type(error).__name__}", REMEDY) from None
    return lists


def _answers(lists: Lists, question: Question, num_posts: int) -> bool:
    """Whether they are of these baselines and users, and name only posts that there are."""
    shape = len(question.users), question.k
    return lists.keys() == question.parameters.keys() and all(
        found.shape == shape
        and found.dtype == np.int32
        and found.min(initial=-1) >= -1
        and found.max(initial=-1) < num_posts
        for found in lists.values()
    )

"""What a release holds beside the model: lookups for the worker and the golden questions. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from waypost.errors import PipelineError
from waypost.graph.tensors import GraphTensors, Int32Array, csr_from_pairs, transposed
from waypost.graph.texts import Texts
from waypost.key_types import KeyTypes
from waypost.limits import MAX_KEY_CHARACTERS
from waypost.model.kinds import taught
from waypost.model.serving import ServingTables
from waypost.model.signature import Row, Sizes, pack
from waypost.release.answering import Infer
from waypost.release.golden import Golden
from waypost.release.lookups import Lookups
from waypost.release.text_keys import TextKeys

GOLDEN_USERS = 16  # of the users with history; the other questions are of unknown users
GOLDEN_BLOCKED = 256  # posts per question: golden.json stays small for users who have seen thousands
GOLDEN_OTHERS = 4  # of each other sort: recent posts, query, tags, restricted


def build_lookups(tensors: GraphTensors, tables: ServingTables) -> Lookups:
    """Keys, seen posts, tags and popularity of the same graph that the tables were computed on.

    Raises PipelineError for a key that no caller could name.
    """
    seen = csr_from_pairs(tensors.interactions.user, tensors.interactions.post, tensors.num_users)
    learned = taught(tensors)  # a report or a hide is seen, and makes nothing popular
    liked = csr_from_pairs(learned.user, learned.post, tensors.num_users)
    popularity = np.bincount(liked.indices, minlength=tensors.num_posts).astype(np.float32)
    return Lookups(
        user_ids=tensors.user_ids,
        post_ids=tensors.post_ids,
        tag_names=tensors.tag_names,
        num_tokens=len(tables.token_message),
        user_has_state=_has_state(tables),
        seen=seen,
        tag_posts=transposed(tensors.post_tags, tensors.num_tags),
        popular_posts=_most_popular_first(popularity),
        popularity=popularity,
        key_types=KeyTypes(tensors.user_key_type, tensors.post_key_type),
        user_keys=_text_keys(tensors.user_keys, "user"),
        post_keys=_text_keys(tensors.post_keys, "post"),
    )


def _text_keys(keys: Texts | None, what: str) -> TextKeys | None:
    """Neither gateway nor queue carries a longer key: a release with one would spoil answers that name its post."""
    if keys is None:
        return None
    suspects = np.flatnonzero(keys.lengths > MAX_KEY_CHARACTERS)  # bytes, of which a character has up to four
    if any(len(keys[row]) > MAX_KEY_CHARACTERS for row in suspects.tolist()):
        raise PipelineError(
            f"a {what}'s key is longer than {MAX_KEY_CHARACTERS} characters",
            "let the mapping's SELECT leave it out or give a shorter key",
        )
    return TextKeys(keys)


def _has_state(tables: ServingTables) -> NDArray[np.bool_]:
    """Whom the model knows by more than being somebody: by what he touched, or by what he wrote."""
    somebody: NDArray[np.bool_] = np.abs(tables.user_own - tables.default_own).max(axis=1) > 1e-6
    return somebody | (tables.user_state_count > 0)


def _most_popular_first(popularity: NDArray[np.float32]) -> Int32Array:
    """Distinct users per post, descending; ties by ascending row, which is ascending id."""
    return np.argsort(-popularity, kind="stable").astype(np.int32)


def golden_rows(lookups: Lookups) -> list[Row]:
    """Questions of every sort the model can be asked; the same for the same release."""
    sizes = lookups.sizes
    choose = np.random.default_rng(sizes.num_posts)
    posts = [choose.integers(0, sizes.num_posts, 3).astype(np.int32) for _ in range(GOLDEN_OTHERS)]
    rows = [Row(sizes.num_users, recent_posts=np.unique(recent)) for recent in posts]
    rows += [Row(sizes.num_users, recent_posts=[recent[0]], restricted=True, allowed_posts=recent) for recent in posts]
    if sizes.num_tokens:
        rows += [Row(sizes.num_users, query_tokens=choose.integers(0, sizes.num_tokens, 4).tolist()) for _ in posts]
    if sizes.num_tags:
        rows += [Row(sizes.num_users, profile_tags=choose.integers(0, sizes.num_tags, 2).tolist()) for _ in posts]
    known = np.flatnonzero(lookups.user_has_state)
    users = choose.choice(known, min(GOLDEN_USERS, len(known)), replace=False) if len(known) else known
    return rows + [Row(int(user), blocked_posts=lookups.seen_rows(int(user))[:GOLDEN_BLOCKED]) for user in users]


def ask_golden(rows: list[Row], sizes: Sizes, infer: Infer) -> Golden:
    """The golden questions with the answers that `infer` gives."""
    inputs = pack(rows, sizes)
    outputs = infer(dict(inputs))
    return Golden(inputs, outputs["post_index"], outputs["score"])

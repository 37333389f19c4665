"""The files beside the model: readable, right in themselves, and of the same night as the model's tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from waypost.errors import CorruptObject
from waypost.graph.tensors import Csr
from waypost.model.signature import INPUTS, Sizes
from waypost.release import golden, lookups
from waypost.release.golden import Golden
from waypost.release.lookups import Lookups
from waypost.release.preflight.findings import Finding, cause_of, finding
from waypost.release.preflight.onnx_model import Graph
from waypost.release.store import GOLDEN, LOOKUPS, POPULAR, TOKENIZER

# The highest row that each input may name: its padding row.
_HIGHEST = {
    "user_index": "num_users",
    "recent_posts": "num_posts",
    "allowed_posts": "num_posts",
    "blocked_posts": "num_posts",
    "query_tokens": "num_tokens",
    "profile_tags": "num_tags",
}


def check_companions(files: Mapping[str, bytes], graph: Graph | None, at: str = "") -> list[Finding]:
    """Findings about those companions that are among `files`; `at` goes before their names."""
    sizes = graph.sizes if graph else None
    findings, found = _check_lookups(files[LOOKUPS], at + LOOKUPS, sizes) if LOOKUPS in files else ([], None)
    sizes = sizes or (found.sizes if found else None)
    if GOLDEN in files:
        findings += _check_golden(files[GOLDEN], at + GOLDEN, sizes)
    if TOKENIZER in files:
        findings += _check_tokenizer(files[TOKENIZER], at + TOKENIZER, sizes)
    if POPULAR in files:
        findings += _check_popular(files[POPULAR], at + POPULAR, None if findings else found)
    return findings


def _check_lookups(body: bytes, path: str, sizes: Sizes | None) -> tuple[list[Finding], Lookups | None]:
    try:
        found = lookups.from_bytes(body)
    except CorruptObject as error:
        return [finding("lookups-unreadable", path, error.cause)], None
    if sizes is not None and found.sizes != sizes:
        pairs = zip(asdict(found.sizes).items(), asdict(sizes).values(), strict=True)
        told = [f"{name} {ours}, in the model {theirs}" for (name, ours), theirs in pairs if ours != theirs]
        return [finding("lookups-differ", path, ", ".join(told))], found
    return [finding("lookups-inconsistent", path, told) for told in _contradictions(found)], found


def _contradictions(found: Lookups) -> Iterator[str]:
    users, posts, tags = found.sizes.num_users, found.sizes.num_posts, found.sizes.num_tags
    for name, ids in (("user_ids", found.user_ids), ("post_ids", found.post_ids)):
        if (ids[1:] <= ids[:-1]).any():  # not by np.diff: ids go from one end of int64 to the other
            yield f"{name} are not ascending"
    for name, csr, rows in (("seen", found.seen, users), ("tag_posts", found.tag_posts, tags)):
        if not _is_csr(csr, rows, posts):
            yield f"{name} is not one list of posts for each of {rows} rows"
    if not np.array_equal(np.sort(found.popular_posts), np.arange(posts)) or len(found.popularity) != posts:
        yield "popular_posts does not name every post once"
    if len(found.user_has_state) != users:
        yield f"user_has_state has {len(found.user_has_state)} rows for {users} users"


def _is_csr(csr: Csr, rows: int, columns: int) -> bool:
    pointer, indices = csr.indptr, csr.indices
    whole = len(pointer) == rows + 1 and pointer[0] == 0 and pointer[-1] == len(indices)
    return bool(whole and (np.diff(pointer) >= 0).all() and ((indices >= 0) & (indices < columns)).all())


def _check_golden(body: bytes, path: str, sizes: Sizes | None) -> list[Finding]:
    """Scores are looked at before the whole: golden.from_bytes refuses them too, but says less."""
    posts, scores = _numbers(body, "post_index"), _numbers(body, "score")
    if posts is not None and scores is not None and posts.size and posts.shape != scores.shape:
        return [finding("golden-shape", path, f"posts {list(posts.shape)}, scores {list(scores.shape)}")]
    if scores is not None and not np.isfinite(scores).all():
        wrong = int((~np.isfinite(scores)).any(axis=-1).sum())
        return [finding("golden-not-finite", path, f"the scores of {wrong} of {len(scores)} answers")]
    try:
        asked = golden.from_bytes(body)
    except (CorruptObject, ArithmeticError, TypeError) as error:  # numbers beyond every integer, and none at all
        return [finding("golden-unreadable", path, cause_of(error))]
    shape = _shape_fault(asked, sizes)
    if shape:
        return [finding("golden-shape", path, shape)]
    return [finding("golden-range", path, told) for told in _out_of_range(asked, sizes)] if sizes else []


def _numbers(body: bytes, name: str) -> NDArray[np.float64] | None:
    """[questions, items]; None where there is no such table."""
    try:
        table = np.array(json.loads(body)[name], np.float64)
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        return None
    return table if table.ndim == 2 else None


def _shape_fault(asked: Golden, sizes: Sizes | None) -> str:
    count = len(asked)
    for name, rows in asked.inputs.items():
        if rows.ndim != 2 or len(rows) != count or not rows.shape[1]:
            return f"{name} has shape {list(rows.shape)} for {count} answers"
    if sizes is not None and asked.post_index.shape[1] != sizes.num_items:
        return f"lists of {asked.post_index.shape[1]}, the model gives {sizes.num_items}"
    one = [tensor.name for tensor in INPUTS if tensor.dims == (1,) and asked.inputs[tensor.name].shape[1] != 1]
    return f"{', '.join(one)} with more than one value" if one else ""


def _out_of_range(asked: Golden, sizes: Sizes) -> Iterator[str]:
    for name, size in _HIGHEST.items():
        rows, highest = asked.inputs[name], getattr(sizes, size)
        if rows.min(initial=0) < 0 or rows.max(initial=0) > highest:
            yield f"{name} names a row outside 0-{highest}"
    if asked.post_index.min(initial=0) < 0 or asked.post_index.max(initial=0) > sizes.num_posts:
        yield f"an answer names a post outside 0-{sizes.num_posts}"


def _check_tokenizer(body: bytes, path: str, sizes: Sizes | None) -> list[Finding]:
    try:
        words = Tokenizer.from_str(body.decode()).get_vocab_size()
    except Exception as error:  # the tokenizers library raises plain Exception
        return [finding("tokenizer-unreadable", path, str(error))]
    if sizes is not None and words > sizes.num_tokens:  # fewer are a small vocabulary, which is padded
        return [finding("tokenizer-differs", path, f"{words} words, the model has rows for {sizes.num_tokens}")]
    return []


def _check_popular(body: bytes, path: str, found: Lookups | None) -> list[Finding]:
    try:
        content = json.loads(body)
        posts, scores, tags = content["posts"], np.array(content["scores"], float), dict(content["tags"])
        keys = {(type(post), post) for post in posts}
        used = {place for places in tags.values() for place in places}
        if len(posts) != len(scores) or not all(0 <= place < len(posts) for place in used):
            raise ValueError("posts, scores and tags of different lengths")
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        return [finding("popular-unreadable", path, f"{type(error).__name__}: {error}")]
    expected = {(type(post), post) for post in found.posts_at(np.arange(found.sizes.num_posts))} if found else keys
    return [finding("popular-posts", path, told) for told in _popular_faults(keys, expected, len(posts), scores)][:1]


def _popular_faults(keys: set[Any], expected: set[Any], count: int, scores: NDArray[np.float64]) -> Iterator[str]:
    if keys - expected:
        yield f"{len(keys - expected)} posts that the lookups do not have"
    if expected - keys or count != len(keys):
        yield f"{len(keys & expected)} of the {len(expected)} posts, named {count} times"
    if not np.isfinite(scores).all() or (np.diff(scores) > 0).any():
        yield "not by descending popularity"


def popular_version(body: bytes) -> Any:
    """The version that popular.json says it is of; None where it cannot be read."""
    try:
        return json.loads(body).get("version")
    except (ValueError, AttributeError, RecursionError):
        return None

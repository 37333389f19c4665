"""What a user would write with scikit-learn for posts that nobody has read: profiles of tags, or of tags and titles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from bench.graph_files import NULL, GraphFiles, unescaped
from bench.progress import say
from bench.quality.cuts import Pair, by_user

Lists = dict[str, list[str]]
USERS_PER_BATCH = 512


@dataclass(frozen=True)
class ContentPeer:
    """A user's profile is the sum of his posts' vectors; posts are ranked by their product with it."""

    name: str
    title: bool  # beside the tags
    variants: Sequence[Mapping[str, Any]] = field(default_factory=tuple)  # arguments of TfidfVectorizer


TAG_PROFILE = ContentPeer("tag profile", title=False, variants=({"use_idf": False}, {"use_idf": True}))
TAG_TITLE_TFIDF = ContentPeer(
    "tag+title TF-IDF",
    title=True,
    variants=(
        {"sublinear_tf": True, "stop_words": "english"},
        {"sublinear_tf": True, "stop_words": "english", "ngram_range": (1, 2), "min_df": 2},
    ),
)


def rank_by_content(
    peer: ContentPeer,
    variant: Mapping[str, Any],
    files: GraphFiles,
    train: Sequence[Pair],
    users: Sequence[str],
    posts: Sequence[str],
    k: int,
) -> Lists:
    """The best k of `posts` for each of these users; of equal ones those that `posts` names first."""
    documents = _documents(files, title=peer.title)
    matrix = TfidfVectorizer(token_pattern=r"(?u)\b\w[\w#-]*\w\b", **variant).fit_transform(documents.values())
    row = {post: number for number, post in enumerate(documents)}
    had, candidates = by_user(train), matrix[[row[post] for post in posts]].T.tocsc()
    lists: Lists = {}
    for start in range(0, len(users), USERS_PER_BATCH):
        batch = users[start : start + USERS_PER_BATCH]
        profiles = np.concatenate(
            [np.asarray(matrix[[row[post] for post in had.get(user, ())]].sum(axis=0)) for user in batch]
        )
        scores = np.asarray(profiles @ candidates)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        lists |= {user: [posts[number] for number in numbers] for user, numbers in zip(batch, best, strict=True)}
    return lists


def choose_variant(peer: ContentPeer, ndcg_of: Mapping[int, float]) -> Mapping[str, Any]:
    """By NDCG on the validation part, of each variant's number."""
    best = max(ndcg_of, key=lambda number: ndcg_of[number])
    say(f"{peer.name}: {dict(peer.variants[best])}, NDCG {ndcg_of[best]:.4f} on the validation part")
    return peer.variants[best]


def _documents(files: GraphFiles, *, title: bool) -> dict[str, str]:
    """post id -> its tags, each one word, and its title."""
    name = {row[0]: unescaped(row[1]).replace(" ", "-") for row in files.tags}
    tags = by_user((post, name[tag]) for post, tag in files.post_tags)
    return {
        row[0]: " ".join([*tags.get(row[0], ()), *([unescaped(row[3])] if title and row[3] != NULL else [])])
        for row in files.posts
    }

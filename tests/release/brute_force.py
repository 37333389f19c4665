"""What the right answer to a question is, by sets and loops over the graph itself.

Written without the code it judges: no lookups, no rows, no packing, no ONNX. Only the model's formula is the same,
here in float64 and one user at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from waypost.graph.tensors import GraphTensors
from waypost.model.serving import ServingTables
from waypost.questions import Answer, AppKey, Question

TOLERANCE = 1e-4  # of a score near 1 to 100: float32 over at most 128 products, in whatever order a kernel adds them


@dataclass(frozen=True)
class Expected:
    source: str
    eligible: dict[AppKey, float]  # post -> score
    k: int

    def differs_from(self, answer: Answer, tolerance: float = TOLERANCE) -> str:
        """Empty when the answer is right. Posts whose scores differ by no more than `tolerance` may change places."""
        posts, scores = [post for post, _ in answer.items], [score for _, score in answer.items]
        if answer.source != self.source:
            return f"source is {answer.source}, not {self.source}"
        if len(set(posts)) != len(posts) or len(posts) != min(self.k, len(self.eligible)):
            return f"{len(posts)} posts of {len(self.eligible)} eligible ones, {self.k} asked for"
        if foreign := set(posts) - self.eligible.keys():
            return f"not eligible: {foreign}"
        if answer.items != tuple(sorted(answer.items, key=lambda item: (-item[1], item[0]))):
            return "not by descending score, ties by ascending post"
        if wrong := [post for post, score in answer.items if abs(self.eligible[post] - score) > tolerance]:
            return f"wrong scores: {wrong}"
        left_out = [score for post, score in self.eligible.items() if post not in set(posts)]
        if left_out and scores and max(left_out) > scores[-1] + tolerance:
            return "a better post was left out"
        return ""


@dataclass(frozen=True)
class BruteForce:
    tensors: GraphTensors
    tables: ServingTables
    tokens: dict[str, int]  # word -> row of token_message

    def expected(self, question: Question) -> Expected:
        recent = {post for post in question.recent_post_ids if post in self._post_row}
        seen = self._seen.get(question.user_id, set())
        barred = set(question.exclude_post_ids) | ((seen | recent) if question.exclude_seen else set())
        eligible = [p for p in self._post_row if p not in barred and self._passes(p, question)]
        words = [word for word in (question.query or "").split() if word in self.tokens]
        has_history = bool(seen) or bool(recent - seen)
        tags = [] if has_history else self._tags_wanted(question)
        if has_history or words or tags:
            vector = self._vector(question, sorted(recent - seen, key=str), words, tags)
            scores = {
                p: float(self.tables.post_vector[self._post_row[p]].astype(np.float64) @ vector) for p in eligible
            }
            return Expected("graphsage", scores, question.k)
        return Expected("popular", {p: float(self._readers[p]) for p in eligible}, question.k)

    def _passes(self, post: AppKey, question: Question) -> bool:
        carried, tags = self._tags_of[post], question.tags
        return (
            (not tags.any or any(name.casefold() in carried for name in tags.any))
            and all(name.casefold() in carried for name in tags.all)
            and not any(name.casefold() in carried for name in tags.none)
        )

    def _tags_wanted(self, question: Question) -> list[int]:
        wanted = {name.casefold() for name in (*question.tags.any, *question.tags.all)}
        return [row for row, name in enumerate(self.tensors.tag_names) if name.casefold() in wanted]

    def _vector(self, question: Question, new: Sequence[AppKey], words: list[str], tags: list[int]) -> np.ndarray:
        tables, user = self.tables, self._user_row.get(question.user_id)
        own = tables.default_own if user is None else tables.user_own[user]
        near = [tables.post_message[self._post_row[post]] for post in (*self._seen.get(question.user_id, ()), *new)]
        total, count = np.sum(near, axis=0, dtype=np.float64) if near else np.zeros(len(own)), float(len(near))
        means = (
            [tables.token_message[[self.tokens[word] for word in words]].astype(np.float64).mean(0)] if words else []
        )
        means += [tables.tag_message[tags].astype(np.float64).mean(0)] if tags else []
        if means:
            weight = max(count, 1.0)
            total, count = total + weight * np.sum(means, axis=0), count + weight
        vector: np.ndarray = own + tables.weight.astype(np.float64) @ (total / max(count, 1.0) ** tables.alpha)
        return vector

    @cached_property
    def _post_row(self) -> dict[AppKey, int]:
        return {post: row for row, post in enumerate(self.tensors.post_ids.tolist())}

    @cached_property
    def _user_row(self) -> dict[AppKey, int]:
        return {user: row for row, user in enumerate(self.tensors.user_ids.tolist())}

    @cached_property
    def _seen(self) -> dict[AppKey, set[AppKey]]:
        users, posts = self.tensors.user_ids.tolist(), self.tensors.post_ids.tolist()
        found: dict[AppKey, set[AppKey]] = {}
        for user, post in zip(self.tensors.interactions.user, self.tensors.interactions.post, strict=True):
            found.setdefault(users[user], set()).add(posts[post])
        return found

    @cached_property
    def _readers(self) -> Counter[AppKey]:
        return Counter(post for seen in self._seen.values() for post in seen)

    @cached_property
    def _tags_of(self) -> dict[AppKey, set[str]]:
        names = self.tensors.tag_names
        return {
            post: {names[tag].casefold() for tag in self.tensors.post_tags.row(row).tolist()}
            for post, row in self._post_row.items()
            if isinstance(row, int)
        }

"""Two releases side by side, for whoever must decide which of them to serve: what came, what went, what changed.

Facts, sizes and scores are the manifests'; users, posts and popularity are counted in the releases' own lookups.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from waypost.errors import NoRelease
from waypost.objects.bundle import Manifest
from waypost.objects.protocols import ObjectStore
from waypost.questions import AppKey
from waypost.release import lookups
from waypost.release.lookups import Lookups
from waypost.release.moves import served_before
from waypost.release.pointer import read_pointer
from waypost.release.signing import FIELD, TrustedKeys
from waypost.release.store import LOOKUPS, find_release, list_releases, load_release

POPULAR_HEADS = (20, 100)  # posts of the popularity lists that are compared: a page, and what a filter leaves of more
_APART = {"release", "scores", "sizes", FIELD}  # shown apart, or different by nature
Change = tuple[Any, Any]  # in the first release, in the second; None: not there


@dataclass(frozen=True)
class Exchange:
    """Of users or posts."""

    came: int
    went: int
    stayed: int


@dataclass(frozen=True)
class Difference:
    releases: Change
    scores: Mapping[str, Change]
    sizes: Mapping[str, Change]
    files: Mapping[str, Change]  # bytes
    facts: Mapping[str, Change]  # those that differ
    posts: Exchange
    users: Exchange
    popular: Mapping[int, int]  # length of the lists' heads -> posts in both heads

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def lines(self) -> Iterator[str]:
        yield f"{self.releases[0]} → {self.releases[1]}"
        for title, changes in (("score", self.scores), ("size", self.sizes), ("bytes", self.files)):
            for name, (old, new) in changes.items():
                yield f"  {title:8}{name:24}{_shown(old):>14} → {_shown(new):>14}  {_step(old, new)}".rstrip()
        for name, change in self.facts.items():
            yield f"  {'fact':8}{name:24}{_shown(change[0])} → {_shown(change[1])}"
        for name, exchange in (("posts", self.posts), ("users", self.users)):
            yield f"  {name:8}{exchange.came:,} came, {exchange.went:,} went, {exchange.stayed:,} stayed"
        for head, both in self.popular.items():
            yield f"  {'popular':8}{both} of the {head} most popular posts are the same"


def compare_releases(store: ObjectStore, first: str | None, second: str | None, trusted: TrustedKeys) -> Difference:
    """Each by id or version; without the second it is the served one, without both it is that against the one before.

    Raises NoRelease, UsageError, CorruptObject, StoreUnavailable.
    """
    held, releases = read_pointer(store), list_releases(store)
    served = held.pointer.served if held else ()
    if held is None and second is None:
        raise NoRelease("no release was ever published", "run `waypost night` first")
    new = find_release(releases, second or (held.pointer.release if held else ""), served)
    if first is not None:
        old = find_release(releases, first, served)
    elif held is not None:
        old = served_before(releases, held.pointer)
    else:
        raise NoRelease("no release is served", "name both")
    return compare(old, _lookups_of(store, old, trusted), new, _lookups_of(store, new, trusted))


def _lookups_of(store: ObjectStore, manifest: Manifest, trusted: TrustedKeys) -> Lookups:
    name = str(manifest.facts["release"])
    verified, files = load_release(store, name, trusted, wanted=lambda path: path == LOOKUPS)
    verified.file(LOOKUPS)
    return lookups.from_bytes(files[LOOKUPS])


def compare(old: Manifest, old_lookups: Lookups, new: Manifest, new_lookups: Lookups) -> Difference:
    facts = _changes(old.facts, new.facts)
    old_popular, new_popular = _popular(old_lookups), _popular(new_lookups)
    return Difference(
        releases=(old.facts["release"], new.facts["release"]),
        scores=_changes(_table(old, "scores"), _table(new, "scores")),
        sizes=_changes(_table(old, "sizes"), _table(new, "sizes")),
        files=_changes({f.path: f.size for f in old.files}, {f.path: f.size for f in new.files}),
        facts={name: (a, b) for name, (a, b) in facts.items() if a != b and name not in _APART},
        posts=_exchange(_posts(old_lookups), _posts(new_lookups)),
        users=_exchange(_users(old_lookups), _users(new_lookups)),
        popular={head: len(set(old_popular[:head]) & set(new_popular[:head])) for head in POPULAR_HEADS},
    )


def _table(manifest: Manifest, name: str) -> Mapping[str, Any]:
    found = manifest.facts.get(name, {})
    return found if isinstance(found, dict) else {}


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Change]:
    return {name: (old.get(name), new.get(name)) for name in [*old, *(name for name in new if name not in old)]}


def _exchange(old: set[AppKey], new: set[AppKey]) -> Exchange:
    return Exchange(len(new - old), len(old - new), len(old & new))


def _posts(found: Lookups) -> set[AppKey]:
    return set(found.posts_at(np.arange(found.sizes.num_posts)))


def _users(found: Lookups) -> set[AppKey]:
    return set(found.users_at(np.arange(found.sizes.num_users)))


def _popular(found: Lookups) -> list[AppKey]:
    return list(found.posts_at(found.popular_posts[: max(POPULAR_HEADS)]))


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else "none" if value is None else str(value)


def _step(old: object, new: object) -> str:
    """The change in per cent, where that says something."""
    if not isinstance(old, int | float) or not isinstance(new, int | float) or not old or old == new:
        return ""
    return f"{100 * (new - old) / abs(old):+.1f} %"

"""The synthetic travel world as arrays: who likes what, what was posted, and who did what with which post, and when.

A scene is a place with a theme ("surfing in Porto"); every post belongs to one, and its tags say so. A community
favours some regions and kinds of theme, and a few scenes that no tag explains; a user's taste is a handful of scenes
drawn from one or two communities, and part of it changes once. So posts can be predicted from others' behaviour and
from tags, and hardly from popularity.

The same seed gives the same world on every machine: only integers and the correctly rounded operations (+, -, *, /) are
used, never log, exp or a float sum, whose last bit differs between processors.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from waypost.local.world_words import MAX_PLACES, REGIONS, THEME_GROUPS, THEMES, region_of

Int64Array = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

KINDS: Final = ("view", "like", "save", "comment")
DAY_MS: Final = 86_400_000
START_MS: Final = 1_717_200_000_000  # 2024-06-01 00:00 UTC, where the interactions begin
YEAR_MS: Final = 365 * DAY_MS
END_MS: Final = START_MS + YEAR_MS
MONTHS: Final = 12
SLOTS: Final = 8  # scenes in one user's taste
SLOT_WEIGHTS: Final = np.array([840 // (slot + 1) for slot in range(SLOTS)], np.int64)  # the first is loved most
NO_TAG: Final = -1
NO_AUTHOR: Final = -1
_GROUP_OF_THEME: Final = np.repeat(np.arange(len(THEME_GROUPS)), [len(group) for group in THEME_GROUPS])
_BLOCK: Final = 1 << 18  # interactions drawn at a time, so that memory follows the block and not the world


@dataclass(frozen=True)
class Sizes:
    users: int
    posts: int
    places: int
    scenes: int
    communities: int
    follow_ups: int  # interactions of a user with a post of an earlier interaction

    @classmethod
    def of(cls, interactions: int) -> Sizes:
        users, posts = max(5, interactions // 25), max(8, interactions // 20)
        return cls(
            users=users,
            posts=posts,
            places=min(60 + posts // 60, MAX_PLACES),
            scenes=max(4, min(posts // 25, 4000)),
            communities=max(3, min(users // 250, 80)),
            follow_ups=min(interactions // 8, max(0, interactions - users)),
        )


@dataclass(frozen=True, eq=False)
class Scenes:
    place: Int64Array  # [num_scenes]
    theme: Int64Array  # [num_scenes]
    popularity: Int64Array  # [num_scenes] Zipf-like weights
    attraction: Int64Array  # [num_scenes, MONTHS] how the seasons and fashions of its place move it


@dataclass(frozen=True, eq=False)
class Users:
    joined_ms: Int64Array  # [num_users] ascending
    taste: Int64Array  # [num_users, 2, SLOTS] scenes, before and after the user's turn
    turn_ms: Int64Array  # [num_users]


@dataclass(frozen=True, eq=False)
class Posts:
    born_ms: Int64Array  # [num_posts] ascending
    author: Int64Array  # [num_posts] user or NO_AUTHOR
    scene: Int64Array  # [num_posts]
    quality: Int64Array  # [num_posts] Zipf-like weights
    places: Int64Array  # [num_posts, 2] place tags or NO_TAG
    themes: Int64Array  # [num_posts, 3] theme tags or NO_TAG
    other_theme: Int64Array  # [num_posts] what the text mentions besides the scene's theme, or NO_TAG
    has_body: BoolArray  # [num_posts]


@dataclass(frozen=True, eq=False)
class Events:
    """Interactions by ascending time; no two at the same millisecond, so no two rows are equal."""

    user: Int64Array
    post: Int64Array
    kind: Int64Array  # position in KINDS
    at_ms: Int64Array


@dataclass(frozen=True, eq=False)
class World:
    sizes: Sizes
    scenes: Scenes
    users: Users
    posts: Posts
    events: Events


def build_world(interactions: int, seed: int) -> World:
    sizes = Sizes.of(interactions)
    scenes = _scenes(sizes, stream(seed, "scenes"))
    users = _users(sizes, scenes, stream(seed, "users"))
    posts = _posts(sizes, scenes, users, stream(seed, "posts"))
    events = _events(interactions, sizes, scenes, users, posts, stream(seed, "events"))
    return World(sizes, scenes, users, posts, events)


def stream(seed: int, name: str) -> np.random.Generator:
    """Random numbers of their own for each purpose, so that a change to one leaves the others' draws alone."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()),))))


def _zipf(count: int, flat: int, rng: np.random.Generator) -> Int64Array:
    """Weights 1 / (rank + flat) in integers, ranks shuffled; the larger `flat`, the less the first stand out."""
    ranks = np.argsort(rng.random(count), kind="stable")
    weights: Int64Array = 1_000_000_000 // (ranks + max(flat, 1))
    return weights


def _up_to(totals: Int64Array, rng: np.random.Generator) -> Int64Array:
    """For each total a uniform integer from 0 to it, exclusive."""
    return np.minimum((rng.random(totals.shape) * totals).astype(np.int64), totals - 1)


def _draw(weights: Int64Array, count: int, rng: np.random.Generator) -> Int64Array:
    """`count` positions, each as likely as its weight says."""
    edges = np.cumsum(weights)
    return np.searchsorted(edges, _up_to(np.full(count, edges[-1]), rng), side="right")


def _draw_rows(weights: Int64Array, rows: Int64Array, rng: np.random.Generator) -> Int64Array:
    """One position for each entry of `rows`, by the weights [num_rows, num_positions] of that row."""
    edges = np.cumsum(weights.ravel())
    before = np.concatenate(([0], edges[weights.shape[1] - 1 :: weights.shape[1]]))
    picked = before[rows] + _up_to(before[rows + 1] - before[rows], rng)
    positions: Int64Array = np.searchsorted(edges, picked, side="right") - rows * weights.shape[1]
    return positions


def _scenes(sizes: Sizes, rng: np.random.Generator) -> Scenes:
    place = np.arange(sizes.scenes) % sizes.places
    theme = rng.integers(0, len(THEMES), sizes.scenes)
    months = np.arange(MONTHS)
    peak = rng.integers(0, MONTHS, sizes.places)
    distance = np.abs(months - peak[:, None])
    season = 100 + 60 * np.maximum(0, 4 - np.minimum(distance, MONTHS - distance))
    fashion = rng.integers(-1, 2, sizes.places)[:, None]  # falling, steady or rising over the year
    trend = np.where(fashion == 0, 6, np.where(fashion > 0, 1 + months, MONTHS - months))
    return Scenes(place, theme, _zipf(sizes.scenes, sizes.scenes // 30, rng), (season * trend)[place])


def _users(sizes: Sizes, scenes: Scenes, rng: np.random.Generator) -> Users:
    early = sizes.users * 3 // 10
    before = START_MS - (rng.random(early) * YEAR_MS).astype(np.int64)
    after = START_MS + (rng.random(sizes.users - early) * (YEAR_MS - DAY_MS)).astype(np.int64)
    favours = _favours(sizes, scenes, rng)
    home = _draw(_zipf(sizes.communities, sizes.communities // 2, rng), sizes.users, rng)
    away = rng.integers(0, sizes.communities, sizes.users)
    slots = (sizes.users, 2, SLOTS)
    source = np.where(rng.random(slots) < 0.8, home[:, None, None], away[:, None, None])
    taste = _draw_rows(favours, source.ravel(), rng).reshape(slots)
    stays = rng.random((sizes.users, SLOTS)) < 0.7
    taste[:, 1] = np.where(stays, taste[:, 0], taste[:, 1])
    turn = START_MS + (rng.random(sizes.users) * YEAR_MS).astype(np.int64)
    return Users(np.sort(np.concatenate((before, after))), taste, turn)


def _favours(sizes: Sizes, scenes: Scenes, rng: np.random.Generator) -> Int64Array:
    """[num_communities, num_scenes]: popularity, times regions and kinds of theme, times what no tag explains."""
    regions = np.where(rng.random((sizes.communities, len(REGIONS))) < 0.15, 12, 1)
    groups = np.where(rng.random((sizes.communities, len(THEME_GROUPS))) < 0.25, 12, 1)
    hidden = np.where(rng.random((sizes.communities, sizes.scenes)) < 0.1, 8, 1)
    region = np.array([region_of(place) for place in scenes.place.tolist()])
    favours: Int64Array = scenes.popularity * regions[:, region] * groups[:, _GROUP_OF_THEME[scenes.theme]] * hidden
    return favours


def _posts(sizes: Sizes, scenes: Scenes, users: Users, rng: np.random.Generator) -> Posts:
    early = max(sizes.scenes, sizes.posts * 4 // 10)
    before = START_MS - 1 - (rng.random(early) * YEAR_MS).astype(np.int64)
    after = START_MS + (rng.random(sizes.posts - early) * YEAR_MS).astype(np.int64)
    born = np.sort(np.concatenate((before, after)))
    author = _authors(born, users, rng)
    life = (born >= users.turn_ms[author]).astype(np.int64)
    slot = _draw(SLOT_WEIGHTS, sizes.posts, rng)
    own = users.taste[author, life, slot]
    scene = np.where(author == NO_AUTHOR, _draw(scenes.popularity, sizes.posts, rng), own)
    scene[: sizes.scenes] = np.arange(sizes.scenes)  # from the first day on there is something to see in every scene
    places, themes, other = _tags(sizes, scenes, scene, rng)
    quality = _zipf(sizes.posts, sizes.posts // 40, rng)
    return Posts(born, author, scene, quality, places, themes, other, rng.random(sizes.posts) >= 0.06)


def _authors(born: Int64Array, users: Users, rng: np.random.Generator) -> Int64Array:
    """For each post a user who had joined by then, a few writing most; some posts have none."""
    joined = np.searchsorted(users.joined_ms, born)
    edges = np.concatenate(([0], np.cumsum(_zipf(len(users.joined_ms), len(users.joined_ms) // 20, rng))))
    author = np.searchsorted(edges, _up_to(edges[joined], rng), side="right") - 1
    return np.where((joined == 0) | (rng.random(len(born)) < 0.04), NO_AUTHOR, author)


def _tags(
    sizes: Sizes, scenes: Scenes, scene: Int64Array, rng: np.random.Generator
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Place tags, theme tags and the other theme of each post; some of what is true goes untagged."""
    count = len(scene)

    def sometimes(tag: Int64Array, chance: float) -> Int64Array:
        return np.where(rng.random(count) < chance, tag, NO_TAG)

    place, theme = scenes.place[scene], scenes.theme[scene]
    nearby = (place + len(REGIONS) * rng.integers(1, 3, count)) % sizes.places  # of the same region, but for the wrap
    size = len(THEME_GROUPS[0])  # all groups have as many
    akin = theme // size * size + (theme + rng.integers(1, size, count)) % size
    other = sometimes(akin, 0.5)
    some = rng.random(count) >= 0.02
    places = np.stack((sometimes(place, 0.97), sometimes(nearby, 0.12)), axis=1)
    themes = np.stack((sometimes(theme, 0.95), sometimes(other, 0.9), _stray(theme, akin, rng)), axis=1)
    return np.where(some[:, None], places, NO_TAG), np.where(some[:, None], themes, NO_TAG), other


def _stray(theme: Int64Array, akin: Int64Array, rng: np.random.Generator) -> Int64Array:
    """Now and then a theme that has nothing to do with the post, as people do."""
    any_theme = rng.integers(0, len(THEMES), len(theme))
    is_stray = (rng.random(len(theme)) < 0.06) & (any_theme != theme) & (any_theme != akin)
    return np.where(is_stray, any_theme, NO_TAG)


def _events(
    interactions: int, sizes: Sizes, scenes: Scenes, users: Users, posts: Posts, rng: np.random.Generator
) -> Events:
    first = interactions - sizes.follow_ups
    user = np.repeat(np.arange(sizes.users), _counts(first, users, rng))
    since = np.maximum(users.joined_ms, START_MS)[user]
    at = since + (rng.random(first) * (END_MS - since)).astype(np.int64)
    draw = _PostDraw(scenes, users, posts)
    blocks = [slice(start, start + _BLOCK) for start in range(0, first, _BLOCK)]
    post = np.concatenate([draw.posts_for(user[block], at[block], rng) for block in blocks])
    again = rng.integers(0, first, sizes.follow_ups)
    later = at[again] + _delays(END_MS - at[again], rng)
    kind = np.concatenate((_kinds((0.62, 0.82, 0.92), first, rng), _kinds((0.10, 0.40, 0.70), sizes.follow_ups, rng)))
    return _in_order(np.append(user, user[again]), np.append(post, post[again]), kind, np.append(at, later))


def _counts(total: int, users: Users, rng: np.random.Generator) -> Int64Array:
    """How many of `total` interactions each user gets: one while they last, the others by activity and time left."""
    count = len(users.joined_ms)
    days_left = (END_MS - np.maximum(users.joined_ms, START_MS)) // DAY_MS + 1
    weights = _zipf(count, count // 20, rng) * days_left
    others = np.bincount(_draw(weights, max(0, total - count), rng), minlength=count)
    return others + (np.arange(count) < total)


class _PostDraw:
    """Draws posts for (user, time) pairs: a scene of the user's taste, then a post of it that exists by then."""

    def __init__(self, scenes: Scenes, users: Users, posts: Posts) -> None:
        self._scenes, self._users = scenes, users
        self._order = np.lexsort((posts.born_ms, posts.scene))
        self._keys = self._key(posts.scene[self._order], posts.born_ms[self._order])
        self._edges = np.concatenate(([0], np.cumsum(posts.quality[self._order])))
        self._scene_starts = np.searchsorted(posts.scene[self._order], np.arange(len(scenes.place)))

    @staticmethod
    def _key(scene: Int64Array, at_ms: Int64Array) -> Int64Array:
        return scene * (4 * YEAR_MS) + (at_ms - START_MS + 2 * YEAR_MS)

    def posts_for(self, user: Int64Array, at_ms: Int64Array, rng: np.random.Generator) -> Int64Array:
        scene = self._scenes_for(user, at_ms, rng)
        end = np.searchsorted(self._keys, self._key(scene, at_ms))
        recent = np.searchsorted(self._keys, self._key(scene, at_ms - 45 * DAY_MS))
        is_recent = (rng.random(len(user)) < 0.25) & (recent < end)
        start = np.where(is_recent, recent, self._scene_starts[scene])
        picked = self._edges[start] + _up_to(self._edges[end] - self._edges[start], rng)
        return self._order[np.searchsorted(self._edges, picked, side="right") - 1]

    def _scenes_for(self, user: Int64Array, at_ms: Int64Array, rng: np.random.Generator) -> Int64Array:
        month = np.minimum((at_ms - START_MS) * MONTHS // YEAR_MS, MONTHS - 1)
        taste = self._users.taste[user, (at_ms >= self._users.turn_ms[user]).astype(np.int64)]  # [num_events, SLOTS]
        edges = np.cumsum(SLOT_WEIGHTS * self._scenes.attraction[taste, month[:, None]], axis=1)
        slot = (edges <= _up_to(edges[:, -1], rng)[:, None]).sum(axis=1)
        own = taste[np.arange(len(user)), slot]
        wanders = rng.random(len(user)) < 0.1
        return np.where(wanders, _draw(self._scenes.popularity, len(user), rng), own)


def _delays(left_ms: Int64Array, rng: np.random.Generator) -> Int64Array:
    """Mostly minutes or hours, seldom two weeks, never past the end."""
    share = rng.random(len(left_ms))
    return (share * share * share * np.minimum(left_ms, 14 * DAY_MS)).astype(np.int64)


def _kinds(edges: tuple[float, ...], count: int, rng: np.random.Generator) -> Int64Array:
    return np.searchsorted(np.array(edges), rng.random(count), side="right")


def _in_order(user: Int64Array, post: Int64Array, kind: Int64Array, at_ms: Int64Array) -> Events:
    order = np.argsort(at_ms, kind="stable")
    position = np.arange(len(order))
    distinct = np.maximum.accumulate(at_ms[order] - position) + position  # each at least a millisecond after the last
    return Events(user[order], post[order], kind[order], distinct)

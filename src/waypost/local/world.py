"""`waypost local generate`: a synthetic travel world of any size, written as a graph directory.

The world itself is arrays (world_model), its texts are sentences (world_text); here they become files. Each file is
written under another name and takes its own when all are whole, so a generation that was interrupted never looks done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from waypost.errors import LocalStackError, UsageError
from waypost.graph.directory import COLUMNS, existing_files
from waypost.local.world_columns import Bytes, integers, table, times, words
from waypost.local.world_model import KINDS, MONTHS, NO_AUTHOR, NO_TAG, World, build_world, stream
from waypost.local.world_text import NUMBERS_PER_POST, PostFacts, title_and_body
from waypost.local.world_words import THEMES, place_name
from waypost.logs import Progress

logger = logging.getLogger(__name__)

MAX_INTERACTIONS: Final = 1_000_000_000  # times are distinct milliseconds of one year
_BLOCK_ROWS: Final = 1 << 17
_PART: Final = ".part"
NULL: Final = "\\N"
Int64Array = NDArray[np.int64]


@dataclass(frozen=True)
class WorldReport:
    users: int
    posts: int
    tags: int
    post_tags: int
    interactions: int
    late_posts: int  # born after the first 90 % of the interactions
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.users} users, {self.posts} posts ({self.late_posts} born after 90 % of the interactions),"
            f" {self.tags} tags, {self.post_tags} post tags, {self.interactions} interactions; {self.seconds:.1f} s"
        )


def write_world(directory: Path, interactions: int, seed: int) -> WorldReport:
    """Write the five files of a new world; raises UsageError rather than overwrite one."""
    started = time.monotonic()
    _check(directory, interactions, seed)
    world = build_world(interactions, seed)
    user_ids, post_ids = _ids(world.sizes.users, seed, "user ids"), _ids(world.sizes.posts, seed, "post ids")
    rows = _write_files(
        directory,
        users=_user_blocks(user_ids, world),
        posts=_post_blocks(user_ids, post_ids, world, seed),
        tags=_tag_blocks(world),
        post_tags=_post_tag_blocks(post_ids, world),
        interactions=_interaction_blocks(user_ids, post_ids, world),
    )
    return WorldReport(**rows, late_posts=_late_posts(world), seconds=time.monotonic() - started)


def _late_posts(world: World) -> int:
    at_ms = world.events.at_ms
    last_of_training = at_ms[-(-len(at_ms) * 9 // 10) - 1]
    return int((world.posts.born_ms > last_of_training).sum())


def _check(directory: Path, interactions: int, seed: int) -> None:
    if not 1 <= interactions <= MAX_INTERACTIONS:
        raise UsageError(
            f"--interactions {interactions} is not between 1 and {MAX_INTERACTIONS}", "choose another number"
        )
    if seed < 0:
        raise UsageError(f"--seed {seed} is negative", "choose 0 or more")
    present = [path.name for name in COLUMNS for path in existing_files(directory, name)]
    if present:
        raise UsageError(f"{directory} already holds {', '.join(present)}", "choose another folder or remove them")


Blocks = Iterator[tuple[int, bytes]]  # rows and their text


def _write_files(directory: Path, **blocks: Blocks) -> dict[str, int]:
    """Write every file, then give each its name; returns the rows of each."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with Progress(logger, "world written", "rows") as progress:
            rows = {name: _write_file(directory, name, of_table, progress) for name, of_table in blocks.items()}
        for name in blocks:
            (directory / f"{name}.tsv{_PART}").rename(directory / f"{name}.tsv")
    except OSError as error:
        raise LocalStackError(
            f"{directory} cannot be written ({error.strerror})", "make room or choose a folder"
        ) from None
    return rows


def _write_file(directory: Path, name: str, blocks: Blocks, progress: Progress) -> int:
    written = 0
    with (directory / f"{name}.tsv{_PART}").open("wb") as file:
        file.write("\t".join(COLUMNS[name]).encode() + b"\n")
        for rows, text in blocks:
            file.write(text)
            written += rows
            progress.advance(rows, file=f"{name}.tsv")
    return written


def _ids(count: int, seed: int, name: str) -> Int64Array:
    """Ascending ids with gaps, as deletes leave them in a real app."""
    return np.cumsum(stream(seed, name).integers(1, 4, count))


def _slices(count: int) -> Iterator[slice]:
    return (slice(start, min(start + _BLOCK_ROWS, count)) for start in range(0, count, _BLOCK_ROWS))


def _blocks(count: int, columns_of: Callable[[slice], list[Bytes]]) -> Blocks:
    return ((part.stop - part.start, table(columns_of(part))) for part in _slices(count))


def _user_blocks(ids: Int64Array, world: World) -> Blocks:
    return _blocks(len(ids), lambda part: [integers(ids[part]), times(world.users.joined_ms[part])])


def _interaction_blocks(user_ids: Int64Array, post_ids: Int64Array, world: World) -> Blocks:
    events = world.events
    users, posts, kinds = integers(user_ids), integers(post_ids), words(KINDS)
    return _blocks(
        len(events.user),
        lambda part: [
            users[events.user[part]], posts[events.post[part]], kinds[events.kind[part]], times(events.at_ms[part]),
        ],
    )  # fmt: skip


def _tag_blocks(world: World) -> Blocks:
    """Themes first, then places: a tag's id is its position, from 1."""
    names = words([theme.name for theme in THEMES] + [place_name(place) for place in range(world.sizes.places)])
    return _blocks(len(names), lambda part: [integers(np.arange(len(names))[part] + 1), names[part]])


def _post_tag_blocks(post_ids: Int64Array, world: World) -> Blocks:
    posts = world.posts
    places = np.where(posts.places == NO_TAG, NO_TAG, posts.places + len(THEMES))
    tags = np.concatenate((posts.themes, places), axis=1)
    post, column = np.nonzero(tags != NO_TAG)
    ids, tag_ids = post_ids[post], tags[post, column] + 1
    return _blocks(len(ids), lambda part: [integers(ids[part]), integers(tag_ids[part])])


def _post_blocks(user_ids: Int64Array, post_ids: Int64Array, world: World, seed: int) -> Blocks:
    posts = world.posts
    rng = stream(seed, "texts")
    for part in _slices(len(post_ids)):
        born = table([times(posts.born_ms[part])]).decode().splitlines()
        numbers = rng.integers(0, 1 << 30, (part.stop - part.start, NUMBERS_PER_POST)).tolist()
        texts = (title_and_body(facts, row) for facts, row in zip(_facts(world, part), numbers, strict=True))
        authors = np.where(posts.author[part] == NO_AUTHOR, 0, user_ids[posts.author[part]]).tolist()  # ids begin at 1
        rows = zip(post_ids[part].tolist(), authors, born, texts, posts.has_body[part].tolist(), strict=True)
        yield part.stop - part.start, "".join(_post_line(*row) for row in rows).encode()


def _facts(world: World, part: slice) -> Iterator[PostFacts]:
    posts, scenes = world.posts, world.scenes
    scene = posts.scene[part]
    month = posts.born_ms[part].astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64) % MONTHS
    columns = (scenes.place[scene], scenes.theme[scene], posts.other_theme[part], month)
    for place, theme, other, of_year in zip(*(column.tolist() for column in columns), strict=True):
        yield PostFacts(place, THEMES[theme], None if other == NO_TAG else THEMES[other], of_year)


def _post_line(post_id: int, author: int, born: str, text: tuple[str, str], has_body: bool) -> str:
    title, body = text
    written = body.replace("\n", "\\n") if has_body else NULL
    return f"{post_id}\t{author or NULL}\t{born}\t{title}\t{written}\n"

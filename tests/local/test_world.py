"""The synthetic travel world: its size, its bytes, its sense, and that a recommender can learn from it."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from waypost.errors import LocalStackError, UsageError
from waypost.graph.directory import COLUMNS, read_directory
from waypost.graph.loading import load_directory
from waypost.local.world import write_world
from waypost.local.world_columns import integers, table, times, words
from waypost.local.world_model import NO_TAG, START_MS, YEAR_MS, World, build_world
from waypost.local.world_words import CITIES, MAX_PLACES, REGIONS, THEMES, place_name, region_of

SOME = 2_000  # interactions: enough for every kind of row, written in a blink
LEARNABLE = 50_000

# The bytes of `generate --interactions 500 --seed 7`. They may change with the world's words or rules, never with the
# machine, so a difference here that nobody intended is a fault.
GOLDEN_SHA256 = "acc32b3d5fc3f49bf4b31fdbb3b818f3cf5cbe9e41ab9e10faaa5fba9411ab54"


def rows_of(directory: Path, name: str) -> list[dict[str, str]]:
    with (directory / f"{name}.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def digest(directory: Path) -> str:
    whole = hashlib.sha256()
    for name in COLUMNS:
        whole.update((directory / f"{name}.tsv").read_bytes())
    return whole.hexdigest()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "graph"
    write_world(folder, SOME, seed=1)
    return folder


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(LEARNABLE, seed=1)


class TestFiles:
    @pytest.mark.parametrize("interactions", [1, 2, 4, 5, 7, 60, 999])
    def test_there_are_exactly_as_many_interactions_as_asked_for(self, tmp_path: Path, interactions: int) -> None:
        report = write_world(tmp_path, interactions, seed=3)
        assert len(rows_of(tmp_path, "interactions")) == report.interactions == interactions
        assert {name: len(rows_of(tmp_path, name)) for name in ("users", "posts", "tags", "post_tags")} == {
            "users": report.users, "posts": report.posts, "tags": report.tags, "post_tags": report.post_tags,
        }  # fmt: skip
        assert report.users >= 5
        assert report.posts >= 8

    def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(self, tmp_path: Path, directory: Path) -> None:
        write_world(tmp_path / "again", SOME, seed=1)
        write_world(tmp_path / "other", SOME, seed=2)
        assert digest(tmp_path / "again") == digest(directory)
        assert digest(tmp_path / "other") != digest(directory)

    def test_the_bytes_are_those_of_every_other_machine(self, tmp_path: Path) -> None:
        write_world(tmp_path, 500, seed=7)
        assert digest(tmp_path) == GOLDEN_SHA256

    def test_every_id_that_a_row_names_exists_and_is_unique(self, directory: Path) -> None:
        users = [row["user_id"] for row in rows_of(directory, "users")]
        posts = [row["post_id"] for row in rows_of(directory, "posts")]
        tags = [row["tag_id"] for row in rows_of(directory, "tags")]
        assert len(set(users)) == len(users)
        assert len(set(posts)) == len(posts)
        assert len({row["name"] for row in rows_of(directory, "tags")}) == len(tags)
        assert {row["author_id"] for row in rows_of(directory, "posts")} <= {*users, "\\N"}
        assert {row["user_id"] for row in rows_of(directory, "interactions")} == set(users)  # each does something
        assert {row["post_id"] for row in rows_of(directory, "interactions")} <= set(posts)
        pairs = [(row["post_id"], row["tag_id"]) for row in rows_of(directory, "post_tags")]
        assert len(set(pairs)) == len(pairs)
        assert {post for post, _ in pairs} < set(posts)  # some posts have no tag
        assert {tag for _, tag in pairs} <= set(tags)

    def test_nothing_happens_before_its_post_and_its_user_exist(self, directory: Path) -> None:
        joined = {row["user_id"]: row["created_at"] for row in rows_of(directory, "users")}
        born = {row["post_id"]: row["created_at"] for row in rows_of(directory, "posts")}
        interactions = rows_of(directory, "interactions")
        assert all(row["created_at"] >= joined[row["user_id"]] for row in interactions)
        assert all(row["created_at"] > born[row["post_id"]] for row in interactions)
        assert len({row["created_at"] for row in interactions}) == len(interactions)
        authored = [row for row in rows_of(directory, "posts") if row["author_id"] != "\\N"]
        assert all(row["created_at"] > joined[row["author_id"]] for row in authored)

    def test_titles_and_bodies_speak_of_the_posts_tags(self, directory: Path) -> None:
        names = {row["tag_id"]: row["name"] for row in rows_of(directory, "tags")}
        themes = {theme.name: theme for theme in THEMES}
        texts = {row["post_id"]: f"{row['title']} {row['body']}".lower() for row in rows_of(directory, "posts")}
        told = []
        for row in rows_of(directory, "post_tags"):
            name = names[row["tag_id"]]
            theme = themes.get(name)
            spellings = (name, theme.doing, *theme.sights) if theme else (name,)
            told.append(any(spelling.lower() in texts[row["post_id"]] for spelling in spellings))
        assert np.mean(told) > 0.75  # the rest: stray tags, places nearby, posts without a body

    def test_it_loads_into_postgres_row_for_row(self, postgres_dsn: str, directory: Path) -> None:
        report = load_directory(postgres_dsn, directory)
        assert [file.table for file in read_directory(directory)] == list(COLUMNS)
        assert all(table.added == table.read for table in report.tables)
        assert report.tables[-1].added == SOME


class TestRefusals:
    @pytest.mark.parametrize("name", ["users.tsv", "posts.tsv.gz", "tags.tsv.xz"])
    def test_a_folder_that_already_holds_a_graph_is_left_alone(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"mine")
        with pytest.raises(UsageError, match=rf"already holds {name}; choose another folder or remove them"):
            write_world(tmp_path, 10, seed=1)
        assert [path.name for path in tmp_path.iterdir()] == [name]

    @pytest.mark.parametrize(("interactions", "seed"), [(0, 1), (-5, 1), (2_000_000_000, 1), (10, -1)])
    def test_senseless_numbers_are_refused(self, tmp_path: Path, interactions: int, seed: int) -> None:
        with pytest.raises(UsageError):
            write_world(tmp_path, interactions, seed)

    def test_a_folder_that_cannot_be_made_is_one_clear_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(LocalStackError, match=r"file/graph cannot be written \(Not a directory\)"):
            write_world(tmp_path / "file" / "graph", 10, seed=1)

    def test_what_an_interrupted_run_left_is_no_graph_and_in_nobodys_way(self, tmp_path: Path) -> None:
        (tmp_path / "users.tsv.part").write_bytes(b"half a fi")
        write_world(tmp_path, 10, seed=1)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.tsv" for name in COLUMNS)


class TestShape:
    def test_popularity_is_zipf_like(self, world: World) -> None:
        by_popularity = np.sort(np.bincount(world.events.post, minlength=world.sizes.posts))[::-1]
        tenth = by_popularity[: world.sizes.posts // 10].sum() / LEARNABLE
        assert 0.3 < tenth < 0.6

    def test_it_spans_a_year_and_grows(self, world: World) -> None:
        at_ms = world.events.at_ms
        assert at_ms[0] >= START_MS
        assert at_ms[-1] - at_ms[0] > 0.95 * YEAR_MS
        months = np.bincount((at_ms - START_MS) * 12 // YEAR_MS, minlength=12)
        assert months[11] > 1.5 * months[0]

    def test_the_last_tenth_has_new_posts_and_new_users(self, world: World) -> None:
        events, cut = world.events, LEARNABLE * 9 // 10
        assert np.setdiff1d(events.post[cut:], events.post[:cut]).size > 0.02 * world.sizes.posts
        assert np.setdiff1d(events.user[cut:], events.user[:cut]).size > 0.02 * world.sizes.users

    def test_places_drift_in_and_out_of_fashion(self, world: World) -> None:
        place = world.scenes.place[world.posts.scene[world.events.post]]
        early, late = (np.bincount(half, minlength=world.sizes.places) for half in np.array_split(place, 2))
        share = late / np.maximum(early + late, 1)
        busy = early + late > 200
        assert share[busy].min() < 0.45
        assert share[busy].max() > 0.75

    def test_some_interactions_repeat_an_earlier_pair(self, world: World) -> None:
        pairs = world.events.user * world.sizes.posts + world.events.post
        assert 0.1 < 1 - len(np.unique(pairs)) / LEARNABLE < 0.4


class TestLearnability:
    """A world in which nothing can be learned would make every later measurement on it worthless."""

    def test_neighbours_predict_the_future_far_better_than_popularity(self, world: World) -> None:
        train, test = temporal_split(world)
        popularity = np.asarray(train.sum(axis=0)).ravel()
        cosine = train @ sparse.diags(1 / np.sqrt(np.maximum(popularity, 1)))
        by_popularity = recall_at_20(np.tile(popularity, (train.shape[0], 1)), train, test)
        by_neighbours = recall_at_20((cosine @ (cosine.T @ cosine)).toarray(), train, test)
        assert by_neighbours > 2 * by_popularity

    def test_tags_predict_posts_that_nobody_has_seen_yet(self, world: World) -> None:
        train, test = temporal_split(world)
        tags = tag_matrix(world)
        rarity = np.log(world.sizes.posts / np.maximum(np.asarray(tags.sum(axis=0)).ravel(), 1))
        scores = ((train @ tags @ sparse.diags(rarity)) @ tags.T).toarray()
        unseen = np.asarray(train.sum(axis=0)).ravel() == 0
        of_unseen = test @ sparse.diags(unseen.astype(float))
        scores[:, ~unseen] = -1.0
        assert recall_at_20(scores, train, of_unseen) > 3 * 20 / unseen.sum()


def temporal_split(world: World) -> tuple[Any, Any]:
    """[num_users, num_posts] of the first nine tenths, and of what is new in the last."""
    events, cut = world.events, LEARNABLE * 9 // 10
    shape = (world.sizes.users, world.sizes.posts)
    parts = []
    for part in (slice(0, cut), slice(cut, None)):
        ones = np.ones(len(events.user[part]))
        parts.append(
            sparse.csr_matrix((ones, (events.user[part], events.post[part])), shape).astype(bool).astype(float)
        )
    train, last = parts
    return train, (last - last.multiply(train)).tocsr()


def recall_at_20(scores: NDArray[Any], train: Any, test: Any) -> float:
    scores = np.where(train.toarray() > 0, -np.inf, scores)
    top = np.argpartition(-scores, 20, axis=1)[:, :20]
    hits = np.take_along_axis(test.toarray(), top, axis=1).sum(axis=1)
    wanted = np.asarray(test.sum(axis=1)).ravel()
    asked = wanted > 0
    return float((hits[asked] / wanted[asked]).mean())


def tag_matrix(world: World) -> Any:
    tags = np.concatenate(
        (world.posts.themes, np.where(world.posts.places == NO_TAG, NO_TAG, world.posts.places + 100)), 1
    )
    post, column = np.nonzero(tags != NO_TAG)
    return sparse.csr_matrix((np.ones(len(post)), (post, tags[post, column])), (len(tags), 100 + world.sizes.places))


class TestWords:
    def test_every_place_has_its_own_name_and_its_citys_region(self) -> None:
        names = [place_name(place) for place in range(MAX_PLACES)]
        assert len({*names, *(theme.name for theme in THEMES)}) == MAX_PLACES + len(THEMES)
        regions = tuple(REGIONS)
        assert [(place_name(place), regions[region_of(place)]) for place in range(len(CITIES))] == list(
            by_region(regions)
        )

    def test_columns_become_lines(self) -> None:
        numbers = np.array([0, 7, 10, 1_205, 99_999], np.int64)
        at_ms = np.array([0, 1, 86_399_999, 951_782_400_000, START_MS], np.int64)
        lines = table([integers(numbers), words(["a", "bé"])[numbers % 2], times(at_ms)]).decode()
        assert lines == (
            "0\ta\t1970-01-01 00:00:00.000+00\n"
            "7\tbé\t1970-01-01 00:00:00.001+00\n"
            "10\ta\t1970-01-01 23:59:59.999+00\n"
            "1205\tbé\t2000-02-29 00:00:00.000+00\n"
            "99999\tbé\t2024-06-01 00:00:00.000+00\n"
        )


def by_region(regions: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """First city of each region, then the second of each, and so on."""
    for position in range(len(CITIES) // len(regions)):
        for region in regions:
            yield REGIONS[region][position], region

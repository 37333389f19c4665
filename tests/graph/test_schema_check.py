"""What `waypost schema check` tells: the same figures as the night that follows, and every mistake at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests import other_schema
from tests.other_schema import Magazine
from waypost.errors import PostgresUnavailable, SchemaError
from waypost.graph.explaining import explain
from waypost.graph.explanation import Explained, Explanation, to_text
from waypost.graph.mapping import DEFAULT, Mapping, Source, read_mapping
from waypost.graph.postgres import SessionLimits
from waypost.graph.reading import read_graph
from waypost.graph.store import load_digests, newest_night
from waypost.objects.memory import MemoryObjectStore

MAPPING = read_mapping(other_schema.MAPPING)
LIMITS = SessionLimits()


@pytest.fixture
def magazine(postgres_dsn: str) -> Magazine:
    other_schema.create(postgres_dsn)
    return other_schema.fill(postgres_dsn, accounts=40, articles=60, acts=900)


def of(explanation: Explanation, name: str) -> Explained:
    return next(source for source in explanation.sources if source.name == name)


def with_select(name: str, select: str, mapping: Mapping = MAPPING) -> Mapping:
    """The magazine's mapping with one SELECT another."""
    sources = (replace(source, select=select) if source.name == name else source for source in mapping.sources)
    return replace(mapping, sources=tuple(sources))


def execute(dsn: str, sql: str) -> None:
    with other_schema.owner(dsn) as cursor:
        cursor.execute(sql)


def test_its_counts_are_those_that_the_night_then_finds(magazine: Magazine, postgres_reader_dsn: str) -> None:
    explanation = explain(postgres_reader_dsn, MAPPING, LIMITS)
    read = read_graph(postgres_reader_dsn, MemoryObjectStore(), MAPPING, LIMITS)
    for source in explanation.sources:
        night = read.sources[source.name]
        assert (source.rows, source.null_ids, source.orphan_rows or 0) == (night.rows, night.null_ids, night.orphans)
    assert of(explanation, "users").rows == len(magazine.readers) < 40
    assert of(explanation, "visits").null_ids == 20
    assert of(explanation, "visits").orphan_rows
    assert of(explanation, "posts").orphans["author_id"] > 0
    explanation.require_readable()


def test_its_cells_are_those_that_the_first_night_chooses(magazine: Magazine, postgres_reader_dsn: str) -> None:
    store = MemoryObjectStore()
    explanation = explain(postgres_reader_dsn, MAPPING, LIMITS)
    read_graph(postgres_reader_dsn, store, MAPPING, LIMITS)
    night = newest_night(store, MAPPING, explanation.server_version)
    assert night is not None
    for name, digests in load_digests(store, night).items():
        cells = of(explanation, name).cells
        assert cells is not None
        assert (cells.by, cells.column, cells.width) == (
            digests.partition.by,
            digests.partition.column,
            digests.partition.width,
        )
        assert cells.cells == (digests.complete > 0).sum()


def test_kinds_are_counted_and_weighed_and_weights_of_no_kind_are_a_warning(
    magazine: Magazine, postgres_reader_dsn: str
) -> None:
    mapping = replace(MAPPING, weights=(*MAPPING.weights, ("booking", 9.0)))
    explanation = explain(postgres_reader_dsn, mapping, LIMITS)
    kinds = {kind.kind: kind for source in explanation.sources for kind in source.kinds}
    assert {name: kind.weight for name, kind in kinds.items()} == {
        "like": 3.0, "dislike": 0.0, "bookmark": 5.0, "visit": 0.5,
    }  # fmt: skip
    assert kinds["visit"].rows == 900
    assert kinds["like"].rows + kinds["dislike"].rows == of(explanation, "likes").rows
    assert explanation.warnings == ("weights.booking: no interaction is of this kind",)
    assert "seen, never taught" in to_text(explanation)


def test_columns_that_are_not_there_are_told_with_what_that_costs(magazine: Magazine, postgres_reader_dsn: str) -> None:
    mapping = with_select("posts", "SELECT slug AS post_id, headline AS title, state, owner FROM magazine.articles")
    posts = of(explain(postgres_reader_dsn, mapping, LIMITS), "posts")
    assert [name for name, _ in posts.absent] == ["author_id", "created_at", "body"]
    assert {column.name: column.read for column in posts.columns} == {
        "post_id": True, "title": True, "state": False, "owner": False,
    }  # fmt: skip
    assert posts.warnings == ("posts: nobody reads state, owner",)
    assert of(explain(postgres_reader_dsn, MAPPING, LIMITS), "bookmarks").absent == ()


def test_nulls_are_counted_by_column(magazine: Magazine, postgres_dsn: str, postgres_reader_dsn: str) -> None:
    execute(postgres_dsn, "UPDATE magazine.articles SET headline = NULL, published_at = NULL WHERE slug LIKE 'beach%'")
    beaches = len([slug for slug in magazine.published if slug.startswith("beach")])
    posts = of(explain(postgres_reader_dsn, MAPPING, LIMITS), "posts")
    nulls = {column.name: column.nulls for column in posts.columns}
    assert nulls["title"] == nulls["created_at"] == beaches > 0
    assert nulls["post_id"] == nulls["body"] == 0


def test_the_problems_of_all_sources_are_told_together_and_the_others_are_explained(
    magazine: Magazine, postgres_reader_dsn: str
) -> None:
    mapping = with_select("users", "SELECT email AS user_id FROM magazine.accounts")
    mapping = with_select("tags", "SELECT label AS tag_id FROM magazine.topics", mapping)
    mapping = with_select("likes", "SELECT * FROM magazine.hearts", mapping)
    mapping = with_select("visits", "SELECT page AS user_id, page AS post_id FROM magazine.visits", mapping)
    mapping = with_select("bookmarks", "DELETE FROM magazine.bookmarks", mapping)
    explanation = explain(postgres_reader_dsn, mapping, LIMITS)
    with pytest.raises(SchemaError) as refused:
        explanation.require_readable()
    line = str(refused.value)
    assert "\n" not in line
    for told in (
        "users: Postgres: permission denied for table accounts",
        "tags: column name is missing",
        'likes: Postgres: relation "magazine.hearts" does not exist',
        "visits: Postgres: invalid input syntax for type uuid",
        "bookmarks: Postgres: syntax error",
    ):
        assert told in line
    assert of(explanation, "posts").rows == len(magazine.published)
    assert of(explanation, "post_tags").rows == 60
    assert of(explanation, "post_tags").orphan_rows is None  # of no use where the tags cannot be read
    assert line == f"{'; '.join(explanation.all_problems)}; see docs/mapping.md"
    assert "a night cannot read this: 5 problems" in to_text(explanation)


def test_a_key_of_the_wrong_type_is_told_by_its_type(magazine: Magazine, postgres_reader_dsn: str) -> None:
    explanation = explain(postgres_reader_dsn, replace(MAPPING, post_key="integer"), LIMITS)
    assert of(explanation, "posts").problems == ("posts: column post_id is text, not bigint or smallint or integer",)
    assert len(explanation.all_problems) == 5  # posts, their tags, and three sources of interactions


def test_a_post_that_is_given_twice_is_a_problem_and_a_user_a_warning_as_in_the_night(
    magazine: Magazine, postgres_reader_dsn: str
) -> None:
    joined = "SELECT a.slug AS post_id FROM magazine.articles a JOIN magazine.article_topics ON true"
    explanation = explain(postgres_reader_dsn, with_select("posts", joined), LIMITS)
    assert "post_id is given again in 3,540 rows; make the SELECT give each once" in str(explanation.all_problems)
    with pytest.raises(SchemaError):
        read_graph(postgres_reader_dsn, MemoryObjectStore(), with_select("posts", joined), LIMITS)
    twice = "SELECT account AS user_id FROM magazine.likes"
    explanation = explain(postgres_reader_dsn, with_select("users", twice), LIMITS)
    assert explanation.all_problems == ()
    assert "which count once" in str(of(explanation, "users").warnings)
    assert read_graph(postgres_reader_dsn, MemoryObjectStore(), with_select("users", twice), LIMITS).sources


def test_a_kind_that_two_selects_give_is_a_problem_as_in_the_night(
    magazine: Magazine, postgres_reader_dsn: str
) -> None:
    named = (replace(source, kind="like") if source.name == "visits" else source for source in MAPPING.sources)
    mapping = replace(MAPPING, sources=tuple(named))
    assert "'like' is given by likes and visits" in str(explain(postgres_reader_dsn, mapping, LIMITS).problems)
    with pytest.raises(SchemaError):
        read_graph(postgres_reader_dsn, MemoryObjectStore(), mapping, LIMITS)


def test_a_select_that_leaves_its_rows_to_chance_is_found_out(magazine: Magazine, postgres_reader_dsn: str) -> None:
    chance = "SELECT visitor AS user_id, page AS post_id FROM magazine.visits WHERE random() < 0.5"
    explanation = explain(postgres_reader_dsn, with_select("visits", chance), LIMITS)
    assert "leaves its rows to chance" in str(of(explanation, "visits").problems)


def test_keys_that_do_not_meet_are_a_warning(magazine: Magazine, postgres_dsn: str, postgres_reader_dsn: str) -> None:
    shifted = "SELECT who AS user_id, 'x' || what AS post_id, saved_on AS created_at FROM magazine.bookmarks"
    bookmarks = of(explain(postgres_reader_dsn, with_select("bookmarks", shifted), LIMITS), "bookmarks")
    assert bookmarks.orphan_rows == bookmarks.rows
    assert "most rows are orphans" in str(bookmarks.warnings)


def test_text_keys_that_the_api_could_not_name_are_a_warning(
    magazine: Magazine, postgres_dsn: str, postgres_reader_dsn: str
) -> None:
    execute(postgres_dsn, "INSERT INTO magazine.articles (slug) VALUES (''), (repeat('ü', 513)), (repeat('ü', 512))")
    warnings = of(explain(postgres_reader_dsn, MAPPING, LIMITS), "posts").warnings
    assert warnings == (
        "posts: the empty text is a key, which `waypost recommend` cannot write",
        "posts: keys longer than 512 characters, which the API refuses: 1",
    )


def test_times_in_the_future_are_a_warning(magazine: Magazine, postgres_dsn: str, postgres_reader_dsn: str) -> None:
    execute(postgres_dsn, "UPDATE magazine.bookmarks SET saved_on = '2126-01-01' WHERE saved_on > '2026-05-01'")
    assert "times lie in the future" in str(of(explain(postgres_reader_dsn, MAPPING, LIMITS), "bookmarks").warnings)


def test_empty_tables_can_be_read_and_there_is_nothing_to_learn(postgres_reader_dsn: str) -> None:
    explanation = explain(postgres_reader_dsn, DEFAULT, LIMITS)
    explanation.require_readable()
    assert [source.rows for source in explanation.sources] == [0] * 5
    assert any("nothing to learn from" in warning for warning in explanation.warnings)


def test_an_integer_key_that_is_given_twice_is_counted_too(postgres_dsn: str, postgres_reader_dsn: str) -> None:
    execute(postgres_dsn, "INSERT INTO posts (post_id) SELECT generate_series(1, 5)")
    doubled = with_select("posts", "SELECT post_id FROM posts UNION ALL SELECT post_id FROM posts", DEFAULT)
    posts = of(explain(postgres_reader_dsn, doubled, LIMITS), "posts")
    assert (posts.rows, posts.repeated_keys) == (10, 5)


def test_it_tells_whether_a_changed_cell_is_found_by_an_index(postgres_dsn: str, postgres_reader_dsn: str) -> None:
    execute(postgres_dsn, "INSERT INTO users SELECT generate_series(1, 30000); ANALYZE users")
    users = of(explain(postgres_reader_dsn, DEFAULT, LIMITS), "users")
    assert users.plans["changed_cell"].by_index
    assert not users.plans["read"].by_index
    assert users.plans["changed_cell"].cost < users.plans["read"].cost / 10
    assert users.cells is not None
    assert users.cells.cells <= 1024


def test_a_changed_cell_of_a_partitioned_table_is_looked_up_in_one_partition_by_its_index(
    magazine: Magazine, postgres_dsn: str, postgres_reader_dsn: str
) -> None:
    often = "SELECT slug, '2025-06-01'::timestamptz + minute * interval '1 minute', 60"
    minutes = "FROM magazine.articles, generate_series(1, 200) AS minute"
    execute(postgres_dsn, f"INSERT INTO magazine.visits (page, seen_at, seconds) {often} {minutes}")
    execute(postgres_dsn, "ANALYZE magazine.visits")
    plan = of(explain(postgres_reader_dsn, MAPPING, LIMITS), "visits").plans["changed_cell"]
    assert plan.by_index
    assert not any("before_2026" in scan for scan in plan.scans)


def test_a_statement_that_takes_too_long_costs_its_source_alone(magazine: Magazine, postgres_reader_dsn: str) -> None:
    slow = with_select("tags", "SELECT label AS tag_id, label AS name FROM magazine.topics, pg_sleep(9)")
    limits = SessionLimits(connections=1, statement_timeout_seconds=1)
    explanation = explain(postgres_reader_dsn, slow, limits)
    assert "statement timeout" in str(of(explanation, "tags").problems)
    assert of(explanation, "visits").rows == 920


def test_a_server_that_is_not_there_is_no_mistake_of_the_mapping() -> None:
    with pytest.raises(PostgresUnavailable):
        explain("postgresql://x@127.0.0.1:1/x", MAPPING, LIMITS)


def schema_check(dsn: str, *arguments: str, mapping: Path = other_schema.MAPPING) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
    return subprocess.run(
        [sys.executable, "-m", "waypost.cli", "schema", "check", *arguments],
        env={**inherited, "WAYPOST_POSTGRES_DSN": dsn, "WAYPOST_MAPPING_FILE": str(mapping)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_verb_prints_text_for_people_and_one_object_for_programs(
    magazine: Magazine, postgres_reader_dsn: str
) -> None:
    text = schema_check(postgres_reader_dsn)
    assert text.returncode == 0, text.stderr
    assert "visits (interactions): 920 rows" in text.stdout
    assert text.stdout.splitlines()[-1] == "a night can read this"
    found = json.loads(schema_check(postgres_reader_dsn, "--json").stdout)
    assert found["ok"] is True
    assert found["keys"] == {"users": "uuid", "posts": "text", "tags": "text"}
    by_name = {source["name"]: source for source in found["sources"]}
    assert by_name["visits"]["rows"] == 920
    assert by_name["visits"]["plans"]["digest"]["scans"]


def test_the_verb_prints_what_it_can_and_exits_1_in_one_line_when_a_night_could_not_read(
    magazine: Magazine, postgres_reader_dsn: str, tmp_path: Path
) -> None:
    wrong = tmp_path / "map.toml"
    wrong.write_text(other_schema.MAPPING.read_text().replace("magazine.topics", "magazine.themes"))
    done = schema_check(postgres_reader_dsn, mapping=wrong)
    assert done.returncode == 1
    assert "visits (interactions): 920 rows" in done.stdout
    last = done.stderr.splitlines()[-1]
    assert last == 'waypost: tags: Postgres: relation "magazine.themes" does not exist; see docs/mapping.md'


def test_a_mapping_file_with_a_mistake_exits_78(postgres_reader_dsn: str, tmp_path: Path) -> None:
    wrong = tmp_path / "map.toml"
    wrong.write_text("[users]\n")
    done = schema_check(postgres_reader_dsn, mapping=wrong)
    assert done.returncode == 78
    assert "users.select is missing" in done.stderr


def test_sources_are_named_in_the_error_by_the_name_that_the_file_gives_them(postgres_reader_dsn: str) -> None:
    mapping = replace(DEFAULT, sources=(*DEFAULT.sources, Source("hearts", "interactions", "SELECT 1", "heart")))
    (source,) = [one for one in explain(postgres_reader_dsn, mapping, LIMITS).sources if one.name == "hearts"]
    assert source.problems == ("hearts: column user_id is missing", "hearts: column post_id is missing")

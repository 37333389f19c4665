"""The mapping file: what it says comes out as it was meant, and what it says wrongly is told in one line."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests import other_schema
from waypost.errors import SettingsError
from waypost.graph.mapping import DEFAULT, Mapping, kind_weights, mapping_from, parse_mapping, read_mapping

WHOLE = """
[users]
select = "SELECT u AS user_id FROM u"
[posts]
select = "SELECT p AS post_id FROM p"
[interactions.views]
select = "SELECT u AS user_id, p AS post_id FROM v"
"""
TAGS = """
[tags]
select = "SELECT t AS tag_id, n AS name FROM t"
[post_tags]
select = "SELECT p AS post_id, t AS tag_id FROM pt"
"""


def refusal(text: str) -> str:
    with pytest.raises(SettingsError) as refused:
        parse_mapping(text, "map.toml")
    line = str(refused.value)
    assert "\n" not in line
    assert line.startswith("map.toml")
    assert line.endswith("see docs/mapping.md")
    return line


def test_without_a_file_the_default_schema_is_meant() -> None:
    assert read_mapping(None) == DEFAULT
    assert [source.name for source in DEFAULT.sources] == ["users", "posts", "tags", "post_tags", "interactions"]


def test_the_magazine_s_mapping_is_read_as_it_was_written() -> None:
    mapping = read_mapping(other_schema.MAPPING)
    assert (mapping.user_key, mapping.post_key, mapping.tag_key) == ("uuid", "text", "text")
    assert [(source.name, source.role, source.kind) for source in mapping.sources] == [
        ("users", "users", None),
        ("posts", "posts", None),
        ("tags", "tags", None),
        ("post_tags", "post_tags", None),
        ("bookmarks", "interactions", "bookmark"),
        ("likes", "interactions", None),
        ("visits", "interactions", "visit"),
    ]
    assert kind_weights(mapping, ("bookmark", "dislike", "like", "share", "visit")) == (5.0, 0.0, 3.0, 1.0, 0.5)


def test_the_page_about_mappings_shows_the_very_file_that_is_tested() -> None:
    page = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text(encoding="utf-8")
    assert other_schema.MAPPING.read_text(encoding="utf-8") in page
    assert (other_schema.FOLDER / "reader.sql").read_text(encoding="utf-8") in page


def test_keys_are_integers_and_weights_one_unless_the_file_says_otherwise() -> None:
    mapping = parse_mapping(WHOLE)
    assert (mapping.user_key, mapping.post_key, mapping.tag_key) == ("integer", "integer", "integer")
    assert mapping.weight("anything") == 1.0


def test_a_semicolon_at_the_end_and_comments_and_a_byte_order_mark_are_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "map.toml"
    file.write_text("\ufeff# ours\n" + WHOLE.replace("FROM u", "FROM u ; "), encoding="utf-8")
    assert read_mapping(file).named("users").select == "SELECT u AS user_id FROM u"


def test_equal_mappings_have_one_identity_and_every_change_of_meaning_another() -> None:
    mapping = parse_mapping(WHOLE)
    assert parse_mapping("# a comment\n" + WHOLE).identity == mapping.identity
    changed = [WHOLE.replace("FROM v", "FROM w"), WHOLE + TAGS, WHOLE + "[weights]\nview = 2\n", WHOLE + 'kind = "v"\n']
    assert len({mapping.identity, *(parse_mapping(text).identity for text in changed)}) == 5


@pytest.mark.parametrize("mapping", [DEFAULT, read_mapping(other_schema.MAPPING)], ids=["default", "magazine"])
def test_a_mapping_survives_json(mapping: Mapping) -> None:
    assert mapping_from(json.loads(json.dumps(asdict(mapping)))) == mapping


def test_everything_that_is_missing_is_told_at_once() -> None:
    assert "users is missing; posts is missing; interactions is missing" in refusal("")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (WHOLE + "[usres]\n", "usres is not known"),
        (WHOLE.replace("[posts]", '[posts]\nname = "x"'), "posts.name is not known"),
        (WHOLE.replace("[posts]", '[posts]\nkey = "int"'), "posts.key: should be 'integer', 'text' or 'uuid'"),
        (WHOLE.replace('"SELECT p AS post_id FROM p"', '" "'), "posts.select: should have at least 1 character"),
        (WHOLE.replace('"SELECT p AS post_id FROM p"', "7"), "posts.select: should be a valid string"),
        (WHOLE.replace("interactions.views", "interactions"), "[interactions.NAME]"),
        (WHOLE.replace("views", "Views"), "interactions.Views: a source's name begins with a letter"),
        (WHOLE.replace("views", "posts"), "interactions.posts has the name of another source"),
        (WHOLE + 'kind = ""\n', "interactions.views.kind: should have at least 1 character"),
        (WHOLE + TAGS.split("[post_tags]", maxsplit=1)[0], "tags and post_tags come together"),
        (WHOLE + "[post_tags]" + TAGS.split("[post_tags]")[1], "tags and post_tags come together"),
        (WHOLE + "[weights]\nview = -1\n", "weights.view: should be greater than or equal to 0"),
        (WHOLE + "[weights]\nview = 1001\n", "weights.view: should be less than or equal to 1000"),
        (WHOLE + "[weights]\nview = nan\n", "weights.view: should be a finite number"),
        (WHOLE + "[weights]\nview = true\n", "weights.view: should be a valid number"),
        (WHOLE + '[weights]\nview = "2"\n', "weights.view: should be a valid number"),
        (WHOLE + "[users]\n", "is no TOML"),
        ("users:\n  select: SELECT 1\n", "is no TOML"),
    ],
)
def test_a_mistake_is_one_line_that_names_its_place(text: str, told: str) -> None:
    assert told in refusal(text)


def test_two_sources_of_one_kind_are_refused_by_name() -> None:
    text = WHOLE + 'kind = "view"\n[interactions.pages]\nkind = "view"\nselect = "SELECT 1"\n'
    assert "interactions.pages and interactions.views are both of the kind 'view'" in refusal(text)


def test_a_file_that_is_not_there_or_no_text_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes("# Zürich".encode("latin-1"))
    for name, reason in (("none.toml", "No such file"), ("latin.toml", "not UTF-8"), (".", "Is a directory")):
        with pytest.raises(SettingsError) as refused:
            read_mapping(tmp_path / name)
        assert reason in str(refused.value)
        assert str(tmp_path / name) in str(refused.value)
        assert "WAYPOST_MAPPING_FILE" in str(refused.value)

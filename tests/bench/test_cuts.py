"""How the quality bench cuts the data: nothing of the test in the training, the same seed the same cut."""

from __future__ import annotations

from pathlib import Path

from bench.graph_files import NULL, GraphFiles, Row, read_graph_files, to_tensors, write_graph_files
from bench.quality.cuts import (
    among,
    authored,
    cut_by_time,
    cut_random_per_user,
    held_back,
    pairs_of,
    without_tags,
    without_text,
    written_by,
)


def an_interaction(user: int, post: int, at: str = NULL, kind: str = "view") -> Row:
    return str(user), str(post), kind, at


def a_graph() -> GraphFiles:
    return GraphFiles(
        users=[("7", NULL), ("-3", NULL)],
        posts=[("20", "7", "2016-01-02T00:00:00", r"two\tparts", NULL), ("10", NULL, NULL, "Café", "body")],
        tags=[("5", "sea side"), ("2", "food")],
        post_tags=[("10", "5"), ("20", "2"), ("20", "5")],
        interactions=[an_interaction(7, 10, "2016-03-01T00:00:00"), an_interaction(-3, 20), an_interaction(7, 10)],
    )


MANY = [an_interaction(user, post) for user in range(5) for post in range(10 + user)]


def test_a_share_of_every_users_posts_is_held_out_with_all_their_repeats() -> None:
    cut = cut_random_per_user([*MANY, *MANY], 0.2, seed=1)
    assert not pairs_of(cut.train) & set(cut.test)
    assert pairs_of(cut.train) | set(cut.test) == pairs_of(MANY)
    assert len(cut.test) == len(set(cut.test))
    assert [sum(user == str(n) for user, _ in cut.test) for n in range(5)] == [2, 2, 2, 3, 3]


def test_the_random_cut_depends_on_the_seed_and_on_nothing_else() -> None:
    first = set(cut_random_per_user(MANY, 0.2, seed=1).test)
    assert set(cut_random_per_user(MANY[::-1], 0.2, seed=1).test) == first
    assert set(cut_random_per_user(MANY, 0.2, seed=2).test) != first


def test_a_user_of_one_post_keeps_it() -> None:
    assert not cut_random_per_user([an_interaction(1, 1)], 0.9, seed=1).test


def test_a_pair_that_was_there_before_the_boundary_is_no_question_after_it() -> None:
    rows = [
        an_interaction(1, 1, "2016-06-30T23:59:59.999"),
        an_interaction(1, 1, "2016-07-02T00:00:00"),
        an_interaction(1, 2, "2016-07-01T00:00:00.000"),
        an_interaction(1, 2, "2016-08-01T00:00:00"),
        an_interaction(1, 3),
    ]
    cut = cut_by_time(rows, "2016-07-01")
    assert cut.train == [rows[0], rows[4]]
    assert cut.test == [("1", "2")]


def test_only_pairs_of_both_lists_are_asked() -> None:
    assert among([("1", "1"), ("1", "2"), ("2", "1")], {"1"}, {"1"}) == [("1", "1")]


def test_an_author_is_known_by_his_post() -> None:
    assert authored(a_graph().posts) == {("7", "20")}


def test_about_the_share_is_held_back_and_nothing_is_lost() -> None:
    rows = [an_interaction(1, post) for post in range(10_000)]
    before, later = held_back(rows, 0.01, seed=1)
    assert sorted(before + later) == sorted(rows)
    assert 60 < len(later) < 140


def test_a_post_of_the_future_is_written_at_the_cut_and_no_other_is_moved() -> None:
    assert [row[2] for row in written_by(a_graph(), "2016-01-01").posts] == ["2016-01-01", NULL]
    assert written_by(a_graph(), "2016-07-01").posts == a_graph().posts


def test_what_an_ablation_takes_away_is_gone_from_the_files(tmp_path: Path) -> None:
    folder = write_graph_files(tmp_path / "tagless", without_tags(a_graph()))
    assert {path.name for path in folder.iterdir()} == {"users.tsv", "posts.tsv", "interactions.tsv"}
    assert [row[3:] for row in without_text(a_graph()).posts] == [(NULL, NULL)] * 2


def test_files_come_back_as_they_were_written(tmp_path: Path) -> None:
    read = read_graph_files(write_graph_files(tmp_path / "graph", a_graph()))
    assert vars(read) == {name: list(rows) for name, rows in vars(a_graph()).items()}


def test_the_tensors_are_those_of_the_rows_by_ascending_id() -> None:
    tensors = to_tensors(a_graph())
    assert tensors.user_ids.tolist() == [-3, 7]
    assert tensors.post_ids.tolist() == [10, 20]
    assert tensors.tag_names == ("food", "sea side")
    assert tensors.post_author.tolist() == [-1, 1]
    assert [tensors.post_tags.row(post).tolist() for post in (0, 1)] == [[1], [0, 1]]
    assert [tensors.post_texts[post] for post in (0, 1)] == ["Café\nbody", "two\tparts"]
    interactions = tensors.interactions
    pairs = list(zip(interactions.user.tolist(), interactions.post.tolist(), strict=True))
    assert pairs == [(0, 1), (1, 0), (1, 0)]
    assert interactions.created_at[2] == 1_456_790_400_000_000

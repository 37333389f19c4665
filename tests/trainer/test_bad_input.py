"""Whatever an app's data holds: the night's own `fit` and `measure`, all baselines included, come to a sensible end.

NaN and infinity cannot come in: the graph's only numbers besides ids are the kinds' weights, which the mapping checks
(tests/graph/test_mapping.py), and times, whose extremes are here.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.factories import some_tensors
from waypost.graph.tensors import NO_AUTHOR, NO_TIME, Csr, GraphTensors, Interactions, csr_from_pairs
from waypost.graph.texts import to_texts
from waypost.model.kinds import taught
from waypost.model.serving import ServingTables, score_users
from waypost.model.tables import to_serving_tables
from waypost.model.tokens import tokenized
from waypost.objects.memory import MemoryObjectStore
from waypost.settings import TrainerSettings
from waypost.trainer.fit import fit
from waypost.trainer.gate import MIN_USERS, decide
from waypost.trainer.holdout import MODEL, HoldoutReport, measure
from waypost.trainer.segments import ALL, HEAD, NEW_POSTS, TAIL
from waypost.trainer.split import split

EVERY = "popularity,item-knn,implicit-als,content,gf-cf,ease"
SETTINGS = TrainerSettings(dim=8, layers=2, epochs=3, threads=1, holdout_share=0.2, baselines=EVERY)
LAST = np.iinfo(np.int64).max  # Postgres' infinity
LARGEST = 1e19  # what scores may reach and still be told apart in float32


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def to_interactions(user: np.ndarray, post: np.ndarray, times: np.ndarray | None = None) -> Interactions:
    times = np.full(len(user), NO_TIME) if times is None else times
    order = np.lexsort((times, post, user))
    kind = np.zeros(len(user), np.uint8)
    return Interactions(user.astype(np.int32)[order], post.astype(np.int32)[order], kind, times.astype(np.int64)[order])


def a_night(tensors: GraphTensors, not_before: int = NO_TIME) -> tuple[ServingTables, HoldoutReport]:
    """What the trainer makes of the graph: tables that serve everybody, and the report. Checks what always holds."""
    cut = split(tensors, SETTINGS.holdout_share, SETTINGS.seed, not_before)
    report = measure(fit(tensors, cut.train, SETTINGS, seed=1), tensors, cut, SETTINGS)
    learned = taught(tensors)
    tables = to_serving_tables(fit(tensors, learned, SETTINGS, seed=1), tensors, learned)
    assert report.finite
    assert all(np.isfinite(table).all() for table in vars(tables).values())
    if tensors.num_users:
        scores = score_users(tables, np.arange(min(tensors.num_users, 50), dtype=np.int32))
        assert np.abs(scores).max() < LARGEST
    json.dumps(report.figures(), allow_nan=False)
    for name, ranking in report.rankings.items():
        for posts in ranking.lists:
            shown = posts[posts >= 0].tolist()
            assert len(set(shown)) == len(shown), name
    return tables, report


def test_times_at_both_ends_of_what_a_column_can_hold() -> None:
    times = np.arange(60, dtype=np.int64) * 10**12
    times[[0, 7, 20]], times[[30, 55]] = NO_TIME + 1, LAST
    tensors = some_tensors()
    interactions = replace(tensors.interactions, created_at=times)
    born = np.array([NO_TIME, NO_TIME + 1, LAST, 0, 10**13] * 6)
    tables, report = a_night(replace(tensors, interactions=interactions, post_created_at=born))
    assert report.temporal
    assert len(report.users) > 0
    assert np.abs(tables.post_vector[:, -1]).max() < 100  # the logarithm of a post's expected attention


def test_a_post_without_words_tags_author_and_readers_has_a_place_and_no_more() -> None:
    tensors = some_tensors(num_users=40, num_posts=30)
    read = tensors.interactions.post < 29
    tagged = csr_from_pairs(np.repeat(np.arange(29), np.diff(tensors.post_tags.indptr)[:29]),
                            tensors.post_tags.indices[: tensors.post_tags.indptr[29]], 30)  # fmt: skip
    tensors = replace(tensors, interactions=tensors.interactions.take(read), post_tags=tagged)
    tables, report = a_night(tensors)
    scores = score_users(tables, np.arange(40, dtype=np.int32))
    assert (scores.argmax(axis=1) == 29).mean() < 0.1  # nothing speaks for it, so it is first for hardly anybody
    assert len(report.users) > 0


def test_nodes_that_nothing_is_joined_to() -> None:
    """Users who did nothing, posts nobody read, tags on no post, an author without readers."""
    tensors = some_tensors(num_users=40, num_posts=30, num_tags=9)
    stays = (tensors.interactions.user >= 20) & (tensors.interactions.post < 15)
    author = np.where(np.arange(30) == 29, 0, NO_AUTHOR).astype(np.int32)
    few = csr_from_pairs(np.arange(15), np.arange(15) % 3, 30)
    tensors = replace(tensors, interactions=tensors.interactions.take(stays), post_author=author, post_tags=few)
    tables, _ = a_night(tensors)
    alone = score_users(tables, np.arange(1, 20, dtype=np.int32))
    assert np.allclose(alone, alone[0], atol=1e-5)  # nothing is known of them: the same for all
    assert np.ptp(alone[0]) > 0


def test_one_user_with_a_hundred_thousand_interactions() -> None:
    choose, posts = np.random.default_rng(0), 20_000
    user = np.concatenate((np.zeros(100_000, int), choose.integers(1, 80, 800)))
    post = np.concatenate((choose.integers(0, posts, 100_000), choose.integers(0, 60, 800)))
    tensors = some_tensors(num_users=80, num_posts=posts, interactions=to_interactions(user, post))
    tables, report = a_night(tensors)
    assert tables.user_state_count[0] > 15_000
    for name in report.rankings.keys() - {"content"}:  # he does not draw all others into his taste
        assert report.scores(name).recall[1:].mean() > 0.2, name


def test_one_post_with_half_of_all_interactions() -> None:
    choose = np.random.default_rng(0)
    user = np.concatenate((np.arange(200), choose.integers(0, 200, 200)))
    post = np.concatenate((np.full(200, 7), choose.integers(8, 60, 200)))
    tensors = some_tensors(num_users=200, num_posts=60, interactions=to_interactions(user, post))
    _, report = a_night(tensors)
    assert report.scores(MODEL, HEAD).recall.mean() > 0.9  # who has not seen it is offered it
    assert report.same_list_share < 0.5  # and other posts beside it
    assert len(report.judged[TAIL]) > 0


SCRIPTS = (
    "Σαντορίνη ηλιοβασίλεμα", "東京の春 桜", "서울 지하철", "رحلة إلى القاهرة", "ירושלים העתיקה", "กรุงเทพ ตลาดน้ำ",
    "Ελλάδα", "नई दिल्ली", "🏖️🏔️ 🇵🇹", "e\u0301te\u0301 \ufeff", "\x00\x01\x7f", "\u202eright to left\u202c",
    "", " ", "A" * 100_000, "<b></b>&nbsp;", "𝕿𝖗𝖆𝖛𝖊𝖑", "\ud7ff\ue000\uffff",
)  # fmt: skip


def test_text_in_any_script() -> None:
    tensors = some_tensors(num_users=40, num_posts=90)
    texts = [SCRIPTS[post % len(SCRIPTS)] for post in range(90)]
    tensors = tokenized(MemoryObjectStore(), "f", replace(tensors, post_texts=to_texts(texts))).tensors
    words = np.diff(tensors.post_tokens.indptr)
    assert words[0] > 0
    assert words[1] > 0
    assert words[SCRIPTS.index("")] == 0
    alike = tensors.post_tokens.row(1), tensors.post_tokens.row(1 + len(SCRIPTS))
    assert np.array_equal(*alike)
    a_night(tensors)


def test_a_tag_used_once_and_one_on_every_post() -> None:
    every = np.arange(30)
    tags = csr_from_pairs(np.append(every, 4), np.append(np.zeros(30, int), 1), 30)
    tables, _ = a_night(some_tensors(num_users=40, num_posts=30, num_tags=3, post_tags=tags))
    assert np.abs(tables.tag_message[1]).max() > 0
    assert tables.tag_message.shape[0] == 3


@pytest.mark.parametrize("used", [0, 2])
def test_only_one_kind_is_ever_used(used: int) -> None:
    tensors = some_tensors(num_users=40, num_posts=30)
    interactions = replace(tensors.interactions, kind=np.full(len(tensors.interactions), used, np.uint8))
    tensors = replace(tensors, kinds=("view", "save", "book"), kind_weights=(1.0, 3.0, 0.01), interactions=interactions)
    _, report = a_night(tensors)
    plain = a_night(some_tensors(num_users=40, num_posts=30))[1]
    assert np.array_equal(report.lists, plain.lists)  # what is the same for all pairs says nothing


def test_only_a_kind_that_teaches_nothing() -> None:
    tensors = some_tensors(kinds=("report",), kind_weights=(0.0,))
    tables, report = a_night(tensors)
    assert len(report.users) == 0
    assert not tables.user_state_count.any()


def test_an_empty_holdout_is_a_report_of_nobody_and_the_gate_says_so() -> None:
    tensors = some_tensors(num_users=40)
    _, report = a_night(tensors, not_before=int(tensors.interactions.created_at.max()) + 1)
    assert {name: len(users) for name, users in report.judged.items()} == dict.fromkeys(report.judged, 0)
    assert report.headline()["recall"] == 0.0
    decision = decide(report, SETTINGS)
    assert decision.accepted
    assert f"0 holdout users are fewer than {MIN_USERS}" in decision.reason


def test_too_little_to_evaluate_is_accepted_on_what_can_be_said_and_told() -> None:
    tensors = some_tensors(num_users=12, num_posts=30)
    _, report = a_night(tensors)
    assert 0 < len(report.users) < MIN_USERS
    decision = decide(report, SETTINGS)
    assert decision.accepted
    assert "fewer than" in decision.reason


@pytest.mark.parametrize("pairs", [0, 1, 2])
def test_hardly_any_interactions(pairs: int) -> None:
    interactions = to_interactions(np.arange(pairs), np.arange(pairs))
    tables, report = a_night(some_tensors(num_tags=0, interactions=interactions))
    assert tables.user_state_count.sum() == pairs
    assert decide(report, SETTINGS).accepted or not pairs


def test_one_user_and_one_post() -> None:
    interactions = to_interactions(np.zeros(5, int), np.zeros(5, int))
    a_night(some_tensors(num_users=1, num_posts=1, num_tags=0, interactions=interactions))


def test_everybody_has_read_everything() -> None:
    user, post = np.divmod(np.arange(900), 30)
    _, report = a_night(some_tensors(num_users=30, num_posts=30, interactions=to_interactions(user, post)))
    held = [len(report.lists[row][report.lists[row] >= 0]) for row in range(len(report.users))]
    assert max(held) < 20  # only what was held out is left to be recommended
    for name in report.rankings:
        assert report.scores(name).recall.min() == 1.0, name


def test_a_graph_of_words_alone() -> None:
    """No interactions, tags, authors or times: what is recommended follows from words, and there is no holdout."""
    tensors = some_tensors(
        num_tags=0,
        post_tokens=Csr(np.arange(31, dtype=np.int64), (np.arange(30) % 4 + 5).astype(np.int32)),
        interactions=to_interactions(np.zeros(0, int), np.zeros(0, int)),
    )
    tables, report = a_night(tensors)
    assert len(report.users) == 0
    assert not tables.user_state_sum.any()


def test_posts_that_are_new_to_the_model_are_judged_apart() -> None:
    """The last fifth by time is all with posts that nobody had before."""
    choose = np.random.default_rng(0)
    user, times = choose.integers(0, 40, 500), np.arange(500, dtype=np.int64) * 10**9
    post = np.where(np.arange(500) < 400, choose.integers(0, 20, 500), choose.integers(20, 40, 500))
    tensors = some_tensors(num_users=40, num_posts=40, interactions=to_interactions(user, post, times))
    _, report = a_night(tensors)
    assert report.temporal
    assert np.array_equal(report.judged[NEW_POSTS], report.judged[ALL])
    assert len(report.judged[HEAD]) == len(report.judged[TAIL]) == 0
    assert len(report.leak.trained) == 0  # there is no pair to probe
    assert report.scores(MODEL, NEW_POSTS).recall.tolist() == report.model.recall.tolist()

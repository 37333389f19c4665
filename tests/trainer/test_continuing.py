"""When a night begins with the last one's weights, with which, and that it is no worse for it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.exporter.test_run import a_state
from tests.factories import keyed_by_strings, some_tensors
from waypost.graph.mapping import DEFAULT
from waypost.graph.store import Night, save_base
from waypost.graph.tensors import GraphTensors, Interactions, csr_from_pairs
from waypost.graph.texts import to_texts
from waypost.model.checkpoint import WholeCheckpoint, load_whole_checkpoint, save_checkpoint
from waypost.model.evaluation import choose_users, interval_95, rank_posts, score_lists
from waypost.model.features import VOCABULARY_SIZE, encode_texts, train_tokenizer
from waypost.model.graphsage import GraphSAGE
from waypost.model.inheriting import inherit, rows_before
from waypost.model.nodes import nodes_of
from waypost.model.serving import score_users
from waypost.model.tables import to_serving_tables
from waypost.model.tokens import TokenizedGraph
from waypost.objects.memory import MemoryObjectStore
from waypost.settings import TrainerSettings
from waypost.trainer.continuing import (
    MAX_CHANGED,
    MAX_NIGHTS,
    Lineage,
    Start,
    changed_share,
    choose_start,
    history_facts,
)
from waypost.trainer.fit import fit, fit_with_curve
from waypost.trainer.split import Split, split

SETTINGS = TrainerSettings(dim=8, layers=2, threads=1, holdout_share=0.2)
WORDS = ["beach", "snow", "train", "food", "lisbon", "ferry"]
TEXTS = [f"{WORDS[i % 6]} and {WORDS[i * 2 % 5]}" for i in range(30)]


def a_graph(tensors: GraphTensors | None = None, tokenizer: str | None = None) -> TokenizedGraph:
    tensors = tensors or some_tensors(post_texts=to_texts(TEXTS))
    tokenizer = tokenizer or train_tokenizer(TEXTS)
    return TokenizedGraph(replace(tensors, post_tokens=encode_texts(tokenizer, tensors.post_texts)), tokenizer)


def a_model(tensors: GraphTensors, seed: int = 0) -> GraphSAGE:
    torch.manual_seed(seed)
    model = GraphSAGE(
        tensors.num_users, tensors.num_posts, tensors.num_tags, VOCABULARY_SIZE, SETTINGS.dim, SETTINGS.layers
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def without_post(tensors: GraphTensors, row: int) -> GraphTensors:
    """The graph as if that post had never been."""
    kept = np.flatnonzero(np.arange(tensors.num_posts) != row)
    of = tensors.interactions.take(tensors.interactions.post != row)
    shifted = replace(of, post=(of.post - (of.post > row)).astype(np.int32))
    tags = [tensors.post_tags.row(post) for post in kept.tolist()]
    lengths = np.array([len(found) for found in tags])
    return replace(
        tensors,
        post_ids=tensors.post_ids[kept],
        post_author=tensors.post_author[kept],
        post_created_at=tensors.post_created_at[kept],
        post_texts=tensors.post_texts.take(kept),
        post_tags=csr_from_pairs(np.repeat(np.arange(len(kept)), lengths), np.concatenate(tags), len(kept)),
        interactions=shifted,
    )


def mapped(model: GraphSAGE, before: TokenizedGraph, now: TokenizedGraph) -> GraphSAGE:
    nodes = nodes_of(before.tensors)
    return inherit(model, rows_before(nodes, before.tokenizer, VOCABULARY_SIZE, now, nodes_of(now.tensors)))


class TestInheriting:
    @pytest.mark.parametrize("keyed", [False, True], ids=["integers", "strings"])
    def test_rows_follow_their_keys_and_new_ones_are_zero(self, keyed: bool) -> None:
        whole = keyed_by_strings(a_graph().tensors) if keyed else a_graph().tensors
        if keyed:
            keys = whole.post_keys
            assert keys is not None
            less = replace(without_post(whole, 4), post_keys=keys.take(np.flatnonzero(np.arange(30) != 4)))
        else:
            less = without_post(whole, 4)
        before, now = a_graph(less), a_graph(whole)
        model = a_model(less)
        heir = mapped(model, before, now)
        assert torch.equal(heir.post_id[:4], model.post_id[:4])
        assert torch.equal(heir.post_id[5:], model.post_id[4:])
        assert not heir.post_id[4].any()
        for name in ("user_id", "tag", "token", "everyone"):
            assert torch.equal(heir.get_parameter(name), model.get_parameter(name)), name
        for ours, theirs in zip(heir.convs.parameters(), model.convs.parameters(), strict=True):
            assert torch.equal(ours, theirs)

    def test_the_model_it_comes_from_stays_as_it_is(self) -> None:
        graph = a_graph()
        model = a_model(graph.tensors)
        before = model.post_id.clone()
        heir = mapped(model, graph, graph)
        with torch.no_grad():
            heir.post_id.zero_()
            heir.everyone.zero_()
        assert torch.equal(model.post_id, before)
        assert model.everyone.any()

    def test_on_the_same_graph_it_is_the_same_model(self) -> None:
        graph = a_graph()
        model = a_model(graph.tensors)
        for name, value in mapped(model, graph, graph).state_dict().items():
            assert torch.equal(value, model.state_dict()[name]), name

    def test_tokens_of_a_tokenizer_trained_anew_are_matched_by_their_string(self) -> None:
        texts = ["quokka quokka wombat", *TEXTS]
        before, now = a_graph(), a_graph(tokenizer=train_tokenizer([*texts, "quokka wombat"]))
        model = a_model(before.tensors)
        heir = mapped(model, before, now)
        old = encode_texts(before.tokenizer, ["snow beach"]).indices
        new = encode_texts(now.tokenizer, ["snow beach"]).indices
        assert before.tokenizer != now.tokenizer
        assert torch.equal(heir.token[new], model.token[old])
        [unknown] = encode_texts(now.tokenizer, ["quokka"]).indices.tolist()
        assert not heir.token[unknown].any()

    def test_keys_of_another_type_are_nobodys(self) -> None:
        before, now = a_graph(), a_graph(keyed_by_strings(a_graph().tensors))
        heir = mapped(a_model(before.tensors), before, now)
        assert not heir.post_id.any()
        assert not heir.user_id.any()
        assert heir.tag.any()


def test_the_changed_share_counts_pairs_that_came_and_went() -> None:
    tensors = some_tensors(num_users=20, num_posts=50)
    pairs = np.unique(np.stack((tensors.interactions.user, tensors.interactions.post), 1), axis=0)
    assert changed_share(tensors, tensors) == 0
    fewer = replace(tensors, interactions=tensors.interactions.take(slice(0, 0)))  # type: ignore[arg-type]
    assert changed_share(fewer, tensors) == 1
    gone = without_post(tensors, 7)
    lost = (pairs[:, 1] == 7).sum()
    assert lost
    assert changed_share(tensors, gone) == pytest.approx(lost / (len(pairs) - lost))
    assert changed_share(gone, tensors) == pytest.approx(lost / len(pairs))


# --- the policy


def a_night(
    store: MemoryObjectStore, name: str = "20260101-a", past: Lineage | None = None, **changes: Any
) -> TokenizedGraph:
    """A night whose graph and checkpoint are kept."""
    graph = a_graph()
    mapping = replace(DEFAULT, weights=(("view", 1.0),))
    save_base(store, Night("one", mapping, 18, 0.0, {}, ()), a_state(graph.tensors), digests={})
    facts = history_facts(SETTINGS, a_cut(graph), Start(None, None, past or Lineage(), ""))
    metadata = {"fingerprint": "one", **facts, **changes}
    model, blind = a_model(graph.tensors), a_model(graph.tensors, seed=1)
    save_checkpoint(store, name, WholeCheckpoint(model, metadata, blind, nodes_of(graph.tensors), graph.tokenizer))
    return graph


def a_cut(graph: TokenizedGraph) -> Split:
    return split(graph.tensors, SETTINGS.holdout_share, SETTINGS.seed)


def chosen(store: MemoryObjectStore, settings: TrainerSettings = SETTINGS, cut: Split | None = None) -> Start:
    graph = a_graph()
    return choose_start(store, settings, graph, cut or a_cut(graph))


def test_a_night_begins_with_the_weights_of_the_night_before_each_model_with_its_own() -> None:
    store = MemoryObjectStore()
    a_night(store)
    start = chosen(store)
    before = load_whole_checkpoint(store, "20260101-a")
    assert start.blind is not None
    assert start.kept is not None
    assert torch.equal(start.blind.post_id, before.blind.post_id)
    assert torch.equal(start.kept.post_id, before.model.post_id)
    assert not torch.equal(before.model.post_id, before.blind.post_id)
    assert start.lineage == Lineage(1, 0.0, "20260101-a")
    assert start.name == "20260101-a"


def test_what_changed_adds_up_until_a_training_from_scratch() -> None:
    store = MemoryObjectStore()
    a_night(store, past=Lineage(3, MAX_CHANGED - 0.01, "x"))
    assert chosen(store).lineage.nights == 4
    a_night(store, "20260102-b", past=Lineage(3, MAX_CHANGED + 0.01, "x"))
    start = chosen(store)
    assert (start.blind, start.kept, start.lineage) == (None, None, Lineage())
    assert start.reason == "11.0% of the pairs changed since the last training from scratch"


def test_much_that_changed_since_the_last_night_is_learned_from_scratch() -> None:
    store = MemoryObjectStore()
    graph = a_night(store)
    many = replace(graph.tensors, interactions=graph.tensors.interactions.take(np.arange(60) % 5 > 0))
    start = choose_start(store, SETTINGS, a_graph(many), a_cut(graph))
    assert start.blind is None
    assert "of the pairs changed" in start.reason


def test_after_so_many_nights_in_a_row_comes_one_from_scratch() -> None:
    store = MemoryObjectStore()
    a_night(store, past=Lineage(MAX_NIGHTS, 0.0, "x"))
    assert chosen(store).reason == f"{MAX_NIGHTS} nights in a row were continued"
    assert chosen(store).lineage.nights == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dim": 16}, "settings differ from the last checkpoint's: dim"),
        ({"layers": 3}, "settings differ from the last checkpoint's: layers"),
        ({"continue_": "never"}, "WAYPOST_TRAINER_CONTINUE is never"),
    ],
)
def test_another_model_is_trained_from_scratch(change: dict[str, object], reason: str) -> None:
    store = MemoryObjectStore()
    a_night(store)
    assert chosen(store, SETTINGS.model_copy(update=change)).reason == reason


def test_settings_that_change_no_feature_do_not_stop_it() -> None:
    store = MemoryObjectStore()
    a_night(store)
    assert chosen(store, SETTINGS.model_copy(update={"seed": 9, "epochs": 3, "connections": 5})).blind is not None


def test_weights_that_have_learned_some_of_tonights_holdout_are_no_start() -> None:
    store = MemoryObjectStore()
    graph = a_night(store)
    cut = a_cut(graph)
    assert cut.temporal
    earlier, later = (replace(cut, boundary=cut.boundary + step) for step in (-1, 1))
    assert chosen(store, cut=later).blind is not None
    assert chosen(store, cut=earlier).reason == "the last checkpoint has learned some of tonight's holdout"


@pytest.mark.parametrize("changed", [{"holdout_share": 0.3}, {"seed": 5}])
def test_without_times_another_hash_is_another_holdout(changed: dict[str, object]) -> None:
    store = MemoryObjectStore()
    graph = a_night(store)
    untimed = replace(a_cut(graph), temporal=False, boundary=0)
    facts = history_facts(SETTINGS, untimed, Start(None, None, Lineage(), ""))
    a_night(store, "20260102-b", **facts)
    assert chosen(store, cut=untimed).blind is not None
    assert chosen(store, cut=a_cut(graph)).reason == "the holdout is cut in another way than the last checkpoint's"
    other = chosen(store, SETTINGS.model_copy(update=changed), untimed)
    assert other.reason == "the holdout is cut in another way than the last checkpoint's"


def test_a_refresh_is_no_night_its_weights_are_those_of_the_night_it_comes_from() -> None:
    store = MemoryObjectStore()
    a_night(store)
    a_night(store, "20260102-b-refresh", refreshed_from="20260101-a")
    assert chosen(store).name == "20260101-a"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"code_version": "0.0.1"}, "another version of Waypost trained the last checkpoint"),
        ({"lineage": None}, f"{MAX_NIGHTS} nights in a row were continued"),
        ({"fingerprint": "gone"}, "the last checkpoint's graph is no longer kept"),
        ({"settings_that_matter": {}}, "settings differ from the last checkpoint's"),
    ],
)
def test_a_checkpoint_that_does_not_say_what_it_is_is_no_start(changes: dict[str, Any], reason: str) -> None:
    store = MemoryObjectStore()
    a_night(store, **changes)
    assert chosen(store).reason.startswith(reason)


def test_the_first_night_and_one_after_a_damaged_checkpoint_begin_from_scratch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryObjectStore()
    assert chosen(store).reason == "there is no checkpoint"
    a_night(store)
    found = store.get("checkpoints/20260101-a/blind.safetensors")
    assert found is not None
    store.put_if("checkpoints/20260101-a/blind.safetensors", found.body[:-1], found.etag)
    assert chosen(store).reason == "the last checkpoint cannot be read"
    assert "checkpoint refused as a start" in [record.getMessage() for record in caplog.records]


# --- no worse

TASTES, NUM_USERS, NUM_POSTS, NUM_PAIRS = 6, 300, 240, 7_000
TRAINED = TrainerSettings(dim=16, layers=2, threads=1, epochs=60, holdout_share=0.1)


def a_world(num_pairs: int, num_posts: int = NUM_POSTS, seed: int = 3) -> GraphTensors:
    """Users of six tastes, each reading the popular posts of his; pair by pair in time, so that a smaller world is the
    same one some time ago. Each post carries its taste's tag."""
    choose = np.random.default_rng(seed)
    user = choose.integers(0, NUM_USERS, 2 * NUM_PAIRS)
    rank = (choose.random(2 * NUM_PAIRS) ** 2 * NUM_POSTS / TASTES).astype(np.int64)
    stray = choose.random(2 * NUM_PAIRS) < 0.2
    post = rank * TASTES + np.where(stray, choose.integers(0, TASTES, 2 * NUM_PAIRS), user % TASTES)
    there = np.flatnonzero(post < num_posts)[:num_pairs]
    order = there[np.lexsort((post[there], user[there]))]
    return some_tensors(
        num_users=NUM_USERS,
        num_posts=num_posts,
        num_tags=TASTES,
        post_tags=csr_from_pairs(np.arange(num_posts), np.arange(num_posts) % TASTES, num_posts),
        interactions=Interactions(
            user[order].astype(np.int32), post[order].astype(np.int32), np.zeros(len(order), np.uint8), order * 10**6
        ),
    )


def test_a_night_continued_from_a_checkpoint_is_no_worse_than_one_from_scratch() -> None:
    """Tonight there are 1 % more pairs and two more posts; judged on tonight's holdout, user by user."""
    torch.set_num_threads(1)
    before, now = a_world(NUM_PAIRS - NUM_PAIRS // 100, NUM_POSTS - 2), a_world(NUM_PAIRS)
    yesterday, tonight = (split(each, TRAINED.holdout_share, 1) for each in (before, now))
    assert yesterday.boundary <= tonight.boundary
    assert 0 < changed_share(before, now) < 0.03
    blind = fit(before, yesterday.train, TRAINED, seed=1)
    start = mapped(blind, TokenizedGraph(before, "{}"), TokenizedGraph(now, "{}"))
    continued = fit_with_curve(now, tonight.train, TRAINED, seed=2, init=copy.deepcopy(start))
    scratch = fit_with_curve(now, tonight.train, TRAINED, seed=2)
    assert continued.curve[-1].step < 0.5 * scratch.curve[-1].step
    seen = csr_from_pairs(tonight.seen.user, tonight.seen.post, NUM_USERS)
    test = csr_from_pairs(tonight.holdout_user, tonight.holdout_post, NUM_USERS)
    users = choose_users(test, NUM_USERS, seed=0)
    ndcg = {}
    for name, model in (("continued", continued.model), ("scratch", scratch.model), ("yesterday's", start)):
        tables = to_serving_tables(model, now, tonight.train)
        lists = rank_posts(lambda batch, tables=tables: score_users(tables, batch), users, seen, 20)  # type: ignore[misc]
        ndcg[name] = score_lists(lists, users, test).ndcg
    difference = ndcg["continued"] - ndcg["scratch"]
    print(
        f"NDCG@20 of {len(users)} users: { ({name: round(float(found.mean()), 4) for name, found in ndcg.items()}) }, "
        f"continued - scratch {difference.mean():+.4f} ± {interval_95(difference):.4f}, "
        f"{continued.curve[-1].step} steps against {scratch.curve[-1].step}"
    )
    assert difference.mean() + interval_95(difference) >= 0
    assert ndcg["scratch"].mean() > 0.05

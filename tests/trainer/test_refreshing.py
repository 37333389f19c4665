"""A refresh on a real Postgres: it makes what the encoder says offline, and nothing it does hurts what is served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import psycopg2
import pytest
import torch
from numpy.typing import NDArray

from tests.exporter.killing import Killed, KillingStore, When
from waypost.clock import SystemClock
from waypost.errors import DataContractRefused, GateRefused, NoRelease, Superseded
from waypost.exporter import publishing
from waypost.exporter.building import SHOWN_SCORES, BuiltRelease, build_release
from waypost.exporter.publishing import prepare, publish_and_point
from waypost.exporter.run import read_graph_of, require_served
from waypost.graph.mapping import DEFAULT
from waypost.graph.postgres import SessionLimits
from waypost.graph.reading import read_graph
from waypost.graph.tensors import GraphTensors, Int32Array, csr_from_pairs
from waypost.metrics import TrainerMetrics
from waypost.model.checkpoint import (
    WholeCheckpoint,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    load_whole_checkpoint,
    remove_checkpoint,
    save_checkpoint,
)
from waypost.model.evaluation import rank_posts
from waypost.model.features import VOCABULARY_SIZE, encode_texts
from waypost.model.graphsage import GraphSAGE
from waypost.model.kinds import taught
from waypost.model.nodes import nodes_of
from waypost.model.serving import ServingTables, score_users
from waypost.model.tables import to_serving_tables
from waypost.model.tokens import tokenized
from waypost.objects.memory import MemoryObjectStore
from waypost.objects.protocols import ObjectStore
from waypost.release.moves import pin, roll_back
from waypost.release.pointer import read_pointer
from waypost.release.signing import NO_KEYS
from waypost.release.store import load_release
from waypost.release.versions import claim_version
from waypost.settings import TrainerSettings
from waypost.trainer.contract import require_contract
from waypost.trainer.fit import fit
from waypost.trainer.reading import read_patiently
from waypost.trainer.refreshing import KEPT_REFRESHES, REFRESHED_FROM, Refreshed, refresh

Execute = Callable[[str], None]

SETTINGS = TrainerSettings(dim=8, layers=2, threads=1, epochs=30)
USERS, POSTS = 60, 40
TASTES = ("snow skiing alps winter", "beach surfing lagoon summer")
# Even users read even posts, and posts of the other half now and then; a post has its half's tag and words.
WORLD = f"""
    INSERT INTO users (user_id) SELECT 10 * u FROM generate_series(0, {USERS - 1}) u;
    INSERT INTO tags (tag_id, name) VALUES (1, 'snow'), (2, 'beach');
    INSERT INTO posts (post_id, author_id, created_at, title)
        SELECT 100 + p, NULL, '2025-01-01'::timestamptz + p * interval '1 hour',
            CASE p % 2 WHEN 0 THEN '{TASTES[0]}' ELSE '{TASTES[1]}' END || ' ' || p
        FROM generate_series(0, {POSTS - 1}) p;
    INSERT INTO post_tags (post_id, tag_id) SELECT 100 + p, 1 + p % 2 FROM generate_series(0, {POSTS - 1}) p;
    INSERT INTO interactions (user_id, post_id, kind, created_at)
        SELECT 10 * u, 100 + (u * 7 + i * (2 + u % 3 * 2)) % {POSTS}, 'view',
            '2025-02-01'::timestamptz + (u + i * 61) * interval '10 minutes'
        FROM generate_series(0, {USERS - 1}) u, generate_series(0, 9) i;
"""
NEW_POSTS = f"""
    INSERT INTO posts (post_id, created_at, title) VALUES
        (-7, '2025-02-10', '{TASTES[0]} new'), (5000, '2025-02-10', '{TASTES[1]} new');
    INSERT INTO post_tags (post_id, tag_id) VALUES (-7, 1), (5000, 2);
    INSERT INTO users (user_id) VALUES (-3);
    INSERT INTO interactions (user_id, post_id, kind, created_at) VALUES
        (-3, 100, 'view', '2025-02-10'), (0, 102, 'view', '2025-02-10'), (20, -7, 'view', '2025-02-10');
    UPDATE posts SET title = 'another title' WHERE post_id = 139;
    DELETE FROM posts WHERE post_id = 138;
"""


@pytest.fixture
def execute(postgres_dsn: str) -> Iterator[Execute]:
    with closing(psycopg2.connect(postgres_dsn)) as connection:
        connection.autocommit = True

        def run(sql: str) -> None:
            with connection.cursor() as cursor:
                cursor.execute(sql)

        yield run


@dataclass
class Stand:
    """A night was kept and published; the graph has changed since."""

    store: MemoryObjectStore
    dsn: str
    execute: Execute
    trained: str  # the night's checkpoint
    release: str

    def refresh(self, store: ObjectStore | None = None, settings: TrainerSettings = SETTINGS) -> Refreshed | None:
        return refresh(store or self.store, self.dsn, settings, DEFAULT, SystemClock())

    def copy(self) -> MemoryObjectStore:
        other = MemoryObjectStore()
        for info in self.store.list(""):
            found = self.store.get(info.key)
            assert found is not None
            other.put_new(info.key, found.body)
        return other


@pytest.fixture
def stand(execute: Execute, postgres_dsn: str) -> Stand:
    torch.set_num_threads(1)
    execute(WORLD)
    store = MemoryObjectStore()
    trained = keep_night(store, postgres_dsn)
    release = export(store, trained).name
    execute(NEW_POSTS)
    return Stand(store, postgres_dsn, execute, trained, release)


_weights: dict[str, tuple[GraphSAGE, GraphSAGE]] = {}  # the same world is trained on once


def trained_on(fingerprint: str, tensors: GraphTensors) -> tuple[GraphSAGE, GraphSAGE]:
    half = tensors.interactions.take(np.arange(len(tensors.interactions)) % 2 == 0)
    found = fit(tensors, taught(tensors), SETTINGS, seed=1), fit(tensors, half, SETTINGS, seed=1)
    _weights[fingerprint] = found
    return found


def keep_night(store: ObjectStore, dsn: str) -> str:
    """A night without judgement: half the interactions make the blind weights."""
    read = read_patiently(dsn, store, DEFAULT, SETTINGS)
    graph = tokenized(store, read.fingerprint, read.tensors)
    model, blind = _weights.get(read.fingerprint) or trained_on(read.fingerprint, graph.tensors)
    metadata = {
        "fingerprint": read.fingerprint,
        "scores": dict.fromkeys(SHOWN_SCORES, 0.25),
        "git_commit": "unknown",
    }
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-night"
    save_checkpoint(store, name, WholeCheckpoint(model, metadata, blind, nodes_of(graph.tensors), graph.tokenizer))
    return name


def export(store: ObjectStore, checkpoint: str, instead_of: str | None = None) -> BuiltRelease:
    """The exporter's way without the proof on a Triton."""
    clock = SystemClock()
    held = prepare(store, clock)
    require_served(held, instead_of)
    trained = load_checkpoint(store, checkpoint)
    graph = read_graph_of(store, trained)
    built = build_release(claim_version(store, held, "test", clock), checkpoint, trained, graph, "26.07")
    publish_and_point(store, held, built, None, "test", clock)
    return built


def tables_of(store: ObjectStore, checkpoint: str) -> ServingTables:
    """As an exporter makes them."""
    tensors = graph_of(store, checkpoint)
    return to_serving_tables(load_checkpoint(store, checkpoint).model, tensors, taught(tensors))


def graph_of(store: ObjectStore, checkpoint: str) -> GraphTensors:
    return read_graph_of(store, load_checkpoint(store, checkpoint)).tensors


def made(found: Refreshed | None) -> str:
    assert found is not None
    return found.checkpoint


def served(store: ObjectStore) -> str:
    """The release that a worker would load, verified."""
    held = read_pointer(store)
    assert held is not None
    load_release(store, held.pointer.release, NO_KEYS, version=held.pointer.version)
    return held.pointer.release


def test_refreshed_vectors_are_the_encoders_offline_on_the_new_graph(stand: Stand) -> None:
    """The same, row by row in plain Python, from another reading of the same database and texts encoded anew."""
    name = made(stand.refresh())
    night = load_whole_checkpoint(stand.store, stand.trained)
    read = read_graph(stand.dsn, MemoryObjectStore(), DEFAULT, SessionLimits(2, 1, 60))
    tensors = replace(read.tensors, post_tokens=encode_texts(night.tokenizer, read.tensors.post_texts))
    for of in ("model", "blind"):
        weights = getattr(night, of)
        told = GraphSAGE(
            tensors.num_users, tensors.num_posts, tensors.num_tags, VOCABULARY_SIZE, SETTINGS.dim, SETTINGS.layers
        )
        state = dict(weights.state_dict())
        for table, before, now in (
            ("user_id", night.nodes.users, tensors.user_ids),
            ("post_id", night.nodes.posts, tensors.post_ids),
            ("tag", night.nodes.tags, tensors.tag_ids),
        ):
            rows = {int(key): row for row, key in enumerate(before)}
            nothing = torch.zeros(SETTINGS.dim)
            state[table] = torch.stack([state[table][rows[key]] if key in rows else nothing for key in now.tolist()])
        told.load_state_dict(state)
        expected = to_serving_tables(told, tensors, taught(tensors))
        kept = getattr(load_whole_checkpoint(stand.store, name), of)
        found = to_serving_tables(kept, graph_of(stand.store, name), taught(tensors))
        for table, value in vars(expected).items():
            assert np.array_equal(getattr(found, table), value), (of, table)


def test_new_posts_are_told_by_their_content_and_can_be_recommended(stand: Stand) -> None:
    name = made(stand.refresh())
    tables, tensors = tables_of(stand.store, name), graph_of(stand.store, name)
    snow, beach = (int(np.searchsorted(tensors.post_ids, key)) for key in (-7, 5000))
    assert np.abs(tables.post_vector[[snow, beach], :-1]).sum(1).min() > 0.1
    users = np.flatnonzero(tables.user_state_count > 0).astype(np.int32)
    scores = score_users(tables, users)
    likes_snow = likes(tensors, users)
    right = (scores[:, snow] > scores[:, beach]) == likes_snow
    assert right.mean() > 0.9
    release = export(stand.store, name)
    assert release.facts["sizes"]["posts"] == POSTS + 2 - 1
    seen = csr_from_pairs(tensors.interactions.user, tensors.interactions.post, tensors.num_users)
    lists = rank_posts(lambda batch: score_users(tables, batch), users, seen, 15)  # about the unread ones of one's half
    assert (lists[likes_snow] == snow).any(1).mean() > 0.5
    assert (lists[~likes_snow] == beach).any(1).mean() > 0.5


def likes(tensors: GraphTensors, users: Int32Array) -> NDArray[np.bool_]:
    """Whether most of what each user has read is about snow."""
    found = tensors.interactions
    tagged = np.array([1 in tensors.tag_ids[tensors.post_tags.row(post)] for post in range(tensors.num_posts)])
    return np.array([tagged[found.post[found.user == user]].mean() > 0.5 for user in users.tolist()])


def test_the_refreshed_release_is_served_and_says_where_its_weights_are_from(stand: Stand) -> None:
    found = stand.refresh()
    assert found is not None
    release = export(stand.store, found.checkpoint, found.release)
    assert served(stand.store) == release.name
    assert release.facts[REFRESHED_FROM] == stand.trained
    metadata = load_checkpoint(stand.store, found.checkpoint).metadata
    assert metadata[REFRESHED_FROM] == stand.trained
    assert metadata["scores"] == load_checkpoint(stand.store, stand.trained).metadata["scores"]
    assert "those of the night" in metadata["note"]
    assert latest_checkpoint(stand.store) == found.checkpoint


def test_nothing_new_is_said_and_nothing_is_kept(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    found = stand.refresh()
    export(stand.store, made(found))
    before = [info.key for info in stand.store.list("")]
    caplog.set_level("INFO")
    assert stand.refresh() is None
    assert "nothing new since the served release" in [record.getMessage() for record in caplog.records]
    assert [info.key for info in stand.store.list("")] == before


def test_a_pinned_release_is_not_refreshed(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    pin(stand.store, None, "why", "me", SystemClock())
    before = list_checkpoints(stand.store)
    assert stand.refresh() is None
    assert "pinned: not refreshed" in [record.getMessage() for record in caplog.records]
    assert list_checkpoints(stand.store) == before


def test_a_second_refresh_starts_from_the_nights_own_weights(stand: Stand) -> None:
    """A post that was away for one refresh has its row again."""
    stand.execute("CREATE TABLE kept AS SELECT * FROM posts WHERE post_id = 110; DELETE FROM posts WHERE post_id = 110")
    first = made(stand.refresh())
    export(stand.store, first)
    stand.execute("INSERT INTO posts SELECT * FROM kept")
    second = made(stand.refresh())
    night, back = (load_whole_checkpoint(stand.store, name) for name in (stand.trained, second))
    assert isinstance(back.nodes.posts, np.ndarray)
    assert isinstance(night.nodes.posts, np.ndarray)
    then, now = np.searchsorted(night.nodes.posts, 110), np.searchsorted(back.nodes.posts, 110)
    assert night.model.post_id[then].any()
    assert torch.equal(back.model.post_id[now], night.model.post_id[then])
    assert back.metadata[REFRESHED_FROM] == stand.trained


def test_checkpoints_of_refreshes_do_not_pile_up_and_the_served_ones_stays(stand: Stand) -> None:
    first = stand.refresh()
    export(stand.store, made(first))
    for post in range(KEPT_REFRESHES + 1):
        stand.execute(f"INSERT INTO posts (post_id, title) VALUES ({9000 + post}, 'more')")
        stand.refresh()
    found = list_checkpoints(stand.store)
    assert {made(first), stand.trained} < set(found)
    assert len(found) == KEPT_REFRESHES + 2
    tokens = [info.key for info in stand.store.list("tensors/") if info.key.endswith("/tokens/manifest.json")]
    assert len(tokens) == len(found)
    for name in found:
        graph_of(stand.store, name)


@pytest.mark.parametrize("gone", ["checkpoint", "format"])
def test_a_release_whose_weights_are_gone_or_older_is_not_refreshed(stand: Stand, gone: str) -> None:
    if gone == "checkpoint":
        remove_checkpoint(stand.store, stand.trained)
    else:
        found = stand.store.get(f"checkpoints/{stand.trained}/manifest.json")
        assert found is not None
        old = found.body.replace(b'"format": 2', b'"format": 1')
        stand.store.put_if(f"checkpoints/{stand.trained}/manifest.json", old, found.etag)
    with pytest.raises(NoRelease, match=r"cannot be refreshed: .*; run `waypost night`"):
        stand.refresh()
    assert served(stand.store) == stand.release


def test_without_a_release_there_is_nothing_to_refresh(postgres_dsn: str) -> None:
    with pytest.raises(NoRelease, match="no release was ever published; run `waypost night` first"):
        refresh(MemoryObjectStore(), postgres_dsn, SETTINGS, DEFAULT, SystemClock())


def test_a_graph_that_breaks_the_data_contract_is_not_published(stand: Stand) -> None:
    keep_report(stand)
    stand.execute("DELETE FROM interactions WHERE user_id > 10")
    with pytest.raises(DataContractRefused, match="fewer than"):
        stand.refresh()
    assert list_checkpoints(stand.store) == [stand.trained]


def keep_report(stand: Stand) -> None:
    """What the last night found."""
    read = read_patiently(stand.dsn, stand.store, DEFAULT, SETTINGS)
    require_contract(stand.store, read, SETTINGS, TrainerMetrics())


def test_vectors_that_are_not_sane_are_not_published(stand: Stand) -> None:
    night = load_whole_checkpoint(stand.store, stand.trained)
    with torch.no_grad():
        night.model.everyone.fill_(float("nan"))
    remove_checkpoint(stand.store, stand.trained)
    save_checkpoint(stand.store, stand.trained, night)
    with pytest.raises(GateRefused, match="NaN"):
        stand.refresh()
    assert list_checkpoints(stand.store) == [stand.trained]


class TestWhoWins:
    def test_a_refresh_gives_way_to_a_night_that_was_published_meanwhile(self, stand: Stand) -> None:
        found = stand.refresh()
        assert found is not None
        night = export(stand.store, keep_night(stand.store, stand.dsn)).name
        with pytest.raises(Superseded, match="is served, and no longer"):
            export(stand.store, found.checkpoint, found.release)
        assert served(stand.store) == night

    def test_a_night_does_not_give_way_to_a_refresh_of_the_release_before(self, stand: Stand) -> None:
        night = self._published_while(stand, lambda: export(stand.store, made(stand.refresh())))
        assert served(stand.store) == night

    def test_a_night_gives_way_to_an_operator_whatever_a_refresh_did(self, stand: Stand) -> None:
        export(stand.store, made(stand.refresh()))
        stand.execute("INSERT INTO posts (post_id) VALUES (7777)")

        def roll_back_and_refresh() -> None:
            roll_back(stand.store, stand.release, "why", "me", SystemClock())
            export(stand.store, made(stand.refresh()))

        with pytest.raises(Superseded):
            self._published_while(stand, roll_back_and_refresh)
        with pytest.raises(Superseded):
            self._published_while(stand, lambda: roll_back(stand.store, stand.release, "why", "me", SystemClock()))

    def _published_while(self, stand: Stand, happens: Callable[[], object]) -> str:
        """A night reads the pointer, then this happens, then it publishes."""
        clock, night = SystemClock(), keep_night(stand.store, stand.dsn)
        held = prepare(stand.store, clock)
        trained = load_checkpoint(stand.store, night)
        graph = read_graph_of(stand.store, trained)
        built = build_release(claim_version(stand.store, held, "test", clock), night, trained, graph, "26.07")
        happens()
        publish_and_point(stand.store, held, built, None, "test", clock)
        return built.name


def refresh_and_export(store: ObjectStore, dsn: str) -> str:
    found = refresh(store, dsn, SETTINGS, DEFAULT, SystemClock())
    return export(store, made(found), found.release if found else None).name


@pytest.mark.parametrize("share", [0.05, 0.5, 0.75, 0.9, 1.0])
def test_killed_anywhere_the_served_release_stays_or_the_new_one_is_whole(stand: Stand, share: float) -> None:
    require_survived(stand, max(1, round(share * count_calls(stand))), "before")


@pytest.mark.faults
def test_killed_at_every_call_the_served_release_stays_or_the_new_one_is_whole(stand: Stand) -> None:
    calls = count_calls(stand)
    for point in range(1, calls + 1):
        require_survived(stand, point, "before")
        require_survived(stand, point, "after")
    print(f"{2 * calls} points of being killed, each survived")


def count_calls(stand: Stand) -> int:
    counting = KillingStore(stand.copy())
    refresh_and_export(counting, stand.dsn)
    return len(counting.calls)


def require_survived(stand: Stand, point: int, when: When) -> None:
    store = stand.copy()
    with pytest.raises(Killed):
        refresh_and_export(KillingStore(store, point, when), stand.dsn)
    if served(store) == stand.release:
        assert refresh_and_export(store, stand.dsn) == served(store)
    else:
        assert refresh(store, stand.dsn, SETTINGS, DEFAULT, SystemClock()) is None


def test_the_exporter_and_the_refresh_call_the_fact_by_one_name() -> None:
    assert publishing.REFRESHED_FROM == REFRESHED_FROM

"""States in the store: kept while training goes on, found again by the same run only, and gone when the night is."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.exporter.killing import Killed
from tests.exporter.test_run import a_state
from tests.factories import some_tensors
from tests.trainer import dying_training
from tests.trainer.test_loop import a_loss, assert_equal, falling
from tests.trainer.test_loop import a_state as a_state_of_training
from waypost.clock import ManualClock
from waypost.errors import StoreUnavailable
from waypost.graph.mapping import DEFAULT
from waypost.graph.store import Night, save_base
from waypost.graph.texts import to_texts
from waypost.model.graphsage import GraphSAGE
from waypost.model.tokens import tokenized
from waypost.objects.memory import MemoryObjectStore
from waypost.objects.protocols import ObjectStore
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.settings import AwsAccess, TrainerSettings
from waypost.trainer.loop import TrainingState, train
from waypost.trainer.resuming import EVERY_SECONDS, STRAY_SECONDS, NightProgress, facts_of
from waypost.trainer.unfinished import RESUMABLE_SECONDS, read_unfinished

STEPS = 40
STEP_SECONDS = 10.0  # by the clock of these tests: a state every three steps
SETTINGS = TrainerSettings(dim=8, layers=2)


def a_night(store: ObjectStore, clock: ManualClock | None = None, **facts: str) -> NightProgress:
    return NightProgress(store, {"fingerprint": "f", **facts}, clock or ManualClock())


def train_until(
    store: ObjectStore, last: int, clock: ManualClock | None = None, phase: str = "blind", **facts: str
) -> TrainingState:
    """The state when the training was killed in the step after `last`."""
    clock, state = clock or ManualClock(), a_state_of_training()
    keeper = a_night(store, clock, **facts).phase(phase)

    def ticking(model: GraphSAGE, step: int, generator: torch.Generator) -> Tensor:
        keeper._wait()  # every write ends before the next step, so that the test knows what was kept
        clock.sleep(STEP_SECONDS)
        if step == last:
            raise Killed
        return a_loss(model, step, generator)

    with suppress(Killed):
        train(state, ticking, falling, STEPS, keeper)
    keeper._wait()
    return state


def undisturbed() -> TrainingState:
    state = a_state_of_training()
    train(state, a_loss, falling, STEPS)
    return state


def steps_in(store: ObjectStore) -> list[int]:
    """Of the whole states."""
    keys = [info.key for info in store.list("progress/") if info.key.endswith("manifest.json")]
    return sorted({int(key.split("/")[2]) for key in keys})


def first_step(store: ObjectStore, phase: str = "blind", **facts: str) -> int:
    """Where a training that is started now begins."""
    state = a_state_of_training()
    a_night(store, None, **facts).phase(phase).restore(state)
    return state.step


def damage(store: ObjectStore, step: int, file: str) -> None:
    [key] = [info.key for info in store.list("progress/") if info.key.endswith(f"{step:09d}/{file}")]
    whole = store.get(key)
    assert whole is not None
    assert store.put_if(key, whole.body[: len(whole.body) // 2], whole.etag)


def test_a_killed_training_loses_at_most_the_time_between_states_and_ends_the_same(object_store: ObjectStore) -> None:
    for last in (8, 17, 23):
        state = train_until(object_store, last)
        assert state.step == last
        lost = (last - first_step(object_store)) * STEP_SECONDS
        assert lost <= EVERY_SECONDS
    resumed = train_until(object_store, STEPS)
    assert_equal(resumed, undisturbed())


def test_the_two_newest_states_stay_until_the_night_is_over(object_store: ObjectStore) -> None:
    train_until(object_store, 29)
    assert steps_in(object_store) == [24, 27]
    clock = ManualClock()
    state, night = a_state_of_training(), a_night(object_store, clock)
    train(state, a_loss, falling, STEPS, night.phase("blind"))
    night.phase("holdout")
    night.forget()
    assert list(object_store.list("progress/")) == []


def test_a_finished_training_is_not_done_again(object_store: ObjectStore) -> None:
    train_until(object_store, STEPS)
    assert first_step(object_store) == STEPS
    assert_equal(train_until(object_store, 0), undisturbed())


def test_the_clock_decides_when_a_state_is_kept_and_nothing_else() -> None:
    store, clock = MemoryObjectStore(), ManualClock()
    state = a_state_of_training()
    train(state, a_loss, falling, STEPS, a_night(store, clock).phase("blind"))
    assert_equal(state, undisturbed())
    a_night(store).forget()
    slow = train_until(MemoryObjectStore(), STEPS, clock)
    assert_equal(slow, undisturbed())


@pytest.mark.parametrize("file", ["weights.safetensors", "moments.safetensors", "manifest.json"])
def test_a_damaged_state_is_refused_and_the_one_before_is_used(
    object_store: ObjectStore, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    train_until(object_store, 29)
    damage(object_store, 27, file)
    assert first_step(object_store) == 24
    assert [record.getMessage() for record in caplog.records] == ["kept training state refused"]
    assert_equal(train_until(object_store, STEPS), undisturbed())


def test_with_every_state_damaged_training_starts_anew(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryObjectStore()
    train_until(store, 29)
    for step in steps_in(store):
        damage(store, step, "moments.safetensors")
    assert_equal(train_until(store, STEPS), undisturbed())
    assert [record.getMessage() for record in caplog.records].count("kept training state refused") == 2


def test_half_a_state_is_none() -> None:
    store = MemoryObjectStore()
    train_until(store, 29)
    store.delete([info.key for info in store.list("progress/") if info.key.endswith("27/manifest.json")])
    assert first_step(store) == 24


@pytest.mark.parametrize("other", [{"fingerprint": "g"}, {"seed": "2"}, {"phase": "holdout"}])
def test_another_run_never_finds_it(other: dict[str, str]) -> None:
    store = MemoryObjectStore()
    train_until(store, 29)
    assert first_step(store) == 27
    assert first_step(store, **other) == 0


@pytest.mark.parametrize(
    "other",
    [{"seed": 2}, {"dim": 16}, {"layers": 1}, {"epochs": 3}, {"holdout_share": 0.2}, {"device": "cuda"}],
    ids=lambda other: next(iter(other)),
)
def test_a_run_with_another_setting_that_matters_is_another(other: dict[str, object]) -> None:
    assert facts_of("f", {}, SETTINGS.model_copy(update=other)) != facts_of("f", {}, SETTINGS)


def test_settings_around_the_training_do_not_matter() -> None:
    other = SETTINGS.model_copy(update={"metrics_port": 1, "contract": "report", "connections": 3, "holdout_users": 9})
    assert facts_of("f", {}, other) == facts_of("f", {}, SETTINGS)
    assert facts_of("f", {"boundary": 1}, SETTINGS) != facts_of("f", {"boundary": 2}, SETTINGS)


def test_strays_older_than_a_day_are_swept_and_younger_ones_are_not() -> None:
    store, now = MemoryObjectStore(), time.time()
    train_until(store, 29)
    NightProgress(store, {"fingerprint": "other"}, ManualClock(now + 0.9 * STRAY_SECONDS)).forget()
    assert steps_in(store) == [24, 27]
    NightProgress(store, {"fingerprint": "other"}, ManualClock(now + 1.1 * STRAY_SECONDS)).forget()
    assert list(store.list("progress/")) == []


class TestUnfinished:
    """A night that died goes on with the graph that it had read, although the app's is another one by now."""

    MAPPING = replace(DEFAULT, weights=(("view", 1.0),))

    def a_dead_night(self) -> tuple[MemoryObjectStore, NightProgress]:
        store, tensors = MemoryObjectStore(), some_tensors(post_texts=to_texts(["a beach"] * 30))
        save_base(store, Night("one", self.MAPPING, 18, 0.0, {}, ()), a_state(tensors), digests={})
        tokenized(store, "one", tensors)
        clock = ManualClock()
        night = NightProgress(store, facts_of("one", {"boundary": 1}, SETTINGS), clock)
        keeper, state = night.phase("blind"), a_state_of_training()
        for _ in range(7):
            clock.sleep(STEP_SECONDS)
            state.step += 1
            keeper.step_done(state)
            keeper._wait()
        assert steps_in(store) == [3, 6]
        return store, night

    def test_it_is_found_with_its_tokens(self) -> None:
        store, _ = self.a_dead_night()
        found = read_unfinished(store, self.MAPPING, SETTINGS, time.time())
        assert found is not None
        fingerprint, graph = found
        assert fingerprint == "one"
        assert len(graph.tensors.post_tokens.indices)

    def test_one_that_ended_is_not(self) -> None:
        store, night = self.a_dead_night()
        night.leave()
        assert read_unfinished(store, self.MAPPING, SETTINGS, time.time()) is None
        assert steps_in(store) == [3, 6]
        store, night = self.a_dead_night()
        night.forget()
        assert read_unfinished(store, self.MAPPING, SETTINGS, time.time()) is None

    def test_nor_is_one_of_another_kind_or_of_long_ago_or_whose_graph_is_gone(self) -> None:
        store, _ = self.a_dead_night()
        now = time.time()
        assert read_unfinished(store, self.MAPPING, SETTINGS.model_copy(update={"dim": 16}), now) is None
        assert read_unfinished(store, DEFAULT, SETTINGS, now) is None
        assert read_unfinished(store, self.MAPPING, SETTINGS, now + 2 * RESUMABLE_SECONDS) is None
        assert read_unfinished(store, self.MAPPING, SETTINGS, now) is not None
        store.delete([info.key for info in store.list("tensors/one/tokens/")])
        assert read_unfinished(store, self.MAPPING, SETTINGS, now) is None

    def test_a_damaged_mark_is_none(self) -> None:
        store, _ = self.a_dead_night()
        [key] = [info.key for info in store.list("progress/") if info.key.endswith("unfinished.json")]
        found = store.get(key)
        assert found is not None
        store.put_if(key, b"[]", found.etag)
        assert read_unfinished(store, self.MAPPING, SETTINGS, time.time()) is None


class FailingStore(MemoryObjectStore):
    def put_new(self, key: str, body: bytes) -> bool:
        raise StoreUnavailable("S3 is away")

    def delete(self, keys: Iterable[str]) -> None:
        raise StoreUnavailable("S3 is away")


def test_a_store_that_is_away_costs_a_warning_and_not_the_night(caplog: pytest.LogCaptureFixture) -> None:
    store = FailingStore()
    assert_equal(train_until(store, STEPS), undisturbed())
    a_night(store).forget()
    warned = {record.getMessage() for record in caplog.records if record.levelno == logging.WARNING}
    assert warned == {"training state not kept", "training states not removed"}


# --- real processes, really killed

SERVER = "tests.trainer.dying_training"
LONGEST_WAIT_SECONDS = 0.3


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that have imported torch already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([SERVER])
    return context


def kill_and_finish(
    processes: ForkServerContext, kills: int, store: S3ObjectStore, arguments: tuple[AwsAccess, str, Path], seed: int
) -> list[int]:
    """Kill the run at random moments, then let it end; returns the newest kept steps at those moments."""
    choose, found = np.random.default_rng(seed), []
    for _ in range(kills):
        process = processes.Process(target=dying_training.run, args=arguments)
        process.start()
        wait_for_a_new_state(store, process)
        time.sleep(choose.uniform(0, LONGEST_WAIT_SECONDS))
        process.kill()
        process.join()
        found.append(max(steps_in(store), default=0))
    run_to_the_end(processes, dying_training.run, *arguments)
    return found


def run_to_the_end(processes: ForkServerContext, run: Callable[..., None], *arguments: object) -> None:
    process = processes.Process(target=run, args=arguments)
    process.start()
    process.join(200)
    assert process.exitcode == 0


def wait_for_a_new_state(store: S3ObjectStore, process: BaseProcess) -> None:
    """Or for the end."""
    before, end = steps_in(store), time.monotonic() + 120
    while steps_in(store) == before and process.is_alive():
        assert time.monotonic() < end, "no state was kept"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("kills", "seed"), [(3, 0), *(pytest.param(20, seed, marks=pytest.mark.faults) for seed in range(1, 6))]
)
def test_a_process_that_is_killed_again_and_again_ends_with_the_same_model_bit_by_bit(
    kills: int, seed: int, processes: ForkServerContext, aws_access: AwsAccess, bucket: str, tmp_path: Path
) -> None:
    store, output = S3ObjectStore(s3_client(aws_access), bucket), tmp_path / "weights"
    found = kill_and_finish(processes, kills, store, (aws_access, bucket, output), seed)
    print(f"killed {len(found)} times, states kept then: steps {found}")
    run_to_the_end(processes, dying_training.run_undisturbed, tmp_path / "undisturbed")
    assert output.read_bytes() == (tmp_path / "undisturbed").read_bytes()
    assert list(store.list("progress/")) == []

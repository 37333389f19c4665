"""The worker's follower on a real Triton and a real S3: what it serves, and what it never serves."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.factories import a_release
from tests.triton_processes import send_to_stub_once_it_runs
from waypost.clock import ManualClock
from waypost.errors import StoreUnavailable, TritonUnavailable
from waypost.metrics import WorkerMetrics
from waypost.objects.protocols import StoredObject
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.questions import Question
from waypost.release.moves import roll_back
from waypost.release.pointer import POINTER_KEY, How, Target, move_pointer, read_pointer
from waypost.release.repository import remove_model
from waypost.release.signing import NO_KEYS
from waypost.release.store import publish
from waypost.release.triton import TritonModel
from waypost.release.versions import next_version
from waypost.settings import AwsAccess, EmbeddedStack
from waypost.stages import StageTimer
from waypost.worker import loads, watch
from waypost.worker.canary import CanaryLimits
from waypost.worker.follow import PROBE_VALID_SECONDS, REFUSED_RETRY_SECONDS, FollowerLimits, ReleaseFollower
from waypost.worker.pod import Installed, ModelFolder, TritonPod
from waypost.worker.restarter import NO_KEEPER, KeeperFolder
from waypost.worker.sources import ReleaseSources

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CLOCK = ManualClock()
AT_ONCE = FollowerLimits(CanaryLimits(share=0), hold_seconds=300)


class StoreThatGoesAway(S3ObjectStore):
    """A real S3 behind a switch."""

    away = False

    def __init__(self, client: S3Client, bucket: str) -> None:
        super().__init__(client, bucket)
        self.hanging = threading.Event()  # set: it answers
        self.hanging.set()

    def get(self, key: str) -> StoredObject | None:
        self.hanging.wait(timeout=30)
        if self.away:
            raise StoreUnavailable("away")
        return super().get(key)


@pytest.fixture
def store(aws_access: AwsAccess, bucket: str) -> StoreThatGoesAway:
    return StoreThatGoesAway(s3_client(aws_access), bucket)


@pytest.fixture
def triton(triton_stack: EmbeddedStack) -> Iterator[TritonModel]:
    model = TritonModel(triton_stack.triton_url, 5, 30)
    yield model
    with suppress(TritonUnavailable):  # a test that loaded nothing
        model.unload()
    model.close()
    remove_model(Path(triton_stack.triton_repository), model.name)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics() -> WorkerMetrics:
    return WorkerMetrics()


@pytest.fixture
def follower(
    store: StoreThatGoesAway,
    triton: TritonModel,
    triton_stack: EmbeddedStack,
    tmp_path: Path,
    clock: ManualClock,
    metrics: WorkerMetrics,
) -> ReleaseFollower:
    return a_follower(store, triton, triton_stack, tmp_path, clock, metrics=metrics)


def a_follower(
    store: StoreThatGoesAway,
    triton: TritonModel,
    stack: EmbeddedStack,
    kept: Path,
    clock: ManualClock,
    limits: FollowerLimits = AT_ONCE,
    metrics: WorkerMetrics | None = None,
) -> ReleaseFollower:
    folder = ModelFolder(Path(stack.triton_repository), "python", "cpu")
    pod = TritonPod(triton, folder, NO_KEEPER)
    sources = ReleaseSources(store, NO_KEYS, kept / "kept")
    return ReleaseFollower(sources, pod, clock, metrics or WorkerMetrics(), limits, "a pod")


def point_to(store: StoreThatGoesAway, name: str, version: int, how: How = "publish") -> None:
    move_pointer(store, read_pointer(store), Target(name, version, how, "test", "a test"), CLOCK)


def published(store: StoreThatGoesAway, seed: int = 0, break_file: str | None = None) -> int:
    """Publish a release and point to it; `break_file` is cut after publishing. Returns its version."""
    version = next_version(store, read_pointer(store))
    files, facts = a_release(version=version, seed=seed)
    name = f"{version}-{uuid.uuid4().hex[:6]}"
    publish(store, name, files, facts)
    if break_file:
        found = store.get(f"releases/{name}/{break_file}")
        assert found is not None
        store.put_if(f"releases/{name}/{break_file}", found.body[:-1], found.etag)
    point_to(store, name, version)
    return version


def answers(follower: ReleaseFollower, request_id: str = "a request") -> tuple[int | None, str]:
    """What the request loop does with one request."""
    ((answerer, _),) = follower.share_out([request_id])
    try:
        answer = answerer.answer([Question(50, k=3)], StageTimer())[0]
    except TritonUnavailable:
        follower.unanswered()
        raise
    return answer.model_version, answer.source


def test_before_the_first_release_nothing_is_served_and_nothing_breaks(follower: ReleaseFollower) -> None:
    follower.look()
    assert not follower.ready()
    with pytest.raises(TritonUnavailable, match="no release"):
        answers(follower)


def test_the_pointer_is_followed_forth_and_back(
    follower: ReleaseFollower, store: StoreThatGoesAway, metrics: WorkerMetrics
) -> None:
    assert published(store, seed=0) == 1
    follower.look()
    assert answers(follower) == (1, "graphsage")
    assert published(store, seed=1) == 2
    follower.look()
    follower.look()
    assert answers(follower) == (2, "graphsage")
    roll_back(store, None, "test", "a test", CLOCK)
    follower.look()
    follower.look()
    assert answers(follower) == (1, "graphsage")
    assert follower.ready()
    for to in ("first", "newer", "older"):
        assert metrics.registry.get_sample_value("waypost_worker_release_switches_total", {"to": to}) == 1, to


@pytest.mark.parametrize("path", ["model.onnx", "lookups.safetensors", "golden.json", "tokenizer.json", "popular.json"])
def test_a_truncated_release_is_never_served_and_the_old_one_goes_on(
    follower: ReleaseFollower, store: StoreThatGoesAway, path: str
) -> None:
    published(store)
    follower.look()
    published(store, seed=1, break_file=path)
    follower.look()
    follower.look()
    assert answers(follower) == (1, "graphsage")
    assert follower.ready()


def test_a_release_that_answers_wrongly_is_never_served(follower: ReleaseFollower, store: StoreThatGoesAway) -> None:
    published(store)
    follower.look()
    files, facts = a_release(version=2, seed=1)
    publish(store, "liar", {**files, "model.onnx": a_release(seed=2)[0]["model.onnx"]}, facts)
    point_to(store, "liar", 2)
    follower.look()
    follower.look()
    assert answers(follower) == (1, "graphsage")


def test_a_refused_release_is_tried_again_after_a_while(
    follower: ReleaseFollower, store: StoreThatGoesAway, clock: ManualClock
) -> None:
    published(store, break_file="golden.json")
    follower.look()
    held = read_pointer(store)
    assert held is not None
    key = f"releases/{held.pointer.release}/golden.json"
    found = store.get(key)
    assert found is not None
    store.put_if(key, a_release(version=1)[0]["golden.json"], found.etag)
    follower.look()
    assert follower.model_version is None
    clock.sleep(REFUSED_RETRY_SECONDS)
    follower.look()
    assert answers(follower) == (1, "graphsage")


def test_with_the_store_away_the_served_release_goes_on(follower: ReleaseFollower, store: StoreThatGoesAway) -> None:
    published(store)
    follower.look()
    store.away = True
    follower.look()
    assert follower.ready()
    assert answers(follower) == (1, "graphsage")


def test_a_start_without_the_store_serves_the_release_kept_on_disk(
    follower: ReleaseFollower,
    store: StoreThatGoesAway,
    triton: TritonModel,
    triton_stack: EmbeddedStack,
    tmp_path: Path,
    clock: ManualClock,
) -> None:
    published(store)
    follower.look()
    store.away = True
    again = a_follower(store, triton, triton_stack, tmp_path, clock)
    again.look()
    assert answers(again) == (1, "graphsage")


def test_a_start_with_a_damaged_release_in_the_store_serves_the_one_kept_on_disk(
    follower: ReleaseFollower,
    store: StoreThatGoesAway,
    triton: TritonModel,
    triton_stack: EmbeddedStack,
    tmp_path: Path,
    clock: ManualClock,
) -> None:
    published(store)
    follower.look()
    published(store, seed=1, break_file="model.onnx")
    again = a_follower(store, triton, triton_stack, tmp_path, clock)
    again.look()
    assert answers(again) == (1, "graphsage")


def test_a_manifest_without_a_version_is_refused_once_and_not_fetched_again(
    follower: ReleaseFollower, store: StoreThatGoesAway
) -> None:
    published(store)
    follower.look()
    publish(store, "odd", a_release(seed=1)[0], {})
    point_to(store, "odd", 2)
    follower.look()
    follower.look()
    assert answers(follower) == (1, "graphsage")


def test_a_kept_release_that_was_damaged_is_not_served(
    follower: ReleaseFollower,
    store: StoreThatGoesAway,
    triton: TritonModel,
    triton_stack: EmbeddedStack,
    tmp_path: Path,
    clock: ManualClock,
) -> None:
    published(store)
    follower.look()
    store.away = True
    (tmp_path / "kept" / "golden.json").write_bytes(b"{}")
    again = a_follower(store, triton, triton_stack, tmp_path, clock)
    again.look()
    assert again.model_version is None


def test_a_model_that_vanished_from_triton_is_loaded_again(
    follower: ReleaseFollower, store: StoreThatGoesAway, triton: TritonModel
) -> None:
    published(store)
    follower.look()
    triton.unload()
    with pytest.raises(TritonUnavailable):
        answers(follower)
    assert not follower.ready(), "after a failure no message is taken before a golden answer"
    follower.probe()
    follower.probe()
    assert follower.ready()
    assert answers(follower) == (1, "graphsage")


def test_a_stub_that_was_killed_is_noticed_and_started_again(
    follower: ReleaseFollower, store: StoreThatGoesAway, triton: TritonModel, triton_stack: EmbeddedStack
) -> None:
    """Triton itself goes on saying READY, and a load of the "loaded" model changes nothing."""
    published(store)
    follower.look()
    os.kill(stub_of(Path(triton_stack.triton_repository) / triton.name), signal.SIGKILL)
    with pytest.raises(TritonUnavailable):
        answers(follower)
    assert not follower.ready()
    follower.probe()
    assert follower.ready()
    assert answers(follower) == (1, "graphsage")


def stub_of(model: Path) -> int:
    """The pid of the python stub that runs this model."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                command = (process / "cmdline").read_bytes()
                if b"triton_python_backend_stub" in command and str(model).encode() in command:
                    return int(process.name)
    raise AssertionError(f"no stub runs {model}")


def test_readiness_is_a_right_answer_a_moment_ago(
    follower: ReleaseFollower,
    store: StoreThatGoesAway,
    triton: TritonModel,
    triton_stack: EmbeddedStack,
    clock: ManualClock,
) -> None:
    published(store)
    follower.look()
    assert follower.ready()
    clock.sleep(PROBE_VALID_SECONDS)
    assert not follower.ready()
    follower.probe()
    assert follower.ready()
    triton.unload()
    shutil.rmtree(Path(triton_stack.triton_repository) / triton.name)
    follower.probe()
    follower.probe()
    assert not follower.ready()


def test_a_store_that_hangs_does_not_cost_readiness(
    follower: ReleaseFollower, store: StoreThatGoesAway, clock: ManualClock
) -> None:
    published(store)
    follower.look()
    store.hanging.clear()
    looking = threading.Thread(target=follower.look)
    looking.start()
    clock.sleep(PROBE_VALID_SECONDS)
    follower.probe()
    assert follower.ready()
    assert answers(follower) == (1, "graphsage")
    store.hanging.set()
    looking.join(timeout=30)
    assert not looking.is_alive()


@pytest.fixture
def trying(
    store: StoreThatGoesAway, triton: TritonModel, triton_stack: EmbeddedStack, tmp_path: Path, clock: ManualClock
) -> ReleaseFollower:
    """A follower that tries a new release on half of the requests for ten seconds."""
    limits = FollowerLimits(CanaryLimits(share=0.5, seconds=10, min_overlap=0), hold_seconds=60)
    return a_follower(store, triton, triton_stack, tmp_path, clock, limits)


def versions(follower: ReleaseFollower, count: int = 40) -> set[int | None]:
    """Who answers so many different requests."""
    return {answers(follower, f"request-{number}")[0] for number in range(count)}


def pointed_to(store: StoreThatGoesAway) -> tuple[int, How]:
    held = read_pointer(store)
    assert held is not None
    return held.pointer.version, held.pointer.how


def test_a_new_release_answers_its_share_and_then_all(
    trying: ReleaseFollower, store: StoreThatGoesAway, clock: ManualClock
) -> None:
    published(store)
    trying.look()
    assert versions(trying) == {1}, "the first release has nothing to be compared with"
    published(store, seed=1)
    trying.look()
    assert versions(trying) == {1, 2}
    assert versions(trying) == {1, 2}
    clock.sleep(10)
    trying.look()
    assert versions(trying) == {2}
    assert pointed_to(store) == (2, "publish")


def test_a_release_whose_lists_have_nothing_in_common_is_given_up_and_the_pointer_moved_back(
    store: StoreThatGoesAway, triton: TritonModel, triton_stack: EmbeddedStack, tmp_path: Path, clock: ManualClock
) -> None:
    limits = FollowerLimits(CanaryLimits(share=0.9, seconds=10, min_overlap=1), hold_seconds=60)
    follower = a_follower(store, triton, triton_stack, tmp_path, clock, limits)
    published(store)
    follower.look()
    published(store, seed=1)
    follower.look()
    for number in range(60):  # each asks for enough posts to be compared
        ((answerer, _),) = follower.share_out([f"request-{number}"])
        answerer.answer([Question(50, k=10)], StageTimer())
    follower.look()
    assert versions(follower) == {1}
    assert pointed_to(store) == (1, "retreat")
    follower.look()
    assert versions(follower) == {1}


def test_what_a_canary_cannot_answer_the_old_release_answers(
    trying: ReleaseFollower, store: StoreThatGoesAway, triton: TritonModel, triton_stack: EmbeddedStack
) -> None:
    published(store)
    trying.look()
    published(store, seed=1)
    trying.look()
    shutil.rmtree(Path(triton_stack.triton_repository) / triton.name / "2")
    triton.load()
    assert versions(trying) == {1}, "each request has an answer"
    trying.look()
    assert versions(trying) == {1}
    assert pointed_to(store) == (1, "retreat")


@pytest.mark.parametrize("how", ["rollback", "pin"])
def test_an_operators_move_is_no_trial(trying: ReleaseFollower, store: StoreThatGoesAway, how: How) -> None:
    published(store)
    trying.look()
    name = f"2-{uuid.uuid4().hex[:6]}"
    files, facts = a_release(version=2, seed=1)
    publish(store, name, files, facts)
    point_to(store, name, 2, how)
    trying.look()
    assert versions(trying) == {2}


def test_a_trial_ends_when_the_pointer_is_moved_back(trying: ReleaseFollower, store: StoreThatGoesAway) -> None:
    published(store)
    trying.look()
    published(store, seed=1)
    trying.look()
    roll_back(store, None, "test", "a test", CLOCK)
    trying.look()
    assert versions(trying) == {1}


def test_going_back_needs_no_store_but_the_pointer(
    follower: ReleaseFollower, store: StoreThatGoesAway, triton_stack: EmbeddedStack, triton: TritonModel
) -> None:
    """The release before is still loaded; its files are fetched afterwards, for the disk."""
    published(store)
    follower.look()
    published(store, seed=1)
    follower.look()
    loaded = Path(triton_stack.triton_repository) / triton.name
    before = (loaded / "1").stat().st_ino
    roll_back(store, None, "test", "a test", CLOCK)
    follower.look()
    assert answers(follower) == (1, "graphsage")
    assert (loaded / "1").stat().st_ino == before, "nothing was installed"
    store.away = True
    follower.look()
    assert follower.ready()


def test_the_release_before_is_unloaded_after_a_while(
    follower: ReleaseFollower,
    store: StoreThatGoesAway,
    triton_stack: EmbeddedStack,
    triton: TritonModel,
    clock: ManualClock,
) -> None:
    published(store)
    follower.look()
    published(store, seed=1)
    follower.look()
    loaded = Path(triton_stack.triton_repository) / triton.name
    assert {entry.name for entry in loaded.iterdir() if entry.is_dir()} == {"1", "2"}
    clock.sleep(AT_ONCE.hold_seconds)
    follower.look()
    assert {entry.name for entry in loaded.iterdir() if entry.is_dir()} == {"2"}
    assert answers(follower) == (2, "graphsage")


def test_a_fresh_pod_without_a_good_newest_release_serves_an_older_one(
    follower: ReleaseFollower,
    store: StoreThatGoesAway,
    triton: TritonModel,
    triton_stack: EmbeddedStack,
    tmp_path: Path,
    clock: ManualClock,
) -> None:
    """It has nothing on its disk: what was served before comes from the store."""
    published(store)
    follower.look()
    published(store, seed=1, break_file="model.onnx")
    fresh = a_follower(store, triton, triton_stack, tmp_path / "elsewhere", clock)
    fresh.look()
    assert answers(fresh) == (1, "graphsage")
    store.away = True
    again = a_follower(store, triton, triton_stack, tmp_path / "elsewhere", clock)
    again.look()
    assert answers(again) == (1, "graphsage"), "it is on its disk now"


def test_a_model_folder_that_was_lost_is_filled_again(
    follower: ReleaseFollower, store: StoreThatGoesAway, triton: TritonModel, triton_stack: EmbeddedStack
) -> None:
    published(store)
    follower.look()
    triton.unload()
    shutil.rmtree(Path(triton_stack.triton_repository) / triton.name)
    follower.probe()
    assert not follower.ready()
    follower.look()
    assert follower.ready()
    assert answers(follower) == (1, "graphsage")


def test_a_deleted_pointer_does_not_keep_a_pod_from_starting(
    follower: ReleaseFollower,
    store: StoreThatGoesAway,
    triton: TritonModel,
    triton_stack: EmbeddedStack,
    tmp_path: Path,
    clock: ManualClock,
) -> None:
    published(store)
    follower.look()
    store.delete([POINTER_KEY])
    again = a_follower(store, triton, triton_stack, tmp_path, clock)
    again.look()
    assert answers(again) == (1, "graphsage")


def test_an_operators_word_for_the_release_on_trial_ends_the_trial(
    trying: ReleaseFollower, store: StoreThatGoesAway
) -> None:
    published(store)
    trying.look()
    published(store, seed=1)
    trying.look()
    assert versions(trying) == {1, 2}
    held = read_pointer(store)
    assert held is not None
    point_to(store, held.pointer.release, 2, "pin")
    trying.look()
    assert versions(trying) == {2}


def test_a_verdict_is_not_forgotten_when_triton_fails_at_that_moment(
    trying: ReleaseFollower, store: StoreThatGoesAway, triton: TritonModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(store)
    trying.look()
    published(store, seed=1)
    trying.look()
    canary = trying._canary
    assert canary is not None
    for _ in range(3):
        canary.comparison.failed(1)
    with monkeypatch.context() as failing:
        failing.setattr(TritonPod, "keep_only", raising(TritonUnavailable("gone for a moment")))
        trying.look()
    trying.look()
    assert versions(trying) == {1}
    assert pointed_to(store) == (1, "retreat")


def test_what_nobody_foresaw_does_not_end_the_looking(
    follower: ReleaseFollower, store: StoreThatGoesAway, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(store)
    with monkeypatch.context() as failing:
        failing.setattr(ReleaseSources, "pointer", raising(UnicodeEncodeError("utf-8", "x", 0, 1, "a surrogate")))
        follower.look()
    follower.look()
    assert answers(follower) == (1, "graphsage")


def raising(error: Exception) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        raise error

    return fail


def test_a_pod_that_starts_during_a_trial_tries_the_new_release_too(
    trying: ReleaseFollower,
    store: StoreThatGoesAway,
    triton: TritonModel,
    triton_stack: EmbeddedStack,
    tmp_path: Path,
    clock: ManualClock,
) -> None:
    published(store)
    trying.look()
    published(store, seed=1)
    trying.look()
    limits = FollowerLimits(CanaryLimits(share=0.5, seconds=10, min_overlap=0), hold_seconds=60)
    again = a_follower(store, triton, triton_stack, tmp_path, clock, limits)
    again.look()
    assert versions(again) == {1, 2}


def test_a_dead_release_before_does_not_keep_a_rollback_from_it(
    follower: ReleaseFollower, store: StoreThatGoesAway, triton: TritonModel, triton_stack: EmbeddedStack
) -> None:
    published(store)
    follower.look()
    published(store, seed=1)
    follower.look()
    os.kill(stub_of(Path(triton_stack.triton_repository) / triton.name / "1"), signal.SIGKILL)
    roll_back(store, None, "test", "a test", CLOCK)
    follower.look()
    assert answers(follower) == (1, "graphsage")


def test_a_damaged_model_folder_is_written_again(
    follower: ReleaseFollower, store: StoreThatGoesAway, triton: TritonModel, triton_stack: EmbeddedStack
) -> None:
    published(store)
    follower.look()
    folder = Path(triton_stack.triton_repository) / triton.name
    triton.unload()
    (folder / "config.pbtxt").unlink()
    (folder / "1" / "model.onnx").write_bytes(b"cut")
    follower.probe()
    assert not follower.ready()
    follower.look()
    assert answers(follower) == (1, "graphsage")
    assert follower.ready()


class HangingPod(TritonPod):
    """Its load of version 2 hangs until it is let go or ended."""

    def __init__(self, triton: TritonModel, folder: ModelFolder) -> None:
        super().__init__(triton, folder, NO_KEEPER)
        self.hangs, self.go_on, self.ended = threading.Event(), threading.Event(), False

    def load(self, new: Installed, files: Mapping[str, bytes], keep: Sequence[Installed]) -> None:
        if new.version == 2:
            self.hangs.set()
            self.go_on.wait(60)
            if self.ended:
                raise TritonUnavailable("connection reset")
        super().load(new, files, keep)

    def end_load(self) -> None:
        self.ended = True
        self.go_on.set()


@pytest.fixture
def hanging(
    store: StoreThatGoesAway,
    triton: TritonModel,
    triton_stack: EmbeddedStack,
    tmp_path: Path,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[ReleaseFollower, HangingPod]:
    """A follower that serves release 1 and is about to take up release 2, whose load hangs."""
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(loads, "LEFT_PATIENCE_SECONDS", 0.1)
    pod = HangingPod(triton, ModelFolder(Path(triton_stack.triton_repository), "python", "cpu"))
    sources = ReleaseSources(store, NO_KEYS, tmp_path / "kept")
    follower = ReleaseFollower(sources, pod, clock, WorkerMetrics(), AT_ONCE, "a pod")
    published(store)
    follower.look()
    published(store, seed=1)
    return follower, pod


@contextmanager
def looking_at(follower: ReleaseFollower) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=follower.look)
    thread.start()
    yield thread
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_a_rollback_does_not_wait_for_a_load_that_hangs(
    hanging: tuple[ReleaseFollower, HangingPod], store: StoreThatGoesAway, triton: TritonModel
) -> None:
    follower, pod = hanging
    with looking_at(follower):
        pod.hangs.wait(60)
        roll_back(store, None, "test", "a test", CLOCK)
    assert answers(follower) == (1, "graphsage")
    follower.look()
    assert answers(follower) == (1, "graphsage"), "which is served already: nothing is ended for it"
    assert not pod.ended
    pod.go_on.set()
    while follower._loads.one_was_left:
        follower.look()
    with pytest.raises(TritonUnavailable):
        triton.infer(2, dict(golden_inputs(follower)))
    assert answers(follower) == (1, "graphsage")


def test_a_release_after_one_whose_load_hangs_does_not_wait_for_it(
    hanging: tuple[ReleaseFollower, HangingPod], store: StoreThatGoesAway
) -> None:
    follower, pod = hanging
    with looking_at(follower):
        pod.hangs.wait(60)
        assert published(store, seed=2) == 3
    follower.look()
    assert pod.ended
    assert answers(follower) == (3, "graphsage")


def golden_inputs(follower: ReleaseFollower) -> Mapping[str, Any]:
    served = follower._served
    assert served is not None
    return served.installed.golden.inputs


@pytest.mark.drill  # slow: Triton is restarted
def test_a_load_that_really_hangs_is_left_and_then_ended(
    store: StoreThatGoesAway, triton_stack: EmbeddedStack, tmp_path: Path, clock: ManualClock
) -> None:
    repository = Path(triton_stack.triton_repository)
    patient = TritonModel(triton_stack.triton_url, 5, 300)
    pod = TritonPod(patient, ModelFolder(repository, "python", "cpu"), KeeperFolder(repository))
    sources = ReleaseSources(store, NO_KEYS, tmp_path / "kept")
    follower = ReleaseFollower(sources, pod, clock, WorkerMetrics(), AT_ONCE, "a pod")
    published(store)
    follower.look()
    published(store, seed=1)
    folder, over = repository / patient.name, threading.Event()
    stopper = threading.Thread(target=send_to_stub_once_it_runs, args=(folder / "2", signal.SIGSTOP, over.is_set))
    stopper.start()
    try:
        with looking_at(follower):
            stopper.join(timeout=60)
            roll_back(store, None, "test", "a test", CLOCK)
        assert answers(follower) == (1, "graphsage")
        assert published(store, seed=2) == 3
        follower.look()
        assert answers(follower) == (3, "graphsage")
        assert {entry.name for entry in folder.iterdir() if entry.is_dir()} == {"1", "3"}
    finally:
        over.set()
        with suppress(TritonUnavailable):
            patient.unload(3)
        patient.close()
        remove_model(repository, patient.name)

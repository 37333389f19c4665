"""The pod's Triton made to obey, on the real embedded Triton: broken releases, hanging loads, dead and hung parts. The
slowest of these run with `make drill` alone."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.factories import a_release
from tests.triton_processes import find_stub, send_to_stub_once_it_runs, server_of, stub_of, wait_until_no_stub_runs
from waypost.errors import CorruptObject, TritonHung, TritonUnavailable
from waypost.release import golden, lookups
from waypost.release.repository import remove_model
from waypost.release.store import GOLDEN, LOOKUPS, MODEL
from waypost.release.triton import TritonModel
from waypost.settings import EmbeddedStack
from waypost.worker.pod import Installed, ModelFolder, TritonPod
from waypost.worker.restarter import NO_KEEPER, KeeperFolder

NAME = "pod_test"
LOAD_SECONDS = 4.0  # of patience with a load; one takes a second here
FILES = {version: a_release(version, seed=version)[0] for version in (1, 2, 3)}


def installed(version: int) -> Installed:
    files = FILES[version]
    asked = golden.from_bytes(files[GOLDEN])
    return Installed(f"release-{version}", version, lookups.from_bytes(files[LOOKUPS]).sizes, asked)


ONE, TWO, THREE = (installed(version) for version in (1, 2, 3))


@pytest.fixture(scope="module")
def repository(triton_stack: EmbeddedStack) -> Path:
    return Path(triton_stack.triton_repository)


@pytest.fixture(scope="module")
def model(triton_stack: EmbeddedStack, repository: Path) -> Iterator[TritonModel]:
    model = TritonModel(triton_stack.triton_url, 5, LOAD_SECONDS, NAME)
    yield model
    with suppress(TritonUnavailable):
        model.unload(3)
    model.close()
    remove_model(repository, NAME)


@pytest.fixture(scope="module")
def pod(model: TritonModel, repository: Path) -> TritonPod:
    return TritonPod(model, ModelFolder(repository, "python", "cpu"), KeeperFolder(repository))


@pytest.fixture
def folder(repository: Path) -> Path:
    return repository / NAME


@pytest.fixture
def serving(pod: TritonPod) -> TritonPod:
    """It serves release one and nothing else, as a test before may have left it."""
    try:
        pod.keep_only([ONE])
        pod.check(ONE)
    except TritonUnavailable:
        pod.load(ONE, FILES[1], [])
    return pod


def versions(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir() if entry.is_dir()}


@contextmanager
def stopped_once_it_runs(path: Path) -> Iterator[None]:
    """The stub of a version is stopped as soon as there is one, so that its load hangs."""
    wait_until_no_stub_runs(path)
    over = threading.Event()
    thread = threading.Thread(target=send_to_stub_once_it_runs, args=(path, signal.SIGSTOP, over.is_set))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_new_release_is_loaded_beside_the_old_which_then_can_go(serving: TritonPod, folder: Path) -> None:
    stub = stub_of(folder / "1")
    serving.load(TWO, FILES[2], [ONE])
    serving.check(ONE)
    serving.check(TWO)
    assert stub_of(folder / "1") == stub, "what is loaded stays as it is"
    serving.load(THREE, FILES[3], [TWO])
    assert versions(folder) == {"2", "3"}
    with pytest.raises(TritonUnavailable):
        serving.check(ONE)
    serving.keep_only([THREE])
    assert versions(folder) == {"3"}
    serving.check(THREE)
    with pytest.raises(TritonUnavailable):
        serving.check(TWO)


BROKEN = {
    "cut": {**FILES[2], MODEL: FILES[2][MODEL][:1000]},
    "answering wrongly": {**FILES[2], MODEL: FILES[3][MODEL]},
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_release_that_triton_cannot_use_goes_and_the_old_one_serves(
    serving: TritonPod, folder: Path, repository: Path, fault: str
) -> None:
    server = server_of(repository)
    with pytest.raises((TritonUnavailable, CorruptObject)):
        serving.load(TWO, BROKEN[fault], [ONE])
    assert versions(folder) == {"1"}
    serving.check(ONE)
    assert server_of(repository) == server, "no restart for what can be had without"


@pytest.mark.drill  # slow
def test_an_empty_version_folder_hangs_a_plain_load_and_not_this_one(
    serving: TritonPod, folder: Path, model: TritonModel
) -> None:
    (folder / "7").mkdir()
    serving.load(TWO, FILES[2], [ONE])
    assert versions(folder) == {"1", "2"}
    (folder / "7").mkdir()
    with pytest.raises(TritonHung):
        model.load()
    KeeperFolder(folder.parent).restart()  # or every later load would wait for that one


def test_a_load_that_hangs_ends_in_the_old_release_and_the_next_load_works(
    serving: TritonPod, folder: Path, repository: Path
) -> None:
    server = server_of(repository)
    with stopped_once_it_runs(folder / "2"), pytest.raises(TritonHung):
        serving.load(TWO, FILES[2], [ONE])
    assert versions(folder) == {"1"}
    serving.check(ONE)
    assert server_of(repository) != server
    serving.load(TWO, FILES[2], [ONE])
    serving.check(TWO)


def test_a_load_that_kills_the_server_ends_in_the_old_release(
    serving: TritonPod, folder: Path, repository: Path
) -> None:
    """As a model that crashes ONNX Runtime does."""
    wait_until_no_stub_runs(folder / "2")
    over = threading.Event()

    def kill_the_server_once_version_two_starts() -> None:
        while not over.is_set() and find_stub(folder / "2") is None:
            time.sleep(0.001)
        os.kill(server_of(repository), signal.SIGKILL)

    thread = threading.Thread(target=kill_the_server_once_version_two_starts)
    thread.start()
    try:
        with pytest.raises(TritonUnavailable):
            serving.load(TWO, FILES[2], [ONE])
    finally:
        over.set()
        thread.join()
    assert versions(folder) == {"1"}
    serving.check(ONE)


@pytest.mark.drill  # slow
def test_a_triton_that_hangs_before_anything_is_served_is_restarted(pod: TritonPod, repository: Path) -> None:
    while not pod.is_live():  # a test before may have restarted it
        time.sleep(0.05)
    os.kill(server_of(repository), signal.SIGSTOP)
    pod.load(ONE, FILES[1], [])
    pod.check(ONE)


def test_a_dead_stub_is_noticed_and_revived(serving: TritonPod, folder: Path) -> None:
    os.kill(stub_of(folder / "1"), signal.SIGKILL)
    with pytest.raises(TritonUnavailable):
        serving.check(ONE)
    serving.revive([ONE])
    serving.check(ONE)


def test_a_hung_stub_is_noticed_and_revived_with_all_that_was_loaded(serving: TritonPod, folder: Path) -> None:
    serving.load(TWO, FILES[2], [ONE])
    os.kill(stub_of(folder / "2"), signal.SIGSTOP)
    with pytest.raises(TritonUnavailable):
        serving.check(TWO)
    serving.revive([TWO, ONE])
    serving.check(ONE)
    serving.check(TWO)


@pytest.mark.drill  # slow
def test_a_stub_that_was_stopped_and_resumed_is_revived_whatever_that_did(serving: TritonPod, folder: Path) -> None:
    stub = stub_of(folder / "1")
    os.kill(stub, signal.SIGSTOP)
    with pytest.raises(TritonUnavailable):
        serving.check(ONE)
    os.kill(stub, signal.SIGCONT)
    serving.revive([ONE])
    serving.check(ONE)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_hung_server_is_noticed_and_revived(
    serving: TritonPod, repository: Path, number: signal.Signals
) -> None:
    os.kill(server_of(repository), number)
    with pytest.raises(TritonUnavailable):
        serving.check(ONE)
    serving.revive([ONE])
    serving.check(ONE)


def test_where_all_is_well_nothing_is_restarted(serving: TritonPod, folder: Path, repository: Path) -> None:
    server, stub = server_of(repository), stub_of(folder / "1")
    serving.revive([ONE])
    assert (server_of(repository), stub_of(folder / "1")) == (server, stub)


@pytest.mark.drill  # slow
def test_a_hanging_load_is_ended_when_what_is_served_dies_meanwhile(
    serving: TritonPod, repository: Path, folder: Path, triton_stack: EmbeddedStack
) -> None:
    serving.check(ONE)
    patient = TritonModel(triton_stack.triton_url, 5, 120, NAME)
    pod = TritonPod(patient, ModelFolder(repository, "python", "cpu"), KeeperFolder(repository))
    failed: list[Exception] = []

    def load() -> None:
        try:
            pod.load(TWO, FILES[2], [ONE])
        except TritonUnavailable as error:
            failed.append(error)

    thread = threading.Thread(target=load)
    with stopped_once_it_runs(folder / "2"):
        thread.start()
        while find_stub(folder / "2") is None:
            time.sleep(0.01)
        os.kill(stub_of(folder / "1"), signal.SIGKILL)
        pod.revive([ONE])
        thread.join(timeout=60)
    assert failed, "without an end put to it, it would have hung for two minutes"
    pod.check(ONE)
    assert versions(folder) == {"1"}
    patient.close()


@pytest.mark.drill  # slow
def test_a_triton_that_is_not_ours_is_revived_gently_or_not_at_all(
    serving: TritonPod, model: TritonModel, repository: Path, folder: Path
) -> None:
    not_ours = TritonPod(model, ModelFolder(repository, "python", "cpu"), NO_KEEPER)
    server = server_of(repository)
    os.kill(stub_of(folder / "1"), signal.SIGKILL)
    not_ours.revive([ONE])
    not_ours.check(ONE)
    assert server_of(repository) == server
    os.kill(server, signal.SIGSTOP)
    with pytest.raises(TritonUnavailable, match="nobody here may restart it"):
        not_ours.revive([ONE])
    serving.revive([ONE])
    serving.check(ONE)


def test_a_version_whose_folder_is_gone_is_told_not_waited_for(serving: TritonPod, repository: Path) -> None:
    remove_model(repository, NAME)
    os.kill(server_of(repository), signal.SIGKILL)
    with pytest.raises(CorruptObject, match=r"the folders of versions \[1\] are gone"):
        serving.revive([ONE])
    serving.load(ONE, FILES[1], [])
    serving.check(ONE)


@pytest.mark.drill  # slow
def test_a_release_that_stands_in_the_way_of_the_served_one_is_left_behind(
    serving: TritonPod, folder: Path, repository: Path
) -> None:
    """It was loaded once, and now no Triton can load it again."""
    serving.load(TWO, FILES[2], [ONE])
    (folder / "2" / MODEL).write_bytes(b"damaged on disk")
    os.kill(server_of(repository), signal.SIGKILL)
    with pytest.raises(CorruptObject, match="only release-1 answers again"):
        serving.revive([ONE, TWO])
    serving.check(ONE)
    assert versions(folder) == {"1"}


def test_dropping_everything_unloads_the_model(serving: TritonPod, folder: Path) -> None:
    serving.keep_only([])
    assert versions(folder) == set()
    with pytest.raises(TritonUnavailable):
        serving.check(ONE)

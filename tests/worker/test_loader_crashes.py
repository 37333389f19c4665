"""A worker killed at every step of taking up a release: before and after each call to S3 and each file operation.

After each, what lies on its disk is one whole release, and the next start serves the new one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.factories import a_release
from tests.worker.loader_process import DIED
from waypost.clock import SystemClock
from waypost.errors import TritonUnavailable
from waypost.objects.protocols import ObjectStore
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.release import golden
from waypost.release.kept import load_kept
from waypost.release.pointer import How, Target, move_pointer, read_pointer
from waypost.release.repository import remove_model
from waypost.release.signing import SigningKey, TrustedKeys
from waypost.release.store import GOLDEN, publish, version_of
from waypost.release.triton import TritonModel
from waypost.settings import AwsAccess, EmbeddedStack

PROJECT = Path(__file__).parents[2]
EVERY = 12  # of the steps in `make test`; `make test-faults` takes them all
OLD, NEW = "000001-old", "000002-new"

pytestmark = pytest.mark.timeout(1_200)


@dataclass(frozen=True)
class Pod:
    """A worker's disk, its Triton and its store, at the moment when a new release was pointed to."""

    store: ObjectStore
    triton: TritonModel
    trusted: TrustedKeys
    repository: Path
    kept: Path
    told: dict[str, Any]
    before: Path  # copies of its folders while it served the old release

    def start(self, last: int | None = None) -> dict[str, Any] | None:
        """What a worker process did until it served; None when it died at step `last`."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.worker.loader_process", json.dumps({**self.told, "last": last})],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == (DIED if last else 0), done.stderr
        found: dict[str, Any] = json.loads(done.stdout) if last is None else {}
        return found or None

    def restore(self) -> None:
        """Everything as it was before the new release."""
        for folder in (self.kept, self.kept.with_name("kept.new"), self.kept.with_name("kept.old")):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.before / "kept", self.kept)
        remove_model(self.repository, self.triton.name)
        for scratch in self.repository.glob(f".{self.triton.name}-*"):
            shutil.rmtree(scratch)
        shutil.copytree(self.before / "model", self.repository / self.triton.name)

    def require_whole(self) -> None:
        """Another start, without the store, would serve one of the two releases and no mixture of them."""
        found = load_kept(self.kept, self.trusted)
        assert found is not None, "the worker's disk has no release any more"
        assert version_of(found[0]) in (1, 2)

    def require_new(self) -> None:
        served = self.start()
        assert served is not None
        assert served["version"] == 2
        _, files = load_kept(self.kept, self.trusted) or pytest.fail("nothing is kept")
        assert self.triton.golden_difference(2, golden.from_bytes(files[GOLDEN])) == ""
        versions = [entry.name for entry in (self.repository / self.triton.name).iterdir() if entry.is_dir()]
        assert set(versions) <= {"1", "2"}
        assert not list(self.repository.glob(f".{self.triton.name}-*")), "something half-made was left"


@pytest.fixture
def pod(aws_access: AwsAccess, bucket: str, triton_stack: EmbeddedStack, tmp_path: Path) -> Iterator[Pod]:
    store = S3ObjectStore(s3_client(aws_access), bucket)
    key = SigningKey(Ed25519PrivateKey.generate())
    keys = tmp_path / "keys.pem"
    keys.write_bytes(key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for version, name in ((1, OLD), (2, NEW)):
        publish(store, name, *a_release(version=version, seed=version), key)
    triton = TritonModel(triton_stack.triton_url, 5, 30)
    repository, kept = Path(triton_stack.triton_repository), tmp_path / "disk" / "kept"
    told = {
        "access": asdict(aws_access),
        "bucket": bucket,
        "triton": triton_stack.triton_url,
        "repository": str(repository),
        "kept": str(kept),
        "keys": str(keys),
    }
    pod = Pod(store, triton, TrustedKeys([key.public]), repository, kept, told, tmp_path / "before")
    point_to(store, OLD, 1, "rollback")
    served = pod.start()
    assert served is not None
    assert served["version"] == 1
    shutil.copytree(kept, pod.before / "kept")
    shutil.copytree(repository / triton.name, pod.before / "model")
    point_to(store, NEW, 2, "publish")
    yield pod
    with suppress(TritonUnavailable):
        triton.unload()
    triton.close()
    remove_model(repository, triton.name)


def point_to(store: ObjectStore, name: str, version: int, how: How) -> None:
    move_pointer(store, read_pointer(store), Target(name, version, how, "test", "a test"), SystemClock())


def crash_at(pod: Pod, every: int) -> None:
    pod.restore()
    whole = pod.start()
    assert whole is not None
    steps = range(1, whole["steps"] + 1, every)
    assert whole["steps"] > 40, "a loader that takes so few steps was not watched"
    for step in steps:
        pod.restore()
        assert pod.start(step) is None
        pod.require_whole()
        pod.require_new()
    print(f"\nkilled at {len(steps)} of {whole['steps']} steps: one whole release each time, the next start healed")


def test_a_worker_killed_at_some_steps_of_a_load_heals(pod: Pod) -> None:
    crash_at(pod, EVERY)


@pytest.mark.faults
def test_a_worker_killed_at_any_step_of_a_load_heals(pod: Pod) -> None:
    crash_at(pod, 1)

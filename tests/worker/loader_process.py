"""A worker's follower in a process of its own that dies at a chosen step, as a killed pod does: at once, nothing tidied
up. A step is a call to S3, or an operation on a file under the model repository or the kept release."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from waypost.clock import SystemClock
from waypost.metrics import WorkerMetrics
from waypost.objects.protocols import ObjectInfo, ObjectStore, StoredObject
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.release.signing import load_trusted_keys
from waypost.release.triton import TritonModel
from waypost.settings import AwsAccess
from waypost.worker.canary import CanaryLimits
from waypost.worker.follow import FollowerLimits, ReleaseFollower
from waypost.worker.pod import ModelFolder, TritonPod
from waypost.worker.restarter import NO_KEEPER
from waypost.worker.sources import ReleaseSources

DIED = 9
FILE_EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir")


class Steps:
    """Counts; at the last one the process is gone."""

    def __init__(self, last: int | None) -> None:
        self.count, self._last = 0, last

    def step(self) -> None:
        self.count += 1
        if self.count == self._last:
            os._exit(DIED)


class SteppingStore:
    """A real S3 with a step before and a step after every call."""

    def __init__(self, store: ObjectStore, steps: Steps) -> None:
        self._store, self._steps = store, steps

    def get(self, key: str) -> StoredObject | None:
        self._steps.step()
        found = self._store.get(key)
        self._steps.step()
        return found

    def list(self, prefix: str) -> Iterable[ObjectInfo]:
        self._steps.step()
        return self._store.list(prefix)

    def put_new(self, key: str, body: bytes) -> bool:
        raise AssertionError("a loader writes nothing")

    def put_if(self, key: str, body: bytes, etag: str) -> bool:
        raise AssertionError("a loader writes nothing")

    def delete(self, keys: Iterable[str]) -> None:
        raise AssertionError("a loader deletes nothing")


def step_at_files(steps: Steps, folders: list[str]) -> None:
    """A step before each operation on a file in these folders; what follows it is after it."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FILE_EVENTS and any(str(argument).startswith(tuple(folders)) for argument in arguments[:2]):
            steps.step()

    sys.addaudithook(hook)


def main() -> None:
    told = json.loads(sys.argv[1])
    steps = Steps(told["last"])
    repository, kept = Path(told["repository"]), Path(told["kept"])
    triton = TritonModel(told["triton"], 5, 30)
    follower = ReleaseFollower(
        ReleaseSources(
            SteppingStore(S3ObjectStore(s3_client(AwsAccess(**told["access"])), told["bucket"]), steps),
            load_trusted_keys(Path(told["keys"])),
            kept,
        ),
        TritonPod(triton, ModelFolder(repository, "python", "cpu"), NO_KEEPER, SystemClock()),
        SystemClock(),
        WorkerMetrics(),
        FollowerLimits(CanaryLimits(share=0), 300),
        "a pod",
    )
    step_at_files(steps, [str(repository), str(kept)])
    follower.look()
    print(json.dumps({"steps": steps.count, "version": follower.model_version}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()

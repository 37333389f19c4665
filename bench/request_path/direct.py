"""The peer: the same Triton asked directly over gRPC, one user a call, in a process of its own.

Two clients. The lean one sends requests that were written beforehand through grpc's own channel and reads nothing but
success: nobody in Python can ask Triton more often. The other is tritonclient, called as a service would call it.
"""

from __future__ import annotations

import random
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from bench.commands import serve
from bench.request_path.generator import percentiles
from bench.request_path.release import POSTS, SEEN, USERS, VERSION
from waypost.model.signature import MODEL_NAME, OUTPUTS, Row, Sizes, pack

METHOD = "/inference.GRPCInferenceService/ModelInfer"
PREPARED = 512  # distinct requests, asked again and again
CALL_SECONDS = 20.0


@dataclass
class Calls:
    seconds: array[float] = field(default_factory=lambda: array("d"))
    failed: int = 0


def inputs_of(user: int) -> dict[str, NDArray[np.int32]]:
    """What the worker sends for a user who leaves everything at its default: his row and what he has seen."""
    choose = np.random.default_rng(user)
    seen = np.sort(choose.choice(POSTS, SEEN, replace=False)).astype(np.int32)
    return pack([Row(user, blocked_posts=seen)], Sizes(USERS, POSTS, 500, 8_000))


def _tensors(user: int) -> list[triton.InferInput]:
    made = []
    for name, array_ in inputs_of(user).items():
        tensor = triton.InferInput(name, list(array_.shape), "INT32")
        tensor.set_data_from_numpy(array_)
        made.append(tensor)
    return made


def _written(user: int) -> bytes:
    request = service_pb2.ModelInferRequest(model_name=MODEL_NAME, model_version=str(VERSION))
    for name, array_ in inputs_of(user).items():
        request.inputs.add(name=name, datatype="INT32", shape=array_.shape)
        request.raw_input_contents.append(array_.tobytes())
    for output in OUTPUTS:
        request.outputs.add(name=output.name)
    body: bytes = request.SerializeToString()
    return body


class _Lean:
    """`concurrency` calls out at a time; each answer's callback asks the next."""

    def __init__(self, url: str) -> None:
        self._channel = grpc.insecure_channel(url, options=[("grpc.max_receive_message_length", -1)])
        self._call = self._channel.unary_unary(METHOD)
        self._bodies = [_written(user) for user in range(PREPARED)]
        self._choose = random.Random(0)

    def closed(self, concurrency: int, seconds: float) -> Calls:
        calls, end, out = Calls(), time.monotonic() + seconds, threading.Semaphore(0)

        def ask() -> None:
            began = time.monotonic()
            future = self._call.future(self._choose.choice(self._bodies), timeout=CALL_SECONDS)
            future.add_done_callback(lambda done: answered(done, began))

        def answered(done: Any, began: float) -> None:
            now = time.monotonic()
            calls.failed += done.code() is not grpc.StatusCode.OK
            calls.seconds.append(now - began)
            if now < end:
                ask()
            else:
                out.release()

        for _ in range(concurrency):
            ask()
        for _ in range(concurrency):
            out.acquire()
        return calls

    def paced(self, rate: float, seconds: float) -> Calls:
        return _paced(rate, seconds, lambda: self._call(self._choose.choice(self._bodies), timeout=CALL_SECONDS))


class _Tritonclient:
    def __init__(self, url: str) -> None:
        self._client = triton.InferenceServerClient(url)
        self._inputs = [_tensors(user) for user in range(PREPARED)]
        self._outputs = [triton.InferRequestedOutput(tensor.name) for tensor in OUTPUTS]
        self._choose = random.Random(0)

    def ask(self) -> None:
        inputs = self._choose.choice(self._inputs)
        result = self._client.infer(MODEL_NAME, inputs, str(VERSION), self._outputs, client_timeout=CALL_SECONDS)
        for tensor in OUTPUTS:
            result.as_numpy(tensor.name)

    def closed(self, concurrency: int, seconds: float) -> Calls:
        """A thread for each of so many callers."""
        calls, end = Calls(), time.monotonic() + seconds

        def call() -> None:
            while (began := time.monotonic()) < end:
                self.ask()
                calls.seconds.append(time.monotonic() - began)

        threads = [threading.Thread(target=call) for _ in range(concurrency)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return calls


def _paced(rate: float, seconds: float, ask: Callable[[], object]) -> Calls:
    """One caller at most: at the rates asked for, a call has ended long before the next."""
    calls, gaps = Calls(), random.Random(2)
    began = intended = time.monotonic()
    while (intended := intended + gaps.expovariate(rate)) < began + seconds:
        time.sleep(max(0.0, intended - time.monotonic()))
        ask()
        calls.seconds.append(time.monotonic() - intended)
    return calls


def describe(calls: Calls) -> dict[str, Any]:
    return {"answers": len(calls.seconds), "failed": calls.failed, "latency": percentiles(calls.seconds)}


@cache  # made once, so that no measure counts the making
def _lean(url: str) -> _Lean:
    return _Lean(url)


@cache
def _tritonclient(url: str) -> _Tritonclient:
    return _Tritonclient(url)


def lean_closed(url: str, concurrency: int, seconds: float) -> Calls:
    return _lean(url).closed(concurrency, seconds)


def lean_paced(url: str, rate: float, seconds: float) -> Calls:
    return _lean(url).paced(rate, seconds)


def tritonclient_closed(url: str, concurrency: int, seconds: float) -> Calls:
    return _tritonclient(url).closed(concurrency, seconds)


if __name__ == "__main__":
    runs = {"lean": lean_closed, "paced": lean_paced, "tritonclient": tritonclient_closed}
    serve({name: (run, describe) for name, run in runs.items()})

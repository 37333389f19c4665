"""TritonLink: a worker's way to its Triton over gRPC, through a proxy that passes bytes and reads from each inference
which requests it is for.

`delay`, `blackhole` and `error` come before Triton did anything, `error after` and `slow` after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import numpy as np
from tritonclient.grpc import service_pb2

from tests.chaos.history import History, Inferred
from tests.chaos.link_faults import LinkFaults
from tests.chaos.world import number_of

INFER = "/inference.GRPCInferenceService/ModelInfer"
OPTIONS = [
    ("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 300), ("grpc.so_reuseport", 0),
]  # fmt: skip


class TritonLink(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(
        self, worker: str, port: int, upstream: str, seed: int, history: History, lag: Callable[[float], float]
    ) -> None:
        """`lag`: how late the proxy's own loop was served since a moment."""
        self.name = f"{worker}/triton"
        self.faults = LinkFaults(f"{seed}/{self.name}")
        self._worker, self._port, self._upstream, self._history, self._lag = worker, port, upstream, history, lag

    async def start(self) -> None:
        self._channel = grpc.aio.insecure_channel(self._upstream, options=OPTIONS)
        await self._listen()

    async def stop(self) -> None:
        await self._server.stop(None)
        await self._channel.close()

    async def reset_all(self) -> None:
        """Every connection there is: gRPC gives up its calls and connects anew."""
        await self._server.stop(None)
        await self._listen()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def call(request: bytes, context: Any) -> bytes:
            return await self._call(details.method, request, context)

        return grpc.unary_unary_rpc_method_handler(call)

    async def _listen(self) -> None:
        self._server = grpc.aio.server(options=OPTIONS)
        self._server.add_generic_rpc_handlers((self,))
        self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        await self._server.start()

    async def _call(self, method: str, request: bytes, context: Any) -> bytes:
        at, numbers, answered = time.monotonic(), _numbers(request) if method == INFER else [], False
        try:
            await self._before(context)
            response = await self._pass_on(method, request, context)
            await self._after(context)
            answered = True
            return response
        finally:
            lag = self._lag(at)
            for number in numbers:
                self._history.add(Inferred(at, self._worker, number, answered, lag))

    async def _pass_on(self, method: str, request: bytes, context: Any) -> bytes:
        try:
            response: bytes = await self._channel.unary_unary(method)(request, timeout=context.time_remaining())
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "")
        return response

    async def _before(self, context: Any) -> None:
        if fault := self.faults.draw("delay"):
            await asyncio.sleep(self.faults.spread(fault.seconds))
        if fault := self.faults.draw("blackhole"):
            await asyncio.sleep(max(0.0, fault.until - time.monotonic()))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "chaos")
        if self.faults.draw("error", "reset"):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "chaos")

    async def _after(self, context: Any) -> None:
        if fault := self.faults.draw("slow"):
            await asyncio.sleep(self.faults.spread(fault.seconds))
        if self.faults.draw("error after", "reset after"):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "chaos")


def _numbers(request: bytes) -> list[int]:
    """The requests that this call is for; golden questions are none's."""
    call = service_pb2.ModelInferRequest.FromString(request)
    arrays = {
        tensor.name: np.frombuffer(raw, np.int32).reshape(tuple(tensor.shape))
        for tensor, raw in zip(call.inputs, call.raw_input_contents, strict=True)
    }
    rows = zip(arrays["user_index"], arrays["blocked_posts"], strict=True)
    found = (number_of(int(user[0]), posts.tolist()) for user, posts in rows)
    return [number for number in found if number is not None]

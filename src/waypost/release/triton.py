"""Triton over gRPC: load, unload, and infer one version. tritonclient's exceptions end here.

Readiness is not asked of Triton: its endpoints stay green over a dead stub. Ask a golden question instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from waypost.errors import TritonHung, TritonUnavailable
from waypost.model.signature import MODEL_NAME, OUTPUTS, check_inputs
from waypost.release.golden import Golden, difference

# After a restart the channel must be back at once: gRPC's own pause between two connection attempts grows to 120 s.
# There are no keepalive pings: Triton ends connections that send them often, and every call of ours has a deadline.
CHANNEL = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # What one connection attempt gets, in spite of its name. Longer than a check: a stopped server takes connections
    # and says nothing, which must look like a call without an answer (TritonHung), not like a server that is not there.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_send_message_length", triton.MAX_GRPC_MESSAGE_SIZE),
    ("grpc.max_receive_message_length", triton.MAX_GRPC_MESSAGE_SIZE),
)
DEADLINE_EXCEEDED = str(grpc.StatusCode.DEADLINE_EXCEEDED)


class TritonModel:
    """One model of one Triton; safe for use by several threads. A call without an answer in time raises TritonHung."""

    def __init__(
        self, url: str, infer_timeout_seconds: float, load_timeout_seconds: float, name: str = MODEL_NAME
    ) -> None:
        self._client = triton.InferenceServerClient(url, channel_args=list(CHANNEL))
        self._url, self.name = url, name
        self._infer_timeout, self._load_timeout = infer_timeout_seconds, load_timeout_seconds

    def require_live(self, timeout_seconds: float | None = None) -> None:
        """Raises TritonUnavailable when nobody answers there; says nothing about any model."""
        with self._reachable("reach"):
            self._client.is_server_live(client_timeout=timeout_seconds or self._infer_timeout)

    def load(self) -> None:
        """Load what stands in the repository; returns once Triton says it is done. Raises TritonUnavailable."""
        with self._reachable("load"):
            self._client.load_model(self.name, client_timeout=self._load_timeout)

    def unload(self, timeout_seconds: float | None = None) -> None:
        """Triton answers before it is done."""
        with self._reachable("unload"):
            self._client.unload_model(self.name, client_timeout=timeout_seconds or self._load_timeout)

    def says_ready(self, version: int, timeout_seconds: float | None = None) -> bool:
        """Whether Triton knows that version and calls it READY, which is no proof that it answers."""
        timeout = timeout_seconds or self._infer_timeout
        with self._reachable("ask for"):
            return bool(self._client.is_model_ready(self.name, str(version), client_timeout=timeout))

    def infer(
        self, version: int, inputs: dict[str, NDArray[Any]], timeout_seconds: float | None = None
    ) -> dict[str, NDArray[Any]]:
        """The model's outputs by name. Raises TritonUnavailable, also for an empty answer."""
        check_inputs(inputs)
        with self._reachable("infer"):
            result = self._client.infer(
                self.name,
                [_input(name, array) for name, array in inputs.items()],
                model_version=str(version),
                outputs=[triton.InferRequestedOutput(tensor.name) for tensor in OUTPUTS],
                client_timeout=timeout_seconds or self._infer_timeout,
            )
            try:
                outputs = {tensor.name: result.as_numpy(tensor.name) for tensor in OUTPUTS}
            except ValueError:  # fewer bytes than the shape promises
                outputs = {}
        if not outputs or any(array is None or len(array) != len(inputs["user_index"]) for array in outputs.values()):
            raise TritonUnavailable("Triton gave an empty answer", "its python stub needs numpy<2")
        return outputs

    def golden_difference(self, version: int, golden: Golden, timeout_seconds: float | None = None) -> str:
        """Empty when that version answers the golden questions rightly, else why not. Raises TritonUnavailable."""
        return difference(golden, self.infer(version, dict(golden.inputs), timeout_seconds))

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _reachable(self, action: str) -> Iterator[None]:
        try:
            yield
        except (InferenceServerException, grpc.RpcError) as error:
            message = " ".join(str(error).split())
            hung = isinstance(error, InferenceServerException) and error.status() == DEADLINE_EXCEEDED
            kind = TritonHung if hung else TritonUnavailable
            raise kind(f"Triton at {self._url} failed to {action} {self.name}: {message}") from error


def _input(name: str, array: NDArray[Any]) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), triton_type(array))
    tensor.set_data_from_numpy(array)
    return tensor


_TYPES = {np.dtype(np.int32): "INT32", np.dtype(np.int64): "INT64", np.dtype(np.float32): "FP32"}


def triton_type(array: NDArray[Any]) -> str:
    return _TYPES[array.dtype]  # not by its name, which numpy makes anew each time, slower than all else here

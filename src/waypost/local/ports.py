"""Chooses the ports of the embedded parts: the one a setting fixes, else the one of last time, else a free one.

Free ones are sought below the range from which the kernel serves outgoing connections, so that nobody's connection
takes a port while its part is down.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Collection, Mapping

from waypost.errors import LocalStackError

LOOPBACK = "127.0.0.1"
PORT_NAMES = ("postgres", "aws", "triton_grpc", "triton_http", "triton_metrics")
_FIRST, _LAST = 20_000, 29_999  # Linux: outgoing connections take 32768-60999, Kubernetes' node ports 30000-32767
_TRIES = 200


def choose_ports(
    names: Collection[str], fixed: Mapping[str, int], remembered: Mapping[str, int], held: Collection[str]
) -> dict[str, int]:
    """A port per name; `held` names keep their remembered port, because our own part listens on it already."""
    ports: dict[str, int] = {}
    for name in names:
        taken = set(ports.values())
        if name in held and name in remembered and fixed.get(name, 0) in (0, remembered[name]):
            ports[name] = remembered[name]
        elif fixed.get(name, 0):
            ports[name] = _fixed(name, fixed[name], taken)
        else:
            ports[name] = _free(remembered.get(name, 0), taken)
    return ports


def _fixed(name: str, port: int, taken: Collection[int]) -> int:
    if port in taken or not is_free(port):
        setting = f"WAYPOST_LOCAL_{name.upper()}_PORT"
        raise LocalStackError(f"port {port} of {setting} is in use", "free it, set another, or unset it for a free one")
    return port


def _free(preferred: int, taken: Collection[int]) -> int:
    if preferred and preferred not in taken and is_free(preferred):
        return preferred
    for port in (random.randint(_FIRST, _LAST) for _ in range(_TRIES)):  # noqa: S311  # chance, not a secret
        if port not in taken and is_free(port):
            return port
    raise LocalStackError(f"no free port between {_FIRST} and {_LAST}", "fix ports by WAYPOST_LOCAL_..._PORT")


def is_free(port: int) -> bool:
    """Whether a server could listen on that loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # past connections in TIME_WAIT do not matter
        try:
            probe.bind((LOOPBACK, port))
            probe.listen()
        except OSError:
            return False
    return True

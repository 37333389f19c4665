"""Sockets bound before anything is served: a port in use is one line at the start, and chosen ports are known."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress

from waypost.errors import SettingsError

PREFERRED_PORT = 8080
ANY_FREE_PORT = 0
BACKLOG = 2_048  # connections that wait for the loop; Linux cuts it to net.core.somaxconn


def bind(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket. Raises SettingsError naming the setting when the host or port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise SettingsError(
            f"{host}:{port} cannot be bound: {error.strerror}", f"set {setting} to a free one"
        ) from None
    bound.setblocking(False)
    return bound


def bind_preferred(host: str, port: int | None, setting: str, last: int | None = None) -> socket.socket:
    """The port that is set, and only that; where none is set, the last one, else 8080, else a free one."""
    if port is not None:
        return bind(host, port, setting)
    for preferred in (last, PREFERRED_PORT):
        with suppress(SettingsError):
            if preferred is not None:
                return bind(host, preferred, setting)
    return bind(host, ANY_FREE_PORT, setting)


def url_of(bound: socket.socket) -> str:
    """`http://host:port`, where everything-hosts are told as loopback."""
    host, port = bound.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = "::1" if address.version == 6 else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def port_of(bound: socket.socket) -> int:
    return int(bound.getsockname()[1])


def is_loopback(host: str) -> bool:
    """By the address alone: a name is resolved by somebody else, so only `localhost` counts."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

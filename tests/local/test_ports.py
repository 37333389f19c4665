from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from waypost.errors import LocalStackError
from waypost.local.ports import LOOPBACK, choose_ports, is_free


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


def test_a_listening_port_is_not_free(taken_port: int) -> None:
    assert not is_free(taken_port)


def test_free_ports_are_distinct_and_free() -> None:
    ports = choose_ports(["postgres", "aws", "triton_http"], fixed={}, remembered={}, held=[])
    assert len(set(ports.values())) == 3
    assert all(is_free(port) for port in ports.values())


def test_the_port_of_last_time_is_used_again() -> None:
    first = choose_ports(["aws"], fixed={}, remembered={}, held=[])
    assert choose_ports(["aws"], fixed={}, remembered=first, held=[]) == first


def test_a_remembered_port_that_somebody_took_is_given_up(taken_port: int) -> None:
    ports = choose_ports(["aws"], fixed={}, remembered={"aws": taken_port}, held=[])
    assert ports["aws"] != taken_port


def test_a_running_part_keeps_its_port(taken_port: int) -> None:
    assert choose_ports(["aws"], fixed={}, remembered={"aws": taken_port}, held=["aws"]) == {"aws": taken_port}


def test_a_fixed_port_wins_over_the_one_of_last_time() -> None:
    free = choose_ports(["aws"], fixed={}, remembered={}, held=[])["aws"]
    assert choose_ports(["aws"], fixed={"aws": free}, remembered={"aws": 1}, held=["aws"]) == {"aws": free}


def test_a_fixed_port_in_use_is_one_clear_line(taken_port: int) -> None:
    with pytest.raises(LocalStackError) as caught:
        choose_ports(["postgres"], fixed={"postgres": taken_port}, remembered={}, held=[])
    assert str(caught.value) == (
        f"port {taken_port} of WAYPOST_LOCAL_POSTGRES_PORT is in use; free it, set another, or unset it for a free one"
    )


def test_one_port_fixed_for_two_parts_is_refused() -> None:
    free = choose_ports(["aws"], fixed={}, remembered={}, held=[])["aws"]
    with pytest.raises(LocalStackError, match="WAYPOST_LOCAL_AWS_PORT is in use"):
        choose_ports(["postgres", "aws"], fixed={"postgres": free, "aws": free}, remembered={}, held=[])

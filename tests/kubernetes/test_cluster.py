"""The contract, on the in-memory twin and over HTTP; and what HTTP alone can do wrong. `make test-cluster` runs the
same contract on a real API server."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest

from tests.kubernetes.contract import THINGS, ClusterContract, a_thing
from tests.kubernetes.http_twin import http_cluster
from waypost.errors import ClusterRefused, ClusterUnavailable
from waypost.kubernetes.credentials import Credentials
from waypost.kubernetes.http import HttpCluster
from waypost.kubernetes.memory import MemoryCluster
from waypost.kubernetes.protocols import PODS, Cluster, LogLine
from waypost.local.ports import choose_ports


class TestClusters(ClusterContract):
    @pytest.fixture(params=["memory", "http"])
    def cluster(self, request: pytest.FixtureRequest) -> Iterator[Cluster]:
        memory = MemoryCluster()
        if request.param == "memory":
            yield memory
            return
        with http_cluster(memory) as cluster:
            yield cluster

    @pytest.fixture
    def namespace(self) -> str:
        return "waypost"


def test_a_log_comes_line_by_line() -> None:
    lines = [LogLine("2026-01-01T00:00:00.1Z", "first one"), LogLine("2026-01-01T00:00:00.2Z", "second")]
    memory = MemoryCluster(logs={("it", "main"): lines})
    memory.create(PODS, "waypost", {"metadata": {"name": "it"}})
    with http_cluster(memory) as cluster:
        assert list(cluster.log("waypost", "it", "main")) == lines
        assert list(cluster.log("waypost", "it", "main", since=lines[1].stamp)) == lines[1:]


def test_a_wrong_token_is_refused_and_named() -> None:
    with http_cluster(MemoryCluster(), token="another") as cluster, pytest.raises(ClusterRefused, match="Unauthorized"):
        cluster.get(THINGS, "waypost", "it")


def test_a_role_that_grants_nothing_lets_nothing_through() -> None:
    with http_cluster(MemoryCluster(allowed=set())) as cluster, pytest.raises(ClusterRefused, match="forbidden"):
        cluster.create(THINGS, "waypost", a_thing())


def test_a_server_that_is_not_there_is_unavailable() -> None:
    port = choose_ports(["nobody"], {}, {}, [])["nobody"]
    nobody = Credentials(f"https://127.0.0.1:{port}", ssl.create_default_context(), lambda: None, "default")
    with pytest.raises(ClusterUnavailable, match="cannot be reached"):
        HttpCluster(nobody).get(THINGS, "waypost", "it")

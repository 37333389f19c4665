"""The contract of `Cluster`, on the real API server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.kubernetes.contract import ClusterContract
from waypost.kubernetes.credentials import from_kubeconfig
from waypost.kubernetes.http import HttpCluster
from waypost.kubernetes.protocols import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


class TestRealCluster(ClusterContract):
    @pytest.fixture
    def cluster(self, plane: ControlPlane) -> Iterator[Cluster]:
        cluster = HttpCluster(from_kubeconfig(plane.admin_kubeconfig))
        yield cluster
        cluster.close()

    @pytest.fixture
    def namespace(self) -> str:
        return "default"

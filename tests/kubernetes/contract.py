"""What every `Cluster` does, whoever keeps the objects: in memory, behind HTTP, in a real API server."""

from __future__ import annotations

import uuid

import pytest

from waypost.errors import ClusterConflict, ClusterRefused
from waypost.kubernetes.protocols import PODS, Cluster, Json, Kind

THINGS = Kind("v1", "configmaps")  # of all kinds the one that asks for the least


def a_thing(name: str | None = None, **labels: str) -> Json:
    named = {"generateName": "thing-"} if name is None else {"name": name}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**named, "labels": labels}, "data": {"colour": "red"}}


def a_name() -> str:
    return f"thing-{uuid.uuid4().hex[:8]}"


class ClusterContract:
    @pytest.fixture
    def cluster(self) -> Cluster:
        raise NotImplementedError

    @pytest.fixture
    def namespace(self) -> str:
        raise NotImplementedError

    def test_what_was_created_is_there(self, cluster: Cluster, namespace: str) -> None:
        name = a_name()
        made = cluster.create(THINGS, namespace, a_thing(name))
        held = cluster.get(THINGS, namespace, name)
        assert held is not None
        assert held["data"] == {"colour": "red"}
        assert held["metadata"]["uid"] == made["metadata"]["uid"]

    def test_what_was_never_created_is_not_there(self, cluster: Cluster, namespace: str) -> None:
        assert cluster.get(THINGS, namespace, a_name()) is None

    def test_a_name_is_taken_once(self, cluster: Cluster, namespace: str) -> None:
        name = a_name()
        cluster.create(THINGS, namespace, a_thing(name))
        with pytest.raises(ClusterConflict):
            cluster.create(THINGS, namespace, a_thing(name))

    def test_a_generated_name_begins_as_asked_and_is_new(self, cluster: Cluster, namespace: str) -> None:
        names = {cluster.create(THINGS, namespace, a_thing())["metadata"]["name"] for _ in range(3)}
        assert len(names) == 3
        assert all(name.startswith("thing-") for name in names)

    def test_a_list_holds_what_carries_all_labels_by_name(self, cluster: Cluster, namespace: str) -> None:
        mark, (first, second, third) = a_name(), sorted(a_name() for _ in range(3))
        cluster.create(THINGS, namespace, a_thing(second, mark=mark, side="left"))
        cluster.create(THINGS, namespace, a_thing(first, mark=mark, side="left"))
        cluster.create(THINGS, namespace, a_thing(third, mark=mark))
        found = cluster.list(THINGS, namespace, {"mark": mark, "side": "left"})
        assert [one["metadata"]["name"] for one in found] == [first, second]

    def test_a_patch_adds_replaces_and_removes(self, cluster: Cluster, namespace: str) -> None:
        name = a_name()
        cluster.create(THINGS, namespace, a_thing(name, side="left"))
        patch = {"metadata": {"annotations": {"waypost.dev/new": "yes"}, "labels": {"side": None}}}
        cluster.patch(THINGS, namespace, name, patch)
        held = cluster.get(THINGS, namespace, name)
        assert held is not None
        assert held["metadata"]["annotations"] == {"waypost.dev/new": "yes"}
        assert not held["metadata"].get("labels")
        assert held["data"] == {"colour": "red"}

    def test_a_patch_of_what_was_changed_meanwhile_is_a_conflict(self, cluster: Cluster, namespace: str) -> None:
        name = a_name()
        read = cluster.create(THINGS, namespace, a_thing(name))
        cluster.patch(THINGS, namespace, name, {"data": {"colour": "blue"}})
        stale = {"metadata": {"resourceVersion": read["metadata"]["resourceVersion"]}, "data": {"colour": "green"}}
        with pytest.raises(ClusterConflict):
            cluster.patch(THINGS, namespace, name, stale)
        held = cluster.get(THINGS, namespace, name)
        assert held is not None
        assert held["data"] == {"colour": "blue"}

    def test_a_patch_of_nothing_is_refused(self, cluster: Cluster, namespace: str) -> None:
        with pytest.raises(ClusterRefused):
            cluster.patch(THINGS, namespace, a_name(), {"data": {}})

    def test_the_log_of_no_pod_is_refused(self, cluster: Cluster, namespace: str) -> None:
        with pytest.raises(ClusterRefused):
            list(cluster.log(namespace, a_name(), "it"))

    def test_pods_are_a_kind_like_any_other(self, cluster: Cluster, namespace: str) -> None:
        assert cluster.list(PODS, namespace, {"mark": a_name()}) == []

"""Keys that are kept stand outside Helm's releases: no rollback puts a rotated one back, no uninstall removes one."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.cluster.api import Object
from tests.cluster.control_plane import ControlPlane
from tests.cluster.helm import CHART, Helm
from tests.cluster.shop import RELEASE
from tests.cluster.steps import step

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
NAMES = ("waypost-api-keys", "waypost-message-keys", "waypost-release-keys")
REQUIRED = (
    "--set=image.registry=registry.invalid/waypost",
    "--set=postgres.existingSecret=waypost-postgres",
    "--set=aws.region=eu-west-1",
    "--set=aws.bucket=waypost-data",
    "--set=aws.requestQueueUrl=https://sqs.eu-west-1.amazonaws.com/123456789012/waypost-requests",
    "--set=worker.autoscaling.enabled=false",
)
KEPT, CHANGED = "--set=keys.keep=true", "--set=logLevel=DEBUG"
NEW_KEY = {"id": "k2", "secret": base64.b64encode(b"r" * 32).decode()}
ROTATED = base64.b64encode(json.dumps({"keys": [NEW_KEY]}).encode())


def a_helm(plane: ControlPlane, namespace: str, home: Path) -> Helm:
    plane.admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    return Helm(plane.tools["helm"], plane.admin_kubeconfig, namespace, home)


def held(plane: ControlPlane, helm: Helm) -> dict[str, Object | None]:
    found = {name: plane.admin.get("v1", "Secret", name, helm.namespace) for name in NAMES}
    return {name: one and one["data"] for name, one in found.items()}


def rotate(plane: ControlPlane, helm: Helm) -> None:
    """As a person does with `kubectl edit`."""
    name = "waypost-message-keys"
    path = f"/api/v1/namespaces/{helm.namespace}/secrets/{name}"
    secret = plane.admin.get("v1", "Secret", name, helm.namespace)
    assert secret is not None
    plane.admin.call("PUT", path, {**secret, "data": {"message-keys.json": ROTATED.decode()}})


def test_a_rollback_and_an_uninstall_leave_kept_keys_as_they_were_rotated(plane: ControlPlane, tmp_path: Path) -> None:
    helm = a_helm(plane, "kept", tmp_path)
    with step("install, rotate, upgrade, rollback, uninstall, install: keys kept"):
        helm.run("install", RELEASE, str(CHART), *REQUIRED, KEPT)
        assert None not in held(plane, helm).values()
        rotate(plane, helm)
        rotated = held(plane, helm)
        helm.run("upgrade", RELEASE, str(CHART), *REQUIRED, KEPT, CHANGED)
        assert held(plane, helm) == rotated
        helm.run("rollback", RELEASE, "1")
        assert held(plane, helm) == rotated
        helm.run("uninstall", RELEASE)
        assert held(plane, helm) == rotated
        helm.run("install", RELEASE, str(CHART), *REQUIRED, KEPT)
        assert held(plane, helm) == rotated
        helm.run("uninstall", RELEASE)


def test_keys_of_an_install_without_keep_can_be_kept_from_some_upgrade_on(plane: ControlPlane, tmp_path: Path) -> None:
    helm = a_helm(plane, "keep-later", tmp_path)
    with step("install, twice upgrade to kept keys, rotate, rollback, uninstall"):
        helm.run("install", RELEASE, str(CHART), *REQUIRED)
        made = held(plane, helm)
        for _ in range(3):
            helm.run("upgrade", RELEASE, str(CHART), *REQUIRED, KEPT)
            assert held(plane, helm) == made
        rotate(plane, helm)
        rotated = held(plane, helm)
        helm.run("rollback", RELEASE, "3")
        assert held(plane, helm) == rotated
        helm.run("upgrade", RELEASE, str(CHART), *REQUIRED)  # and where somebody takes the value back
        assert held(plane, helm) == rotated
        helm.run("uninstall", RELEASE)
        assert held(plane, helm) == rotated

"""Every pod of the chart passes Pod Security "restricted", and somewhat more."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tests.chart.charting import Object, containers, named, pod_templates
from tests.chart.pod_security import CONTROLS, violations
from tests.chart.value_sets import VALUE_SETS

every_value_set = pytest.mark.parametrize("values", VALUE_SETS)
SECURE: Object = {
    "spec": {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "one",
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    }
}
# One change of a secure pod for each control, that the control must find.
BREAKS: dict[str, dict[str, Any]] = {
    "_host_namespaces": {"hostPID": True},
    "_host_process": {"securityContext": {"windowsOptions": {"hostProcess": True}}},
    "_privileged": {"own": {"privileged": True}},
    "_escalation": {"own": {"allowPrivilegeEscalation": True}},
    "_capabilities": {"own": {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}},
    "_volumes": {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]},
    "_host_ports": {"container": {"ports": [{"containerPort": 1, "hostPort": 1}]}},
    "_probe_hosts": {"container": {"livenessProbe": {"httpGet": {"host": "10.0.0.1", "port": 1}}}},
    "_non_root": {"securityContext": {"runAsNonRoot": False}},
    "_seccomp": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
    "_apparmor": {"own": {"appArmorProfile": {"type": "Unconfined"}}},
    "_selinux": {"own": {"seLinuxOptions": {"role": "sysadm_r"}}},
    "_proc_mount": {"own": {"procMount": "Unmasked"}},
    "_sysctls": {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
}


@every_value_set
def test_every_pod_is_restricted(rendered: dict[str, list[Object]], values: str) -> None:
    assert {name: found for name, pod in pod_templates(rendered[values]) if (found := violations(pod))} == {}


@every_value_set
def test_no_container_writes_to_its_image_and_no_pod_gets_service_links(
    rendered: dict[str, list[Object]], values: str
) -> None:
    for name, pod in pod_templates(rendered[values]):
        assert pod["spec"]["enableServiceLinks"] is False, name
        assert pod["spec"]["automountServiceAccountToken"] is False, name
        assert all(one["securityContext"]["readOnlyRootFilesystem"] for one in containers(pod)), name


def test_every_container_says_what_it_needs_and_how_much_memory_it_may_have(
    rendered: dict[str, list[Object]],
) -> None:
    for name, pod in pod_templates(rendered["required only"]):
        for one in containers(pod):
            assert {"cpu", "memory"} <= one["resources"]["requests"].keys(), name
            assert "memory" in one["resources"]["limits"], name


def test_only_the_workers_own_container_has_a_token_of_kubernetes(rendered: dict[str, list[Object]]) -> None:
    mounting = [
        (name, one["name"])
        for name, pod in pod_templates(rendered["required only"])
        for one in containers(pod)
        if any(mount["mountPath"].startswith("/var/run/secrets") for mount in one.get("volumeMounts", []))
    ]
    assert mounting == [("Deployment waypost-worker", "worker")]


def test_the_private_signing_key_is_mounted_by_the_trainer_alone(rendered: dict[str, list[Object]]) -> None:
    holders = [
        name
        for name, pod in pod_templates(rendered["required only"])
        for volume in pod["spec"].get("volumes", [])
        for item in volume.get("secret", {}).get("items", [])
        if item["key"] == "signing-key.pem"
    ]
    assert holders == ["CronJob waypost-trainer"]


def test_every_mounted_secret_names_the_files_it_gives(rendered: dict[str, list[Object]]) -> None:
    pod = named(rendered["required only"], "Deployment", "waypost-gateway")["spec"]["template"]
    secrets = [volume["secret"] for volume in pod["spec"]["volumes"] if "secret" in volume]
    assert [item["key"] for secret in secrets for item in secret["items"]] == [
        "message-keys.json",
        "trusted-keys.pem",
        "api-keys.json",
    ]


@pytest.mark.parametrize("control", [control.__name__ for control in CONTROLS])
def test_each_control_finds_what_breaks_it(control: str) -> None:
    pod = deepcopy(SECURE)
    change = deepcopy(BREAKS[control])
    pod["spec"]["containers"][0]["securityContext"] |= change.pop("own", {})
    pod["spec"]["containers"][0] |= change.pop("container", {})
    pod["spec"]["securityContext"] |= change.pop("securityContext", {})
    pod["spec"] |= change
    assert violations(SECURE) == []
    assert len(violations(pod)) == 1

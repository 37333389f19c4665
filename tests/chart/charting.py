"""Rendering the chart as an operator would: values in, Kubernetes objects out, by the real helm."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "waypost"
NAMESPACE = "rec"
OPTIONAL_APIS = ("keda.sh/v1alpha1", "monitoring.coreos.com/v1", "external-secrets.io/v1")
ALL_APIS = (*OPTIONAL_APIS, "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy")
HELM_SECONDS = 60

Object = dict[str, Any]
Values = Mapping[str, Any]

REQUIRED: Values = {
    "image": {"registry": "registry.example/waypost"},
    "postgres": {"existingSecret": "waypost-postgres"},
    "aws": {
        "region": "eu-west-1",
        "bucket": "waypost-data",
        "requestQueueUrl": "https://sqs.eu-west-1.amazonaws.com/123456789012/waypost-requests",
    },
}


def merged(*layers: Values) -> dict[str, Any]:
    """As helm merges values: later ones win, mappings are merged key by key."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


class Refusal(Exception):
    """What helm said."""

    @property
    def said(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Helm:
    binary: Path
    chart: Path = CHART
    flags: Sequence[str] = field(default=())

    def render(
        self, values: Values, apis: Sequence[str] = ALL_APIS, release: str = "waypost", extra: Sequence[str] = ()
    ) -> list[Object]:
        """The objects. Raises Refusal."""
        asked = [flag for api in apis for flag in ("--api-versions", api)]
        said = self.run(["template", release, str(self.chart), "--namespace", NAMESPACE, *asked, *extra], values)
        return [each for each in yaml.load_all(said, yaml.CSafeLoader) if each]

    def run(self, arguments: Sequence[str], values: Values | None = None) -> str:
        """What it printed. Raises Refusal."""
        given = ["--values", "-"] if values is not None else []
        done = subprocess.run(
            [self.binary, *arguments, *given, *self.flags],
            input=json.dumps(values), capture_output=True, text=True, timeout=HELM_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Refusal(done.stdout + done.stderr)
        return done.stdout


def named(objects: Sequence[Object], kind: str, name: str) -> Object:
    found = [one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{len(found)} objects {kind} {name}"
    return found[0]


def of_kind(objects: Sequence[Object], kind: str) -> list[Object]:
    return [one for one in objects if one["kind"] == kind]


def pod_templates(objects: Sequence[Object]) -> Iterator[tuple[str, Object]]:
    """(name, metadata and spec) of every pod that the objects lead to."""
    for one in objects:
        name = f"{one['kind']} {one['metadata']['name']}"
        if one["kind"] == "Pod":
            yield name, one
        elif one["kind"] == "Deployment":
            yield name, one["spec"]["template"]
        elif one["kind"] == "CronJob":
            yield name, one["spec"]["jobTemplate"]["spec"]["template"]


def containers(pod: Object) -> list[Object]:
    """Init containers, sidecars and containers, as they start."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def container(pod: Object, name: str) -> Object:
    return next(one for one in containers(pod) if one["name"] == name)


def environment(one: Object) -> dict[str, str]:
    """The variables with a plain value; those from elsewhere as `from <where>`."""
    return {
        entry["name"]: entry["value"] if "value" in entry else f"from {next(iter(entry['valueFrom']))}"
        for entry in one.get("env", [])
    }

"""The in-memory twin of an API server: the five calls, a resourceVersion that moves, and, where asked for, roles."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

from waypost.errors import ClusterConflict, ClusterRefused
from waypost.kubernetes.protocols import PODS, Json, Kind, LogLine

Verb = tuple[str, str]  # `get`, `pods`


@dataclass
class MemoryCluster:
    """`allowed` are the verbs on resources that the caller's role grants; None grants all."""

    allowed: Set[Verb] | None = None
    logs: dict[tuple[str, str], list[LogLine]] = field(default_factory=dict)  # by pod and container
    calls: list[Verb] = field(default_factory=list)
    _objects: dict[tuple[str, str, str], Json] = field(default_factory=dict)  # by plural, namespace, name
    _versions: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        self._ask("get", kind.plural)
        return copy.deepcopy(self._objects.get((kind.plural, namespace, name)))

    def list(self, kind: Kind, namespace: str, labels: Mapping[str, str]) -> list[Json]:
        self._ask("list", kind.plural)
        there = sorted(key for key in self._objects if key[:2] == (kind.plural, namespace))
        found = [self._objects[key] for key in there]
        return [copy.deepcopy(one) for one in found if labels.items() <= one["metadata"].get("labels", {}).items()]

    def create(self, kind: Kind, namespace: str, body: Json) -> Json:
        self._ask("create", kind.plural)
        metadata = {**body["metadata"], "namespace": namespace}
        number = next(self._versions)
        if "name" not in metadata:
            metadata["name"] = f"{metadata.pop('generateName')}{number:05d}"
        key = (kind.plural, namespace, str(metadata["name"]))
        if key in self._objects:
            raise ClusterConflict(f"{kind.plural} {key[2]} already exists", "look again")
        metadata |= {"uid": f"uid-{number}", "resourceVersion": str(number)}
        self._objects[key] = {**copy.deepcopy(body), "metadata": metadata}
        return copy.deepcopy(self._objects[key])

    def patch(self, kind: Kind, namespace: str, name: str, body: Json) -> Json:
        self._ask("patch", kind.plural)
        held = self._objects.get((kind.plural, namespace, name))
        if held is None:
            raise ClusterRefused(f"{kind.plural} {name} not found", "check the namespace and the names")
        expected = body.get("metadata", {}).get("resourceVersion")
        if expected not in (None, held["metadata"]["resourceVersion"]):
            raise ClusterConflict(f"{kind.plural} {name} was changed", "look again")
        merged = merge(held, body)
        merged["metadata"]["resourceVersion"] = str(next(self._versions))
        self._objects[kind.plural, namespace, name] = merged
        return copy.deepcopy(merged)

    def log(
        self, namespace: str, pod: str, container: str, since: str | None = None, follow: bool = True
    ) -> Iterator[LogLine]:
        self._ask("get", "pods/log")
        if (PODS.plural, namespace, pod) not in self._objects:
            raise ClusterRefused(f"pods {pod} not found", "check the namespace and the names")
        yield from (line for line in self.logs.get((pod, container), []) if since is None or line.stamp >= since)

    def _ask(self, verb: str, resource: str) -> None:
        self.calls.append((verb, resource))
        if self.allowed is not None and (verb, resource) not in self.allowed:
            raise ClusterRefused(f"{resource} is forbidden: cannot {verb}", "check the role bindings")


def merge(held: Json, patch: Json) -> Json:
    """A JSON merge patch (RFC 7386): null removes, an object is merged, anything else replaces."""
    merged = dict(held)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            inner = merged.get(name)
            merged[name] = merge(inner if isinstance(inner, dict) else {}, value)
        else:
            merged[name] = value
    return merged

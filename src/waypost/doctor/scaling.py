"""KEDA's view: what the ScaledObject of the workers says of itself, where a cluster is known and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from waypost.doctor.findings import Finding, bad, ok, skipped, warn
from waypost.doctor.looking import Look, Part
from waypost.errors import ClusterRefused, ClusterUnavailable, SettingsError
from waypost.kubernetes.marks import PAUSED_UNTIL
from waypost.kubernetes.protocols import SCALED_OBJECTS, Cluster, Json
from waypost.kubernetes.serving import WORKERS

KEDA = "keda"
SECONDS = 4.0  # a kubeconfig's plugin may have to ask a server of its own
SEE = "`kubectl describe scaledobject` says more; keda/README.md, grafana/runbook.md"
Open = Callable[[], tuple[Cluster, str]]


def scaling_look(open_cluster: Open, scaled_object: str | None) -> Look:
    """`open_cluster` gives the cluster and the namespace; a name, where it is set, is the one object to look at."""

    def find() -> Iterator[Finding]:
        try:
            cluster, namespace = open_cluster()
            yield from _found(cluster, namespace, scaled_object)
        except (SettingsError, ClusterUnavailable, ClusterRefused) as error:  # not every look has a cluster
            yield skipped(KEDA, error.cause, error.remedy)

    return Look((Part(KEDA, SECONDS, "check the kubeconfig and the network", when_silent="skipped"),), find)


def _found(cluster: Cluster, namespace: str, scaled_object: str | None) -> Iterator[Finding]:
    if scaled_object is None:
        held = cluster.list(SCALED_OBJECTS, namespace, WORKERS)
    else:
        one = cluster.get(SCALED_OBJECTS, namespace, scaled_object)
        held = [] if one is None else [one]
    if not held:
        yield skipped(KEDA, f"namespace {namespace} has no ScaledObject of Waypost's", "name another with --namespace")
    for one in held:
        yield _judged(str(one["metadata"]["name"]), one)


def _judged(name: str, held: Json) -> Finding:
    conditions = _conditions(held)
    ready, message = conditions.get("Ready", ("Unknown", "KEDA has not looked at it yet"))
    if ready != "True":
        return bad(KEDA, f"{name} is not ready: {message}", SEE)
    if conditions.get("Fallback", ("", ""))[0] == "True":
        return bad(KEDA, f"{name} cannot read the queue and keeps the workers as they are", SEE)
    marks = held["metadata"].get("annotations") or {}
    paused = any(mark.startswith("autoscaling.keda.sh/paused") for mark in marks)
    if (paused or conditions.get("Paused", ("", ""))[0] == "True") and PAUSED_UNTIL not in marks:
        return warn(KEDA, f"{name} is paused by an operator", "take its autoscaling.keda.sh/paused… annotation away")
    return ok(KEDA, f"{name} scales" + (", scale-in waits for a release" if PAUSED_UNTIL in marks else ""))


def _conditions(held: Json) -> Mapping[str, tuple[str, str]]:
    """Type -> status and message."""
    said = (held.get("status") or {}).get("conditions") or []
    return {str(one["type"]): (str(one["status"]), str(one.get("message") or one.get("reason") or "")) for one in said}

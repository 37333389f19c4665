"""What Waypost asks of an API server: five calls on objects that it names itself, nothing generated.

`HttpCluster` and its in-memory twin pass the same contract tests, and the first passes them on a real API server too.
Every object is the JSON that the server keeps; nobody here needs more of it than a few fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Json = dict[str, Any]


@dataclass(frozen=True)
class LogLine:
    stamp: str  # RFC 3339 with nanoseconds: in the order of the texts
    text: str


@dataclass(frozen=True)
class Kind:
    """A kind of namespaced object, as a URL spells it."""

    api: str  # `v1`, or group and version
    plural: str


PODS = Kind("v1", "pods")
JOBS = Kind("batch/v1", "jobs")
CRON_JOBS = Kind("batch/v1", "cronjobs")
SCALED_OBJECTS = Kind("keda.sh/v1alpha1", "scaledobjects")


class Cluster(Protocol):
    """Each call raises ClusterUnavailable when nobody answers and ClusterRefused when the answer is no."""

    def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """None: there is no such object."""

    def list(self, kind: Kind, namespace: str, labels: Mapping[str, str]) -> list[Json]:
        """Those that carry all these labels, by name."""

    def create(self, kind: Kind, namespace: str, body: Json) -> Json: ...

    def patch(self, kind: Kind, namespace: str, name: str, body: Json) -> Json:
        """A JSON merge patch (RFC 7386). One that names a resourceVersion raises ClusterConflict when it is not the
        object's any more."""

    def log(
        self, namespace: str, pod: str, container: str, since: str | None = None, follow: bool = True
    ) -> Iterator[LogLine]:
        """Line by line from a stamp on, or a little before it, of a container that has begun; `follow`: until it ends.

        Raises ClusterUnavailable for a stream that breaks or says nothing for long; begin again where it ended.
        """

"""An operator's namespace with Waypost in it, and how to look at it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.cluster.api import Object, is_ready
from tests.cluster.control_plane import ControlPlane
from tests.cluster.helm import Helm
from tests.cluster.queue import RequestQueue

NAMESPACE, RELEASE = "shop", "waypost"
WORKER = "waypost-worker"
SCALED_OBJECT = ("keda.sh/v1alpha1", "ScaledObject", WORKER, NAMESPACE)
HPA = ("autoscaling/v2", "HorizontalPodAutoscaler", f"keda-hpa-{WORKER}", NAMESPACE)


@dataclass(frozen=True)
class Shop:
    plane: ControlPlane
    helm: Helm
    queue: RequestQueue
    values: list[str]  # of `helm install`: --set …

    def pods(self, component: str) -> list[Object]:
        return self.plane.admin.list("v1", "Pod", NAMESPACE, f"app.kubernetes.io/component={component}")

    def ready(self, component: str) -> int:
        return sum(is_ready(pod) for pod in self.pods(component))

    def wanted(self) -> int:
        """Workers that the Deployment is told to have."""
        held = self.plane.admin.get("apps/v1", "Deployment", WORKER, NAMESPACE)
        assert held is not None
        return int(held["spec"].get("replicas", 1))

    def scaling_is(self, condition: str, status: str = "True") -> bool:
        """A condition of the ScaledObject."""
        held = self.plane.admin.get(*SCALED_OBJECT) or {}
        conditions = {one["type"]: one["status"] for one in held.get("status", {}).get("conditions", [])}
        return conditions.get(condition) == status

    def marks(self) -> dict[str, str]:
        """Annotations of the ScaledObject."""
        held = self.plane.admin.get(*SCALED_OBJECT)
        assert held is not None
        return dict(held["metadata"].get("annotations") or {})

    def queue_length(self) -> int:
        """Messages that one worker may hold, as the chart computed it."""
        held = self.plane.admin.get(*SCALED_OBJECT)
        assert held is not None
        return int(held["spec"]["triggers"][0]["metadata"]["queueLength"])

"""The four dashboards: what callers feel, what the queue and the pods do, what the model is, how the night went."""

from __future__ import annotations

from typing import Any

from grafana.mixin.dashboards import model, night, queue, service
from grafana.mixin.panels import to_json


def dashboards() -> list[dict[str, Any]]:
    """Each as the JSON that Grafana imports."""
    return [to_json(module.DASHBOARD) for module in (service, queue, model, night)]

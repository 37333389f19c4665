"""What a process exposes, read by the official parser of OpenMetrics, which refuses what is not."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from waypost.metrics import negotiated

# What Prometheus 2.42 sends.
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


def parsed(text: str) -> dict[str, Metric]:
    """Families by name. Raises ValueError."""
    return {family.name: family for family in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]


def samples_of(registry: CollectorRegistry, name: str) -> list[Sample]:
    families = parsed(negotiated(registry, PROMETHEUS)[0].decode())
    return [sample for family in families.values() for sample in family.samples if sample.name == name]

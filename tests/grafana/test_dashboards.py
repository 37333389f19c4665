"""The dashboards: what Grafana's own types make of them, and that nothing on them is made up."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import CollectorRegistry

from waypost.metrics import GatewayMetrics, TrainerMetrics, WorkerMetrics

GRAFANA = Path(__file__).parents[2] / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
# Whose metrics stand beside ours: Triton, KEDA, kube-state-metrics, the DCGM exporter, cert-manager, every process.
OTHERS = ("nv_", "keda_", "kube_", "DCGM_", "certmanager_", "process_")
SUFFIXES = ("_bucket", "_sum", "_count", "_total", "_created", "_info")
NAME = re.compile(r"\b(?:waypost|nv|keda|kube|process|certmanager|DCGM)_[a-zA-Z0-9_]+|\bwaypost:[a-zA-Z0-9_:]+")


def panels(path: Path) -> Iterator[dict[str, Any]]:
    return (panel for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row")


def expressions() -> list[str]:
    shown = [target["expr"] for path in DASHBOARDS for panel in panels(path) for target in panel["targets"]]
    rules = [rule["expr"] for rule in all_rules()]
    return shown + rules


def all_rules() -> list[dict[str, Any]]:
    files = (GRAFANA / "rules").glob("*.yaml")
    return [rule for path in files for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def exposed() -> set[str]:
    """Every name that a process of ours exposes, with the suffixes that Prometheus stores."""
    registries: list[CollectorRegistry] = [made().registry for made in (GatewayMetrics, WorkerMetrics, TrainerMetrics)]
    families = {family.name for registry in registries for family in registry.collect()}
    return families | {name + suffix for name in families for suffix in SUFFIXES}


def test_every_metric_on_a_panel_or_in_a_rule_is_exposed_or_recorded() -> None:
    recorded = {rule["record"] for rule in all_rules() if "record" in rule}
    named = {name for expression in expressions() for name in NAME.findall(expression)}
    made_up = {name for name in named - exposed() - recorded if not name.startswith(OTHERS)}
    assert not made_up


def test_every_recorded_name_is_used() -> None:
    recorded = {rule["record"] for rule in all_rules() if "record" in rule}
    used = {name for expression in expressions() for name in NAME.findall(expression)}
    assert recorded <= used


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_goes_through_grafanas_own_types_and_back(path: Path) -> None:
    content = json.loads(path.read_text())
    back = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(content)))
    assert back["uid"] == content["uid"] == f"waypost-{path.stem}"
    assert [panel["title"] for panel in back["panels"]] == [panel["title"] for panel in content["panels"]]
    for ours, theirs in zip(content["panels"], back["panels"], strict=True):
        assert theirs["gridPos"].items() >= ours["gridPos"].items()
        assert [t["expr"] for t in theirs.get("targets", [])] == [t["expr"] for t in ours.get("targets", [])]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_says_what_to_look_for_and_in_which_unit(path: Path) -> None:
    for panel in panels(path):
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_the_first_row_is_read_in_five_seconds(path: Path) -> None:
    content = json.loads(path.read_text())["panels"]
    after = next(i for i, panel in enumerate(content) if i > 0 and panel["type"] == "row")
    assert {panel["type"] for panel in content[1:after]} == {"stat"}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_two_panels_overlap(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(path.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells

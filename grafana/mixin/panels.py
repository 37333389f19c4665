"""Dashboards in a few words: panels in rows, laid out from left to right, as the JSON that Grafana imports.

A small builder of our own, because all that differs between our panels fits into one dataclass; the tests read its
JSON through the types of grafana-foundation-sdk and back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA = 39  # Grafana 11's; later ones migrate it themselves
WIDTH = 24  # columns of Grafana's grid
HEIGHT = 8  # of a panel, in rows of the grid
STAT_HEIGHT = 4
GREEN, YELLOW, RED = "green", "orange", "red"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WHERE = 'namespace=~"$namespace"'  # in every query of ours
Kind = Literal["timeseries", "stat", "table", "bargauge"]


@dataclass(frozen=True)
class Query:
    expr: str  # PromQL; NS stands for the choice of namespace
    legend: str = ""

    @property
    def text(self) -> str:
        return self.expr.replace("NS", WHERE)


@dataclass(frozen=True)
class Panel:
    title: str
    description: str  # what to look for
    queries: Sequence[Query]
    unit: str  # Grafana's name: s, reqps, percentunit, short, bytes …
    kind: Kind = "timeseries"
    width: int = 8
    thresholds: Sequence[tuple[float, str]] = ()  # (from this value, colour); green below the first
    stacked: bool = False
    outside: str = ""  # whose metrics these are, where they are not ours: KEDA, kube-state-metrics, DCGM, Triton
    decimals: int | None = None
    negative: bool = False  # whether values below zero are to be seen

    @property
    def height(self) -> int:
        return STAT_HEIGHT if self.kind == "stat" else HEIGHT


@dataclass(frozen=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Dashboard:
    name: str
    title: str
    description: str
    rows: Sequence[Row]
    stages: Mapping[str, str] = field(default_factory=dict)  # variable -> the metric whose stages one may choose from
    price: bool = False  # whether one may say what a worker hour costs
    tags: Sequence[str] = field(default_factory=lambda: ["waypost"])

    @property
    def uid(self) -> str:
        """Stable, since alerts and runbook link to it."""
        return f"waypost-{self.name}"


def to_json(dashboard: Dashboard) -> dict[str, Any]:
    """What Grafana imports."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": list(dashboard.tags),
        "schemaVersion": SCHEMA,
        "editable": False,
        "graphTooltip": 1,  # one crosshair through all panels: what happened at that moment elsewhere
        "refresh": "15s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": list(_changes())},
        "templating": {"list": list(_variables(dashboard))},
        "links": [
            {"title": "Waypost", "type": "dashboards", "tags": ["waypost"], "asDropdown": False, "keepTime": True,
             "includeVars": True, "icon": "external link", "tooltip": "", "targetBlank": False, "url": ""},
        ],
        "panels": list(_laid_out(dashboard.rows)),
    }  # fmt: skip


def _changes() -> Iterator[dict[str, Any]]:
    """A mark where something begins to serve that did not a minute before, by its own label: a rollback is one too."""
    yield _change("Releases", "waypost:release_number{NS}", "Release {{model_version}}", "blue")
    yield _change("Gateway versions", "waypost:gateway_started{NS}", "Gateway {{version}}", "purple")
    yield _change("Worker versions", "waypost:worker_started{NS}", "Worker {{version}}", "orange")


def _change(name: str, series: str, title: str, colour: str) -> dict[str, Any]:
    serving = Query(series).text
    return {
        "name": name,
        "datasource": SOURCE,
        "enable": True,
        "iconColor": colour,
        "expr": f"{serving} unless {serving} offset 1m",
        "titleFormat": title,
        "textFormat": "serves from here on",
    }


def _variables(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    yield _choice("namespace", "Namespace", "label_values(waypost_build_info, namespace)")
    yield _choice("release", "Release", f"label_values(waypost_worker_stage_seconds_count{{{WHERE}}}, model_version)")
    if dashboard.price:
        yield {"name": "price", "label": "Price of a worker hour", "type": "textbox", "query": "1",
               "current": {"text": "1", "value": "1"}}  # fmt: skip
    for name, metric in dashboard.stages.items():
        title = name.replace("_", " ").capitalize()
        yield _choice(name, title, f"label_values({metric}{{{WHERE}}}, stage)")


def _choice(name: str, label: str, query: str) -> dict[str, Any]:
    """Several or all; all also where there is no such label, as outside Kubernetes."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": query,
        "definition": query,
        "refresh": 2,  # whenever the time range changes
        "sort": 4,  # numerical, descending: the newest release first
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _laid_out(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for row in rows:
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "panels": [],
               "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1}}  # fmt: skip
        number, top, left, tallest = number + 1, top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > WIDTH:
                top, left, tallest = top + tallest, 0, 0
            yield _panel(panel, number, left, top)
            number, left, tallest = number + 1, left + panel.width, max(tallest, panel.height)
        top += tallest


def _panel(panel: Panel, number: int, left: int, top: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description + (f" (Metrics of {panel.outside}.)" if panel.outside else ""),
        "datasource": SOURCE,
        "gridPos": {"x": left, "y": top, "w": panel.width, "h": panel.height},
        "targets": [_target(query, letter) for letter, query in zip("ABCDEFGH", panel.queries, strict=False)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel.kind),
    }


def _target(query: Query, letter: str) -> dict[str, Any]:
    target = {"refId": letter, "datasource": SOURCE, "expr": query.text, "legendFormat": query.legend or "__auto"}
    return {**target, "exemplar": "_bucket" in query.expr}


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[Mapping[str, Any]] = [{"color": GREEN, "value": None}]
    steps += [{"color": color, "value": value} for value, color in panel.thresholds]
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "thresholds" if panel.kind != "timeseries" else "palette-classic"},
        "noValue": "no data",
    }
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.kind == "timeseries":
        if not panel.negative:
            defaults["min"] = 0
        defaults["custom"] = {
            "lineWidth": 2,
            "fillOpacity": 30 if panel.stacked else 0,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "showPoints": "never",
            "spanNulls": 60_000,  # milliseconds: a scrape or two may be missing
            "thresholdsStyle": {"mode": "line" if panel.thresholds else "off"},
        }
    return defaults


def _options(kind: Kind) -> dict[str, Any]:
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if kind == "timeseries":
        legend = {"displayMode": "table", "placement": "right", "calcs": ["lastNotNull", "max"], "showLegend": True}
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    if kind == "stat":
        return {"reduceOptions": reduce, "colorMode": "background", "graphMode": "area", "textMode": "value_and_name"}
    if kind == "bargauge":
        return {"reduceOptions": reduce, "displayMode": "gradient", "orientation": "horizontal"}
    return {"showHeader": True, "cellHeight": "sm"}

"""Values, schema, README and links hold together."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.chart.charting import CHART, ROOT, merged

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
LINKS = {
    "templates/worker/scaledobject.yaml": "keda/scaledobject.yaml",
    "templates/worker/triggerauthentication.yaml": "keda/triggerauthentication.yaml",
    "files/grafana/dashboards": "grafana/dashboards",
    "files/grafana/rules": "grafana/rules",
}
OWN_OBJECTS = (
    "affinity",
    "claims",
    "matchExpressions",
    "global",
    "extraEnv",
    "ownObjects",
)  # Kubernetes' own, which the API server checks


@pytest.fixture(scope="module")
def chart_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chart_docs", ROOT / "helm" / "chart_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_the_readme_is_what_the_values_say(chart_docs: ModuleType) -> None:
    assert (CHART / "README.md").read_text() == chart_docs.rendered(), "run `make chart-docs`"


def test_the_schema_names_every_setting_that_a_process_reads_and_the_chart_does_not_set(chart_docs: ModuleType) -> None:
    assert chart_docs.SCHEMA.read_text() == chart_docs.schema(chart_docs.SCHEMA.read_text()), "run `make chart-docs`"
    names = chart_docs.allowed_names()
    assert {"CONCURRENCY", "BURST"} <= set(names["gateway"])
    assert not {"REPLY_PORT", "PORT", "DEAD_LETTER_QUEUE_URL"} & set(names["gateway"])
    assert not {"DEAD_LETTER_QUEUE_URL", "SCALED_OBJECT"} & set(names["worker"])
    assert "WAYPOST_TRAINER_METRICS_LINGER_SECONDS" not in names["trainer"]


def test_a_value_without_a_description_is_refused(chart_docs: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"tuning\.depth"):
        chart_docs.described_values("tuning:\n  # -- Told\n  width: 1\n  depth: 2\n")


def test_every_value_has_its_place_in_the_schema_and_every_place_its_value() -> None:
    assert _value_paths(VALUES, SCHEMA) == set(_schema_paths(SCHEMA, ""))


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    return SCHEMA["$defs"][name] if name else schema


def _schema_paths(schema: Mapping[str, Any], prefix: str) -> Iterator[str]:
    schema = _resolved(schema)
    for name, part in schema.get("properties", {}).items():
        if name in ("global", "claims"):
            continue
        path = f"{prefix}{name}"
        if "properties" in _resolved(part):
            yield from _schema_paths(part, f"{path}.")
        else:
            yield path


def _value_paths(values: Mapping[str, Any], schema: Mapping[str, Any], prefix: str = "") -> set[str]:
    paths = set()
    for name, value in values.items():
        part = _resolved(_resolved(schema)["properties"][name])
        inner = isinstance(value, dict) and "properties" in part
        paths |= _value_paths(value, part, f"{prefix}{name}.") if inner else {f"{prefix}{name}"}
    return paths


def test_the_schema_refuses_unknown_keys_everywhere() -> None:
    open_ended = [path for path, schema in _objects(SCHEMA, "") if "additionalProperties" not in schema]
    assert open_ended == []


def _objects(schema: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object" and not any(name in path for name in OWN_OBJECTS):
            yield path, schema
        for name, part in schema.items():
            yield from _objects(part, f"{path}/{name}")


@pytest.mark.parametrize("link", LINKS)
def test_links_lead_to_the_single_source(link: str) -> None:
    path = CHART / link
    assert path.is_symlink()
    assert path.resolve() == ROOT / LINKS[link]
    assert not path.readlink().is_absolute()


def test_the_chart_copies_nothing_that_it_links_to() -> None:
    for source in (ROOT / "keda").glob("*.yaml"):
        copies = [found for found in CHART.rglob(source.name) if not found.is_symlink()]
        assert copies == []


@pytest.mark.parametrize("name", ["values-production.yaml", "values-cpu.yaml"])
def test_other_values_files_hold_differences_only(name: str) -> None:
    values = yaml.safe_load((CHART / name).read_text())
    same = [path for path, value in _leaves(values) if _at(VALUES, path) == value and value != ""]
    assert same == []
    assert merged(VALUES, values) != VALUES


def _leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        values = values[name]
    return values


def test_each_file_makes_one_kind_and_is_named_after_it() -> None:
    for path in (CHART / "templates").rglob("*.yaml"):
        kinds = {line.removeprefix("kind: ") for line in path.read_text().splitlines() if line.startswith("kind: ")}
        assert len(kinds) <= 1, path
        stem = path.stem.split("-")[0]
        assert all(stem in (kind.lower(), f"{kind.lower()}s") for kind in kinds), path

"""The rules as the chart installs them: they see this install, and no other of the same Prometheus."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.charting import NAMESPACE, REQUIRED, ROOT, Helm, Object, of_kind

RULES = ROOT / "grafana" / "rules"
CASES = sorted(path for path in (RULES / "tests").glob("*.yaml") if path.stem in ("health", "night", "queue"))
PROMTOOL_SECONDS = 60
OURS = re.compile(r"\b(?:waypost[_:]|kube_|process_)[a-zA-Z0-9_:]+")
KNOWN_BY_NAME_ALONE = {"WaypostScalerBlind", "WaypostKeyOld"}  # KEDA's and cert-manager's own metrics
Rules = list[Object]


def _rules(objects: list[Object]) -> Rules:
    return [
        rule for one in of_kind(objects, "PrometheusRule") for group in one["spec"]["groups"] for rule in group["rules"]
    ]


def test_every_metric_is_asked_for_in_this_namespace_alone(rendered: dict[str, list[Object]]) -> None:
    seen = 0
    for rule in _rules(rendered["required only"]):
        for found in OURS.finditer(rule["expr"]):
            assert rule["expr"][found.end() :].startswith(f'{{namespace="{NAMESPACE}"'), rule["expr"]
            seen += 1
    assert seen > 100


def test_the_cluster_s_own_figures_are_asked_for_by_this_installs_names(rendered: dict[str, list[Object]]) -> None:
    text = "\n".join(rule["expr"] for rule in _rules(rendered["everything set"]))
    for name in ("keda-hpa-recommendations-worker", "recommendations-worker", "recommendations-trainer"):
        assert f'=~"{name}"' in text
    assert not re.findall(r'=~"[^"]*\.\*-(?:worker|trainer)', text)


def test_nothing_but_the_expressions_is_changed(rendered: dict[str, list[Object]]) -> None:
    files = [yaml.safe_load(path.read_text()) for path in sorted(RULES.glob("*.yaml"))]
    written = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    installed = _rules(rendered["required only"])
    assert [_without_expression(rule) for rule in installed] == [_without_expression(rule) for rule in written]


def _without_expression(rule: Object) -> Object:
    return {name: value for name, value in rule.items() if name != "expr"}


@pytest.fixture(scope="module")
def installed(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rules of a release in NAMESPACE, as files that promtool reads, named as in grafana/rules."""
    folder = tmp_path_factory.mktemp("rules")
    for one in of_kind(helm.render(REQUIRED), "PrometheusRule"):
        file = folder / f"{one['metadata']['name'].removeprefix('waypost-')}.yaml"
        file.write_text(yaml.safe_dump(one["spec"]))
    return folder


@pytest.fixture
def promtool(need_package: Callable[[str], None], tmp_path: Path) -> Callable[[Object], None]:
    def run(cases: Object) -> None:
        file = tmp_path / "cases.yaml"
        file.write_text(yaml.safe_dump(cases))
        try:
            done = subprocess.run(
                ["promtool", "test", "rules", file],
                capture_output=True,
                text=True,
                timeout=PROMTOOL_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            need_package("prometheus")
            raise
        assert done.returncode == 0, done.stdout + done.stderr

    return run


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_every_alert_fires_for_this_install(path: Path, installed: Path, promtool: Callable[[Object], None]) -> None:
    cases = _in_namespace(path, NAMESPACE, installed)
    for look in _looks(cases):
        for alert in look.get("exp_alerts", []):
            alert["exp_labels"]["namespace"] = NAMESPACE
    promtool(cases)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_no_alert_fires_for_another_one(path: Path, installed: Path, promtool: Callable[[Object], None]) -> None:
    cases = _in_namespace(path, "another", installed)
    for case in cases["tests"]:
        looks = [look for look in case["alert_rule_test"] if look["alertname"] not in KNOWN_BY_NAME_ALONE]
        case["alert_rule_test"] = [{**look, "exp_alerts": []} for look in looks]
    promtool(cases)


def _in_namespace(path: Path, namespace: str, rules: Path) -> Object:
    """The cases of grafana/rules/tests with their figures in one namespace."""
    cases: Object = yaml.load(path.read_text(), yaml.BaseLoader)  # texts alone: to YAML 0x20 is a number
    cases["rule_files"] = [str(rules / Path(file).name) for file in cases["rule_files"]]
    for case in cases["tests"]:
        for one in case["input_series"]:
            name, brace, labels = one["series"].partition("{")
            others = re.sub(r'namespace="[^"]*",?', "", labels) if brace else "}"
            one["series"] = f'{name}{{namespace="{namespace}",{others}'
    return cases


def _looks(cases: Object) -> list[dict[str, Any]]:
    return [look for case in cases["tests"] for look in case["alert_rule_test"]]

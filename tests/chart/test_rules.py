"""The rules as the chart installs them: they see this install, and no other of the same Prometheus."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.charting import NAMESPACE, REQUIRED, ROOT, Helm, Object, merged, of_kind

RULES = ROOT / "grafana" / "rules"
CASES = sorted(path for path in (RULES / "tests").glob("*.yaml") if path.stem in ("health", "night", "queue"))
PROMTOOL_SECONDS = 60
GRAFANA_UID_CHARACTERS = 40
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
    """Nor the link to a dashboard, which has a uid of this install."""
    annotations = {name: value for name, value in rule.get("annotations", {}).items() if name != "dashboard"}
    return {**{name: value for name, value in rule.items() if name != "expr"}, "annotations": annotations}


@pytest.mark.parametrize(
    ("value", "alert"),
    [
        ("nightLateHours", "WaypostNightLate"),
        ("refreshLateHours", "WaypostRefreshLate"),
        ("releaseStaleHours", "WaypostReleaseStale"),
    ],
)
def test_how_late_is_late_is_the_operators_to_say(helm: Helm, value: str, alert: str) -> None:
    usual, changed = (
        {rule["alert"]: rule["expr"] for rule in _rules(helm.render(merged(REQUIRED, values))) if "alert" in rule}
        for values in ({}, {"observability": {"rules": {value: 170}}})
    )
    written = re.search(r"> (\d+) \* 3600$", usual[alert])
    assert written is not None
    assert changed[alert] == usual[alert].replace(written[0], "> 170 * 3600")
    assert {name for name in usual if changed[name] != usual[name]} == {alert}


def test_the_hours_are_those_of_the_rules_unless_somebody_says_otherwise(rendered: dict[str, list[Object]]) -> None:
    written = (RULES / "alerts.yaml").read_text()
    for rule in _rules(rendered["required only"]):
        if hours := re.search(r"> \d+ \* 3600$", rule["expr"]):
            assert hours[0] in written


def test_every_install_has_its_own_dashboards_and_its_alerts_lead_there(helm: Helm) -> None:
    found = []
    for namespace in ("shop", "games"):
        objects = helm.render(REQUIRED, extra=["--namespace", namespace])
        files = {name: text for one in of_kind(objects, "ConfigMap") for name, text in one["data"].items()}
        uids = {json.loads(text)["uid"] for text in files.values()}
        links = {rule["annotations"]["dashboard"] for rule in _rules(objects) if "alert" in rule}
        assert {link.split("?")[0].removeprefix("/d/") for link in links} <= uids
        assert all(len(uid) <= GRAFANA_UID_CHARACTERS for uid in uids)
        found.append((set(files), uids))
    assert len(found[0][0]) == len(found[0][1]) == 4
    assert not found[0][0] & found[1][0]
    assert not found[0][1] & found[1][1]


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
    links = _links(installed)
    for look in _looks(cases):
        for alert in look.get("exp_alerts", []):
            alert["exp_labels"]["namespace"] = NAMESPACE
            alert["exp_annotations"]["dashboard"] = links[look["alertname"]]
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


def _links(rules: Path) -> dict[str, str]:
    """By alert, the dashboard of this install that it leads to."""
    groups = [group for file in rules.glob("*.yaml") for group in yaml.safe_load(file.read_text())["groups"]]
    return {
        rule["alert"]: rule["annotations"]["dashboard"] for one in groups for rule in one["rules"] if "alert" in rule
    }


def _looks(cases: Object) -> list[dict[str, Any]]:
    return [look for case in cases["tests"] for look in case["alert_rule_test"]]

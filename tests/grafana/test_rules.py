"""The rules under promtool, and every alert's way to what a person does about it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana.mixin.write import generated

GRAFANA = Path(__file__).parents[2] / "grafana"
RULES = sorted((GRAFANA / "rules").glob("*.yaml"))
TESTS = sorted((GRAFANA / "rules" / "tests").glob("*.yaml"))
PROMTOOL_SECONDS = 240
SEVERITIES = {"page", "ticket"}


def alerts() -> list[dict[str, Any]]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


@pytest.fixture
def promtool(need_package: Callable[[str], None]) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        try:
            done = subprocess.run(
                ["promtool", *arguments], capture_output=True, text=True, timeout=PROMTOOL_SECONDS, check=False
            )
        except FileNotFoundError:
            need_package("prometheus")
            raise
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_prometheus_takes_every_rule(promtool: Callable[..., str]) -> None:
    assert "SUCCESS" in promtool("check", "rules", *map(str, RULES))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_every_alert_is_silent_until_it_must_not_be(path: Path, promtool: Callable[..., str]) -> None:
    promtool("test", "rules", str(path))


def test_every_alert_is_shown_both_silent_and_firing() -> None:
    shown: dict[str, set[bool]] = {}
    for path in TESTS:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for look in case["alert_rule_test"]:
                shown.setdefault(look["alertname"], set()).add(bool(look.get("exp_alerts")))
    assert shown == {alert["alert"]: {True, False} for alert in alerts()}


def test_there_are_at_least_fifteen_alerts_of_two_severities() -> None:
    assert len({alert["alert"] for alert in alerts()}) >= 15
    assert {alert["labels"]["severity"] for alert in alerts()} == SEVERITIES


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: f"{alert['alert']}-{alert['labels']['severity']}")
def test_every_alert_says_what_how_much_and_where_to_go(alert: dict[str, Any]) -> None:
    told = alert["annotations"]
    assert told["summary"]
    assert "$value" in told["description"]
    assert told["dashboard"].split("?")[0].removeprefix("/d/waypost-") in {
        path.stem for path in (GRAFANA / "dashboards").glob("*.json")
    }
    assert told["runbook"] == f"runbook.md#{alert['alert'].lower()}"


def test_the_runbook_has_a_heading_for_every_alert_and_no_other() -> None:
    text = (GRAFANA / "runbook.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert set(sections) == {alert["alert"] for alert in alerts()}
    for name, section in sections.items():
        for part in ("**Means**", "**Confirm**", "**Users**", "**First**", "**Roll back**"):
            assert part in section, f"{name} does not say {part}"


def test_what_is_generated_is_in_step() -> None:
    for path, text in generated().items():
        assert (GRAFANA / path).read_text() == text, f"{path}: run `python -m grafana.mixin`"

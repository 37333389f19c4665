"""The runbook's commands: what somebody types at three in the morning is understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from waypost.cli import build_parser

RUNBOOK = (Path(__file__).parents[2] / "grafana" / "runbook.md").read_text()
CODE = re.compile(r"`([^`\n]+)`|^    (.+)$", re.MULTILINE)
PROGRAMS = ("waypost", "kubectl", "helm", "aws")
# What a sentence speaks of and nobody types as it stands.
SPOKEN_OF = {"waypost release …", "kubectl rollout undo", "helm install waypost", "helm rollback", "helm upgrade"}


def commands(program: str) -> list[str]:
    """Each as it is typed, without what runs it: `kubectl … -- waypost …` is a command of both."""
    written = [inline or block for inline, block in CODE.findall(RUNBOOK)]
    told = [part.strip() for line in written for part in line.split(" -- ")]
    return sorted({one for one in told if one.startswith(program + " ") and one not in SPOKEN_OF})


@pytest.mark.parametrize("command", commands("waypost"))
def test_every_command_of_ours_is_one(command: str) -> None:
    build_parser().parse_args(shlex.split(command)[1:])


def test_there_are_commands_to_judge() -> None:
    assert len(commands("waypost")) >= 8
    assert all(commands(program) for program in PROGRAMS)


@pytest.mark.parametrize("command", [*commands("kubectl"), *commands("helm")])
def test_a_command_of_the_cluster_names_the_namespace(command: str) -> None:
    assert " -n NS" in command


def test_a_rollback_is_pinned_in_the_same_step() -> None:
    """Between a rollback and a pin of its own a night or a refresh may publish the bad release's next one."""
    rollbacks = [command for command in commands("waypost") if command.startswith("waypost release rollback")]
    assert rollbacks == ["waypost release rollback --pin --reason WHY"]

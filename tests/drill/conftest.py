"""Prints what the drills measured, whether they passed or not; names the Debian packages that some of them need."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from tests.drill.watching import COLUMNS, REPORT


@pytest.fixture(scope="session")
def alerting_programs(need_package: Callable[[str], None]) -> None:
    """Prometheus and Alertmanager, which Debian installs under the names of their packages."""
    for program in ("prometheus", "prometheus-alertmanager"):
        if shutil.which(program) is None:
            need_package(program)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if REPORT:
        terminalreporter.section("drills: seconds since the fault")
        terminalreporter.write_line(COLUMNS)
        for line in REPORT:
            terminalreporter.write_line(line)

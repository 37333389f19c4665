"""Prints what the drills measured, whether they passed or not."""

from __future__ import annotations

import pytest

from tests.drill.watching import COLUMNS, REPORT


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if REPORT:
        terminalreporter.section("drills: seconds since the fault")
        terminalreporter.write_line(COLUMNS)
        for line in REPORT:
            terminalreporter.write_line(line)

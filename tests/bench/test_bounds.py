"""Which measures keep their bounds, and how the table tells it. No clock here."""

from __future__ import annotations

import pytest
from bench.bounds import BOUNDS, Bound, judge
from bench.measures import Measure, Section
from bench.table import render

A_BOUND = Bound("extraction", "time", "adbc", 1.1, "at most 1.1x the time of ADBC")


def a_section(ours: float = 1.0, adbc: float = 1.0, name: str = "extraction") -> Section:
    measures = (Measure("time", "s", ours, {"adbc": adbc}), Measure("peak memory", "bytes", 2e6, {}))
    return Section(name, "extraction of 7 interactions", measures, notes=("connect included",))


@pytest.mark.parametrize(("ours", "kept"), [(1.0, True), (1.1, True), (1.2, False)])
def test_a_bound_is_kept_up_to_its_ratio(ours: float, kept: bool) -> None:
    assert [verdict.kept for verdict in judge([a_section(ours)], [A_BOUND])] == [kept]


@pytest.mark.parametrize(
    "wanting", [Bound("extraction", "gone", "adbc", 1, ""), Bound("extraction", "time", "x", 1, "")]
)
def test_a_bound_whose_measure_or_peer_is_gone_is_missed(wanting: Bound) -> None:
    (verdict,) = judge([a_section()], [wanting])
    assert not verdict.kept
    assert "not measured" in str(verdict)


def test_a_peer_that_took_nothing_is_never_beaten() -> None:
    assert not judge([a_section(adbc=0.0)], [A_BOUND])[0].kept


def test_only_the_sections_that_were_run_are_judged() -> None:
    assert judge([a_section(name="csr")], [A_BOUND]) == []


def test_a_missed_bound_is_told_with_its_ratio_and_its_words() -> None:
    assert str(judge([a_section(ours=1.5)], [A_BOUND])[0]) == (
        "extraction: time / adbc is 1.5, at most 1.1: at most 1.1x the time of ADBC"
    )


def test_every_section_with_a_bound_can_be_run() -> None:
    from bench.__main__ import SECTIONS  # noqa: PLC0415  # named by no other test

    assert {bound.section for bound in BOUNDS} <= set(SECTIONS)


@pytest.mark.parametrize(("ours", "verdict"), [(0.5, "<= 1.1 ok"), (1.5, "<= 1.1 MISSED")])
def test_the_table_has_ours_the_peers_column_the_ratio_and_the_verdict(ours: float, verdict: str) -> None:
    section = a_section(ours)
    table = render([section], judge([section], [A_BOUND]))
    assert [line.split() for line in table.splitlines()] == [
        ["extraction", "of", "7", "interactions", "ours", "adbc"],
        ["time", f"{ours:.3f}", "s", "1.000", "s"],
        ["ours", "/", "this", f"{ours:.3g}"],
        ["bound", *verdict.split()],
        ["peak", "memory", "2.00", "MB", "-"],
        ["(connect", "included)"],
    ]


def test_columns_end_under_one_another() -> None:
    lines = render([a_section()], []).splitlines()
    assert len({len(line) for line in lines[:4]}) == 1

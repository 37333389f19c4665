"""The report on a terminal: one row a ranker, a column a segment with its interval, then what the gate decided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from rich.console import Console
from rich.table import Table

from waypost.model.evaluation import Float64Array, interval_95, mean
from waypost.trainer.gate import GateDecision
from waypost.trainer.holdout import HoldoutReport, K

WIDTH = 160  # where nobody watches, so that no row is broken


def print_report(report: HoldoutReport, decision: GateDecision, to: TextIO) -> None:
    console = Console(file=to, width=None if to.isatty() else WIDTH, highlight=False)
    for table in _tables(report):
        console.print(table)
    console.print(
        "accepted" if decision.accepted else "refused", style="bold green" if decision.accepted else "bold red"
    )
    for finding in decision.findings:
        console.print(f"  {finding}", markup=False)
    console.print(f"  {decision.grounds}", markup=False)


def _tables(report: HoldoutReport) -> Iterator[Table]:
    for measure in ("recall", "ndcg"):
        table = Table(title=f"{measure}@{K}", title_justify="left")
        table.add_column("ranker")
        for segment, users in report.judged.items():
            table.add_column(f"{segment}\n{len(users):,} users", justify="right")
        for name, ranking in report.rankings.items():
            cells = [scores.recall if measure == "recall" else scores.ndcg for scores in ranking.scores.values()]
            table.add_row(name, *map(_cell, cells))
        yield table
    shown = Table(title="the catalogue", title_justify="left")
    for column in ("ranker", "coverage", "gini", "novelty bits"):
        shown.add_column(column, justify="left" if column == "ranker" else "right")
    for name, ranking in report.rankings.items():
        shown.add_row(name, f"{ranking.coverage:.3f}", f"{ranking.gini:.3f}", f"{ranking.novelty_bits:.2f}")
    yield shown


def _cell(values: Float64Array) -> str:
    return f"{mean(values):.4f} ± {interval_95(values):.4f}" if len(values) else "–"

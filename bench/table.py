"""The measures as one table for people: ours, a column for each peer, and under them ratio, bound and verdict. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bench.bounds import Verdict
from bench.measures import Measure, Section, Unit

GAP = "   "


def render(sections: Sequence[Section], verdicts: Sequence[Verdict]) -> str:
    rows: list[list[str]] = []
    for section in sections:
        rows += [[section.title, section.ours, *section.peers]]
        for measure in section.measures:
            rows += _rows(measure, section, [verdict for verdict in verdicts if verdict.bound.section == section.name])
        rows += [[f"  ({note})"] for note in section.notes]
        rows.append([])
    return "\n".join(_aligned(rows))


def _rows(measure: Measure, section: Section, verdicts: Sequence[Verdict]) -> list[list[str]]:
    rows = [[f"  {measure.name}", *(_shown(value, measure.unit) for value in _values(measure, section))]]
    if measure.compared and measure.peers:
        rows.append([f"    {section.ours} / this", "", *(_ratio(measure, peer) for peer in section.peers)])
    bounds = {verdict.bound.peer: verdict for verdict in verdicts if verdict.bound.measure == measure.name}
    if bounds:
        rows.append(["    bound", "", *(_verdict(bounds.get(peer)) for peer in section.peers)])
    return rows


def _values(measure: Measure, section: Section) -> list[float | None]:
    return [measure.ours, *(measure.peers.get(peer) for peer in section.peers)]


def _shown(value: float | None, unit: Unit) -> str:
    if value is None:
        return "-"
    if unit == "bytes":
        return f"{value / 1e6:,.2f} MB"
    if unit == "share":
        return f"{value:.2%}"
    return f"{value:,.3f} {unit}" if unit in ("s", "ms") else f"{value:,.0f} {unit}"


def _ratio(measure: Measure, peer: str) -> str:
    return f"{measure.ratio(peer):.3g}" if peer in measure.peers else ""


def _verdict(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    return f"{verdict.bound.sign} {verdict.bound.limit:.3g} {'ok' if verdict.kept else 'MISSED'}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, the others to the right; a row of one cell may be as long as it likes."""
    columns = max((len(row) for row in rows), default=0)
    widths = [max((len(row[i]) for row in rows if i < len(row) > 1), default=0) for i in range(columns)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(widths[i]) if i else cell.ljust(widths[0] if len(row) > 1 else 0) for i, cell in enumerate(row)
        ]
        lines.append(GAP.join(cells).rstrip())
    return lines

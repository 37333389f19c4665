"""The report page of a night: what was trained on what, how good it is, what the gate said, and some lists to look at.

One HTML file that needs nothing else: no script, no font, no picture from elsewhere, and a policy in its head that
forbids them. Titles of posts are what users wrote, so every text is escaped. It holds no id of a user.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template

from waypost.model.evaluation import Float64Array, interval_95, mean
from waypost.trainer.charts import Dot, dot_chart, line_chart
from waypost.trainer.gate import GateDecision
from waypost.trainer.holdout import HoldoutReport, K
from waypost.trainer.samples import Recommended, Sample

TEMPLATE = "report.html"
_MEASURES = (("recall", f"Recall@{K}"), ("ndcg", f"NDCG@{K}"))


@dataclass(frozen=True, eq=False)
class NightReport:
    """Everything the page and the terminal's table say. Facts are told in the order in which they are given."""

    title: str
    facts: Mapping[str, object]  # run, commit, fingerprint, started from …
    settings: Mapping[str, object]
    sizes: Mapping[str, object]  # of the graph
    cut: Mapping[str, object]  # how the holdout was cut off, and how large it is
    curves: Mapping[str, Sequence[tuple[int, float]]]  # by phase of the training: (step, loss)
    holdout: HoldoutReport
    decision: GateDecision
    samples: Sequence[Sample]


def to_html(night: NightReport) -> str:
    decision = night.decision
    template = Template(files("waypost.trainer").joinpath(TEMPLATE).read_text(encoding="utf-8"))
    sections = (
        _section("What was judged", _facts_table({**night.facts, **night.sizes, **night.cut})),
        _section("Learning", _curves(night.curves)),
        _section("Ranking by segment", _ranking(night.holdout)),
        _section("The catalogue", _catalogue(night.holdout)),
        _section("Against what it must not be below", _comparisons(decision)),
        _section("Sample lists", _samples(night.samples)),
        _section("Settings", _facts_table(night.settings)),
    )
    return template.substitute(
        title=escape(night.title),
        verdict="accepted by the gate" if decision.accepted else "refused by the gate",
        verdict_class="accepted" if decision.accepted else "refused",
        findings=_findings(decision),
        grounds=escape(decision.grounds),
        sections="\n".join(sections),
    )


def _section(heading: str, body: str) -> str:
    return f"<section><h2>{heading}</h2>\n{body}\n</section>" if body else ""


def _findings(decision: GateDecision) -> str:
    lines = [f"<li><b>{escape(found.check)}</b> {escape(found.what)}{_let_pass(decision, found.check)}</li>"
             for found in decision.findings]  # fmt: skip
    return f"<ul>{''.join(lines)}</ul>" if lines else ""


def _let_pass(decision: GateDecision, check: str) -> str:
    override = decision.override
    if override is None or check not in override.checks:
        return ""
    return f" — let pass by {escape(override.by)}: “{escape(override.reason)}”"


def _facts_table(facts: Mapping[str, object]) -> str:
    rows = [f"<tr><th>{escape(name)}</th><td>{escape(_told(value))}</td></tr>" for name, value in facts.items()]
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def _told(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _curves(curves: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    drawn = {name: line_chart(points, f"loss of {name}") for name, points in curves.items()}
    return "\n".join(f'<p class="note">loss, {escape(name)}</p>\n{chart}' for name, chart in drawn.items() if chart)


def _ranking(report: HoldoutReport) -> str:
    if not len(report.users):
        return '<p class="note">No user of the holdout could be judged.</p>'
    tables = [f"<h3>{name}</h3>{_segment_table(report, measure)}{_segment_chart(report, measure, name)}"
              for measure, name in _MEASURES]  # fmt: skip
    note = '<p class="note">Means over the users of a segment, with 95 % intervals of each mean.</p>'
    return note + "\n".join(tables)


def _segment_table(report: HoldoutReport, measure: str) -> str:
    rows = [
        (segment, f"{len(users):,}", *(_with_interval(_values(report, it, segment, measure)) for it in report.rankings))
        for segment, users in report.judged.items()
    ]
    return _figures(("segment", "users", *report.rankings), rows)


def _figures(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of numbers; the first cell of a row names it. Cells are HTML, columns are text."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr><th>{row[0]}</th>{''.join(f'<td>{cell}</td>' for cell in row[1:])}</tr>" for row in rows)
    return f'<div class="wide"><table class="figures"><tr>{head}</tr>{body}</table></div>'


def _values(report: HoldoutReport, ranker: str, segment: str, measure: str) -> Float64Array:
    scores = report.scores(ranker, segment)
    return scores.recall if measure == "recall" else scores.ndcg


def _with_interval(values: Float64Array) -> str:
    if not len(values):
        return "–"
    return f'{mean(values):.4f} <span class="interval-text">± {interval_95(values):.4f}</span>'


def _segment_chart(report: HoldoutReport, measure: str, name: str) -> str:
    groups = []
    for segment, users in report.judged.items():
        found = {ranker: _values(report, ranker, segment, measure) for ranker in report.rankings}
        dots = [Dot(ranker, mean(values), interval_95(values), number)
                for number, (ranker, values) in enumerate(found.items()) if len(users)]  # fmt: skip
        if dots:
            groups.append((segment, dots))
    return dot_chart(groups, f"{name} by segment and ranker")


def _catalogue(report: HoldoutReport) -> str:
    rows = [
        (escape(name), f"{ranking.coverage:.3f}", f"{ranking.gini:.3f}", f"{ranking.novelty_bits:.2f}")
        for name, ranking in report.rankings.items()
    ]
    note = (
        f"Coverage: the share of all {report.num_posts:,} posts that is in somebody's list. Gini: 0 when all are shown"
        f" alike. Spread of the model's post vectors {report.spread:.3f}; held-out pairs lie"
        f" {_from_top(report.leak.held_out)} from the top, pairs it was trained on {_from_top(report.leak.trained)}."
    )
    return f'<p class="note">{note}</p>{_figures(("ranker", "coverage", "Gini", "novelty, bits"), rows)}'


def _from_top(ranks: Float64Array) -> str:
    return f"{1.0 - mean(ranks):.1%}" if len(ranks) else "(too few to say)"


def _comparisons(decision: GateDecision) -> str:
    if not decision.comparisons:
        return ""
    rows = [
        (
            escape(one.check), escape(one.measure), f"{one.users:,}", f"{one.own:.4f}", f"{one.other:.4f}",
            f'{one.difference:+.4f} <span class="interval-text">± {one.half_width:.4f}</span>',
            '<span class="refused">below</span>' if one.is_below else "",
        )
        for one in decision.comparisons
    ]  # fmt: skip
    note = '<p class="note">User by user; the intervals hold together in 95 of 100 nights.</p>'
    return note + _figures(("check", "measure", "users", "model", "reference", "difference", ""), rows)


def _samples(samples: Sequence[Sample]) -> str:
    note = '<p class="note">Drawn by seed among the judged users, not by how well their lists turned out.</p>'
    return note + "\n".join(_sample(number, sample) for number, sample in enumerate(samples, 1)) if samples else ""


def _sample(number: int, sample: Sample) -> str:
    had = _titles("ul", (escape(title) for title in sample.had))
    got = _titles("ol", map(_recommended, sample.got))
    head = f"User {number}: {sample.had_count:,} posts before the cut, {sample.right_answers:,} after it"
    columns = f"<div>had, the latest last{had}</div><div>gets (✓ came to have){got}</div>"
    return f'<div class="sample"><h3>{head}</h3>{columns}</div>'


def _recommended(post: Recommended) -> str:
    return f'<span class="hit">{escape(post.title)} ✓</span>' if post.is_hit else escape(post.title)


def _titles(tag: str, titles: Iterable[str]) -> str:
    return f"<{tag}>{''.join(f'<li>{title}</li>' for title in titles)}</{tag}>"

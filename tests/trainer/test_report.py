"""The page and the table of a night: whole, self-contained, escaped, and without any user's id."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.factories import some_tensors
from tests.trainer.reports import a_report, with_ranking
from waypost.graph.texts import to_texts
from waypost.settings import TrainerSettings
from waypost.trainer.charts import Dot, dot_chart, line_chart
from waypost.trainer.checks import Override
from waypost.trainer.gate import decide
from waypost.trainer.holdout import MODEL
from waypost.trainer.report import NightReport, to_html
from waypost.trainer.samples import SAMPLE_USERS, Recommended, Sample, draw_samples, title_of
from waypost.trainer.segments import NEW_USERS
from waypost.trainer.split import split
from waypost.trainer.table import print_report

WICKED = '<script src="https://evil.example/x.js">alert("1")</script> & \U0001f3d6'
VOID = {"meta", "br", "link"}


def a_night(**changes: Any) -> NightReport:
    holdout = a_report(served=0.02)
    facts: dict[str, Any] = {
        "title": "Night 20260101T000000",
        "facts": {"run": "20260101T000000", "commit": "abc"},
        "settings": {"dim": 64, "seed": 1},
        "sizes": {"users": 12_345, "posts": 1_000},
        "cut": {"boundary": "2026-01-01T00:00:00+00:00", "held-out pairs": 400},
        "curves": {"the judged model": [(1, 7.0), (2, 5.0), (3, 4.5)]},
        "holdout": holdout,
        "decision": decide(holdout, TrainerSettings()),
        "samples": (Sample((WICKED, "Snow"), 2, (Recommended("Beach", True), Recommended(WICKED, False)), 1),),
    }
    return NightReport(**{**facts, **changes})


class Tags(HTMLParser):
    """Every tag with its attributes; complains of one that is closed wrongly."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_runs_nothing() -> None:
    page = to_html(a_night())
    tags = Tags(page)
    assert not tags.open
    assert not {"script", "link", "img", "iframe", "object", "embed"} & {tag for tag, _ in tags.found}
    assert not [attrs for _, attrs in tags.found if {"src", "href", "onclick", "onload"} & set(attrs)]
    assert "default-src 'none'" in page
    assert not re.search(r"url\(|@import|https?://(?!evil)", page)


def test_what_users_wrote_is_text_and_never_markup() -> None:
    page = to_html(a_night(title=WICKED, settings={WICKED: WICKED}, curves={WICKED: [(1, 1.0), (2, 2.0)]}))
    assert "<script" not in page
    assert "&lt;script src=" in page
    assert "&amp; \U0001f3d6" in page


def test_the_page_says_everything_that_the_night_found() -> None:
    page = to_html(a_night())
    for told in (
        "accepted by the gate", "12,345", "2026-01-01T00:00:00", "new-posts", "served", "popularity", "Recall@20",
        "NDCG@20", "Gini", "novelty", "Beach ✓", "User 1: 2 posts before the cut, 1 after it", "loss, the judged model",
        "below-served:new-posts", "dim",
    ):  # fmt: skip
        assert told in page, told
    assert page.count("<svg") == 3


def test_a_refusal_stands_at_the_top_and_who_let_it_pass() -> None:
    bad = a_report(gain=-0.1)
    refused = to_html(a_night(holdout=bad, decision=decide(bad, TrainerSettings())))
    assert 'class="refused">refused by the gate' in refused
    override = Override(("below-popularity",), "a <new> shop", "ann@host")
    passed = to_html(a_night(holdout=bad, decision=decide(bad, TrainerSettings(), override)))
    assert "accepted by the gate" in passed
    assert "let pass by ann@host: “a &lt;new&gt; shop”" in passed


def test_a_night_without_a_holdout_or_a_curve_has_a_page_too() -> None:
    empty = a_report(users=0)
    page = to_html(a_night(holdout=empty, decision=decide(empty, TrainerSettings()), curves={}, samples=()))
    assert "No user of the holdout could be judged" in page
    assert "<svg" not in page


@pytest.mark.parametrize("points", [[(0, 1.0), (1, float("nan")), (5, 0.5)], [(3, 2.0), (9, 2.0)]])
def test_a_curve_is_drawn_inside_its_frame(points: list[tuple[int, float]]) -> None:
    svg = ElementTree.fromstring(line_chart(points, "loss"))
    width, height = map(float, svg.attrib["viewBox"].split()[2:])
    line = next(it for it in svg if it.attrib.get("class") == "curve").attrib["points"]
    for pair in line.split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= width
        assert 0 <= y <= height


def test_a_dot_stands_where_its_value_is() -> None:
    chart = dot_chart([("all", [Dot("a", 0.1, 0.01, 0), Dot("b", 0.2, 0.01, 1), Dot("c", float("nan"), 0.0, 2)])], "r")
    svg = ElementTree.fromstring(chart)
    groups = [it for it in svg if it.tag == "g"]
    assert [group.attrib["class"] for group in groups] == ["ranker-0", "ranker-1"]
    circle, square = groups[0].find("circle"), groups[1].find("rect")
    assert circle is not None
    assert square is not None
    assert float(circle.attrib["cx"]) < float(square.attrib["x"])
    assert dot_chart([], "r") == ""
    assert line_chart([(1, 1.0)], "loss") == ""


def test_samples_tell_titles_and_hits_and_no_ids_of_users() -> None:
    tensors = some_tensors(num_users=30, num_posts=40, post_texts=to_texts(f"Title {i}\nbody" for i in range(40)))
    cut = split(tensors, 0.3, 1)
    report = a_report(users=30)
    report = with_ranking(report, MODEL, lists=report.lists % 40)
    samples = draw_samples(tensors, cut, report, seed=1)
    assert len(samples) == SAMPLE_USERS
    assert draw_samples(tensors, cut, report, seed=1) == samples
    told = [title for sample in samples for title in (*sample.had, *(post.title for post in sample.got))]
    assert told
    assert all(re.fullmatch(r"Title \d+", title) for title in told)


def test_a_hit_is_a_post_that_the_user_came_to_have() -> None:
    tensors = some_tensors(num_users=30, num_posts=40)
    cut = split(tensors, 0.3, 1)
    user = int(cut.holdout_user[0])
    answers = cut.holdout_post[cut.holdout_user == user]
    wrong = np.setdiff1d(np.arange(40), answers)[:3]
    report = a_report(users=30)
    lists = np.full_like(report.lists, -1)
    lists[:, :3], lists[:, 3] = wrong, answers[0]
    report = replace(report, users=np.full(30, user, np.int32), judged={**report.judged, NEW_USERS: answers[:0]})
    sample = draw_samples(tensors, cut, with_ranking(report, MODEL, lists=lists), seed=1)[0]
    assert [post.is_hit for post in sample.got] == [False, False, False, True]
    assert sample.right_answers == len(answers)


@pytest.mark.parametrize(
    ("text", "title"),
    [("A title\nbody", "A title"), ("\n  \n second ", "second"), ("", "post 1000"), ("x" * 300, "x" * 99 + "…")],
)
def test_a_title_is_the_first_line_or_the_posts_id(text: str, title: str) -> None:
    assert title_of(some_tensors(num_posts=1, post_texts=to_texts([text])), 0) == title


def test_the_table_has_a_row_for_each_ranker_and_says_the_decision() -> None:
    for report, word in ((a_report(served=0.01), "accepted"), (a_report(gain=-0.1), "refused")):
        out = io.StringIO()
        print_report(report, decide(report, TrainerSettings()), out)
        lines = out.getvalue().splitlines()
        for ranker in report.rankings:
            assert sum(ranker in line and "±" in line for line in lines) >= 2
        assert word in lines
        assert "new-posts" in out.getvalue()
    assert "below-popularity: recall@20" in out.getvalue()

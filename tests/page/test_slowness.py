"""Which stage is named, and since when: by histograms as Prometheus reads them, over looks a few seconds apart."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from waypost.gateway.page.exposition import histograms, label_of, one_value, parse_samples
from waypost.gateway.page.figures import NOW_SECONDS, Looks, figures
from waypost.gateway.page.histograms import Counts
from waypost.gateway.page.record import KEPT_SECONDS, Record
from waypost.gateway.page.slowness import PATH, Stage, Verdict, judge
from waypost.key_types import INTEGER_KEYS

EDGES = (0.0025, 0.01, 0.05, 0.1, 0.15, 0.25, math.inf)
LOOK = 5.0


def counts(**by_edge: int) -> Counts:
    """So many observations up to an edge and above the one before: `ms10=90, ms150=10`."""
    found, cumulative = 0, []
    for edge in EDGES:
        found += by_edge.get("beyond" if math.isinf(edge) else f"ms{edge * 1000:g}".replace(".", "_"), 0)
        cumulative.append(float(found))
    return Counts(EDGES, tuple(cumulative))


FAST, SLOW = counts(ms10=200), counts(ms150=200)


def stages(**slow: tuple[Counts | None, ...]) -> list[Stage]:
    """Every stage as fast as ever but for the named ones: (now, earlier on this release, release before)."""
    usual = (FAST, FAST, FAST)
    found = []
    for process, name in PATH:
        now, earlier, before = slow.get(f"{process}_{name}", usual)
        found.append(Stage(process, name, now, earlier, before, before))
    return found


def test_a_quantile_lies_where_prometheus_puts_it() -> None:
    found = counts(ms10=90, ms50=10)
    assert found.quantile(0.5) == pytest.approx(0.0025 + 0.0075 * 50 / 90)
    assert found.quantile(0.99) == pytest.approx(0.01 + 0.04 * 0.9)
    assert counts(beyond=3).quantile(0.99) == 0.25, "beyond the last edge nobody knows how far"
    assert counts().quantile(0.99) is None


def test_what_was_added_is_all_of_it_when_the_process_began_anew() -> None:
    assert counts(ms10=5).since(counts(ms10=3)) == counts(ms10=2)
    assert counts(ms10=5).since(counts(ms10=9)) == counts(ms10=5)
    assert counts(ms10=5).since(None) == counts(ms10=5)


def test_a_slow_stage_of_a_new_release_is_named_with_that_release() -> None:
    said = judge(stages(worker_tokenize=(SLOW, None, FAST)), "12", "11")
    assert (said.kind, said.process, said.stage) == ("slow", "worker", "tokenize")
    assert said.sentence == "tokenize in the worker: p99 9.9 ms → 150 ms since release 12."


def test_what_waits_for_the_slow_stage_is_not_named_in_its_place() -> None:
    slower = counts(ms250=200)
    said = judge(
        stages(
            worker_tokenize=(SLOW, None, FAST),
            worker_queue_wait=(slower, None, FAST),
            gateway_wait=(slower, None, FAST),
        ),
        "12",
        "11",
    )
    assert said.stage == "tokenize"
    assert judge(stages(gateway_wait=(slower, None, FAST)), "12", "11").stage == "wait"


def test_a_stage_that_got_slow_on_a_release_of_yesterday_is_not_laid_at_its_door() -> None:
    said = judge(stages(gateway_enqueue=(SLOW, FAST, FAST)), "12", "11")
    assert (said.stage, said.sentence[-60:]) == (
        "enqueue",
        "p99 9.9 ms → 150 ms in the last minutes, on release 12 all the while."[-60:],
    )


def test_of_two_slow_stages_the_one_that_grew_most_is_named() -> None:
    slower = counts(ms250=200)
    said = judge(stages(worker_infer=(slower, None, FAST), worker_reply=(SLOW, None, FAST)), "12", "11")
    assert said.stage == "infer"


@pytest.mark.parametrize(
    ("now", "before"),
    [
        (counts(ms10=195, ms150=5), FAST),  # a hiccup of five requests
        (counts(ms50=200), counts(ms50=180, ms10=20)),  # as slow as ever
        (SLOW, counts(ms10=20)),  # hardly anything to compare with
        (counts(ms10=1), FAST),
    ],
)
def test_chance_is_not_named(now: Counts, before: Counts) -> None:
    assert judge(stages(worker_lookup=(now, None, before)), "12", "11").kind == "calm"


def test_without_anything_to_compare_with_the_longest_stage_is_told() -> None:
    nothing: Mapping[str, tuple[Counts | None, ...]] = {f"{p}_{name}": (FAST, None, None) for p, name in PATH}
    said = judge(stages(**{**nothing, "worker_infer": (SLOW, None, None)}), "1", None)
    assert said.kind == "calm"
    assert "longest is infer" in said.sentence
    assert "not counting where requests wait for others (wait 9.9 ms, queue_wait 9.9 ms)." in said.sentence


def test_without_requests_the_page_says_so() -> None:
    none: Mapping[str, tuple[Counts | None, ...]] = {f"{p}_{name}": (None, None, None) for p, name in PATH}
    assert judge(stages(**none), "1", None).kind == "quiet"


class Story:
    """A gateway and a worker looked at every five seconds, whose stages take what is said."""

    def __init__(self) -> None:
        self.record, self.at = Record(), 0.0
        self.series: dict[str, dict[tuple[str, str], Counts]] = {"gateway": {}, "worker": {}}
        self.look()  # the first look only says where each stands

    def traffic(self, seconds: float, version: str, **slow: Counts) -> None:
        for _ in range(int(seconds / LOOK)):
            self.at += LOOK
            for process, name in PATH:
                series = self.series[process]
                series[name, version] = slow.get(name, counts(ms10=20)).plus(series.get((name, version)))
            self.look()

    def look(self) -> None:
        for process, series in self.series.items():
            self.record.note(process, self.at, dict(series))

    def verdict(self, release: str) -> Verdict:
        looks = Looks(gateway=parse_samples(f'waypost_gateway_release_info{{model_version="{release}"}} 1.0',
                                            ("waypost_gateway_release_info",)))  # fmt: skip
        return Verdict(**figures(self.record, looks, INTEGER_KEYS, self.at, 0.0)["verdict"])


def test_a_story_of_a_slow_release_and_its_end() -> None:
    story = Story()
    story.traffic(300, "11")
    assert story.verdict("11").kind == "calm"
    story.traffic(20, "12", tokenize=counts(ms150=20))
    assert story.verdict("12").sentence == "tokenize in the worker: p99 9.9 ms → 150 ms since release 12."
    story.traffic(2 * KEPT_SECONDS, "12", tokenize=counts(ms150=20))
    assert story.verdict("12").stage == "tokenize", "the release before is remembered beyond the half hour"
    story.traffic(2 * NOW_SECONDS, "13")
    assert story.verdict("13").kind == "calm"


def test_a_worker_that_began_anew_leaves_no_negative_window() -> None:
    story = Story()
    story.traffic(60, "11")
    story.series["worker"] = {}
    story.traffic(60, "11")
    window = story.record.between(0, story.at)
    assert {found.total for found in window.values()} == {20 * 120 / LOOK}


def test_an_hour_of_looks_is_kept_in_few() -> None:
    story = Story()
    story.traffic(3_600, "11")
    window = story.record.between(story.at - KEPT_SECONDS, story.at)
    (total,) = {found.total for found in window.values()}
    assert total == pytest.approx(20 * KEPT_SECONDS / LOOK, rel=0.05)
    kept = sum(map(len, (story.record._fine, story.record._coarse)))
    assert kept <= 120


def test_the_text_of_prometheus_is_read_whatever_stands_between() -> None:
    text = (
        "# HELP x_seconds something\n"
        'x_seconds_bucket{le="0.1",stage="a",path="{\\"}"} 3.0 # {trace_id="1"} 0.05 1.0\n'
        'x_seconds_bucket{le="+Inf",stage="a",path="{\\"}"} 4.0\n'
        'x_seconds_bucket{le="0.1",stage="a",path="other"} 1.0\n'
        'x_seconds_bucket{le="+Inf",stage="a",path="other"} NaNsense\n'
        'x_info{version="1"} 0.0\nx_info{version="2"} 1.0\nx_depth NaN\nx_seconds_bucket_more 1\n'
    )
    samples = parse_samples(text, ("x_seconds_bucket", "x_info", "x_depth"))
    assert histograms(samples, "x_seconds", "stage") == {("a",): Counts((0.1, math.inf), (4.0, 4.0))}
    assert label_of(samples, "x_info", "version") == "2"
    assert one_value(samples, "x_depth") is None

"""The quality bench around its measurements: what is run again, what is kept, which promises are missed, the page."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench.quality.__main__ import main, run_rows
from bench.quality.bounds import BOUNDS, judge
from bench.quality.context import Bench, Outcome
from bench.quality.judging import Judged, paired, write_judge, write_lists
from bench.quality.results import Found, digest_of, load_found, save_found
from bench.quality.rows import FIRST, GOWALLA, Row, planned
from bench.quality.travel import NEW, NEW_OF_OTHERS, WARM
from bench.quality.verbs import TimeIsUp, VerbFailed, stages_of

from bench import page

SCORES: Mapping[str, float] = {
    "users": 2, "recall": 0.2, "recall_ci95": 0.01, "ndcg": 0.17, "ndcg_ci95": 0.01, "coverage": 0.6, "gini": 0.5,
    "novelty_bits": 9.5,
}  # fmt: skip
NIGHT: Mapping[str, float] = {"seconds": 100.0, "peak_bytes": 10**9, "model trained": 60.0}
OVER: Mapping[str, float] = {"recall": 0.02, "recall_ci95": 0.01, "ndcg": 0.02, "ndcg_ci95": 0.01}


def a_found(figures: Mapping[str, Mapping[str, Any]], digest: str = "d") -> Found:
    return Found(
        digest=digest,
        command="waypost night",
        seed=1,
        seconds=120.0,
        peak_bytes=10**9,
        made_at="2026-11-21T16:10:00+00:00",
        commit="abcdef0123456789",
        uncommitted=False,
        machine={"cores": 2, "processor": "a processor", "system": "Linux"},
        figures=figures,
    )


def everything_found() -> dict[str, Found]:
    warm = {f"warm pairs, {peer}": SCORES for peer in ("popularity", "implicit ALS")}
    content = {
        f"{group}, {peer}": {**SCORES, "tuned": {"use_idf": "True"}}
        for group in (NEW, NEW_OF_OTHERS)
        for peer in ("tag profile", "tag+title TF-IDF")
    }
    travel = {NEW: SCORES, NEW_OF_OTHERS: SCORES, WARM: SCORES, "night": NIGHT, **warm, **content}
    travel |= {f"{name.replace(', ', ', ours over ')}": OVER for name in (*warm, *content)}
    found = {
        GOWALLA: a_found({"test": SCORES, "night": NIGHT}),
        "gowalla, seed 2": a_found({"test": {**SCORES, "recall": 0.21}, "night": NIGHT}),
        "lastfm": a_found(
            {
                "ours": SCORES,
                "night": NIGHT,
                **dict.fromkeys(("popularity", "implicit ALS", "GF-CF"), SCORES),
                **{f"ours over {peer}": OVER for peer in ("popularity", "implicit ALS", "GF-CF")},
            }
        ),
        "travel": a_found({**travel, "new posts, ratio": {"recall": 1.4, "ndcg": 1.3}}),
        "yelp2018": a_found(
            {
                "cold night": NIGHT,
                "warm night": NIGHT,
                "holdout, cold": {"recall": 0.2},
                "holdout, warm": {"recall": 0.2},
            }
        ),
    }
    return found | {
        f"travel without {what}": a_found({NEW: SCORES, NEW_OF_OTHERS: SCORES, WARM: SCORES})
        for what in ("tags", "text")
    }


def a_bench(folder: Path) -> Bench:
    (folder / "data" / "tiny").mkdir(parents=True)
    (folder / "data" / "evaluate.py").write_text("")
    (folder / "data" / "tiny" / "users.tsv").write_text("")
    return Bench(folder / "data", deadline=time.monotonic() + 60)


class Measured:
    """A row's measurement that counts how often it is made."""

    def __init__(self, error: Exception | None = None) -> None:
        self.times, self.error = 0, error

    def __call__(self, bench: Bench, seed: int) -> Outcome:
        self.times += 1
        if self.error:
            raise self.error
        return Outcome({"test": {"recall": 0.5}}, 10)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """Two rows in place of the real ones, which take two hours."""
    made = [Row("first", "tiny", Measured(), "a command"), Row("second", "tiny", Measured(), "another")]
    monkeypatch.setattr("bench.quality.__main__.planned", lambda found: made)
    monkeypatch.setattr("bench.quality.__main__.NAMES", ("first", "second"))
    return made


def times_of(rows: list[Row]) -> list[int]:
    return [row.run.times for row in rows if isinstance(row.run, Measured)]


def test_a_row_that_is_there_is_not_run_again_and_a_fresh_run_runs_all(tmp_path: Path, rows: list[Row]) -> None:
    bench, kept = a_bench(tmp_path), tmp_path / "quality.json"
    assert run_rows(bench, {}, None, kept, fresh=False) == []
    assert run_rows(bench, load_found(kept), None, kept, fresh=False) == []
    assert times_of(rows) == [1, 1]
    run_rows(bench, load_found(kept), ["second"], kept, fresh=True)
    assert times_of(rows) == [1, 2]


def test_other_data_or_settings_make_a_row_anew(tmp_path: Path, rows: list[Row]) -> None:
    bench, kept = a_bench(tmp_path), tmp_path / "quality.json"
    run_rows(bench, {}, None, kept, fresh=False)
    run_rows(replace(bench, settings={"WAYPOST_TRAINER_EPOCHS": "2"}), load_found(kept), None, kept, fresh=False)
    (tmp_path / "data" / "tiny" / "users.tsv").write_text("changed")
    run_rows(bench, load_found(kept), None, kept, fresh=False)
    assert times_of(rows) == [3, 3]


def test_a_row_is_kept_as_soon_as_it_is_done(tmp_path: Path, rows: list[Row]) -> None:
    bench, kept = a_bench(tmp_path), tmp_path / "quality.json"
    rows[1] = replace(rows[1], run=Measured(KeyboardInterrupt()))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        run_rows(bench, {}, None, kept, fresh=False)
    assert list(load_found(kept)) == ["first"]
    assert json.loads(kept.read_text())["rows"]["first"]["figures"] == {"test": {"recall": 0.5}}


def test_a_row_that_fails_is_told_and_the_next_one_runs(tmp_path: Path, rows: list[Row]) -> None:
    kept = tmp_path / "quality.json"
    rows[0] = replace(rows[0], run=Measured(VerbFailed("waypost night", 3, "refused")))
    complaints = run_rows(a_bench(tmp_path), {}, None, kept, fresh=False)
    assert complaints == ["first: `waypost night` ended with 3: refused"]
    assert list(load_found(kept)) == ["second"]


def test_when_the_time_is_up_the_rest_is_left_for_the_next_run(tmp_path: Path, rows: list[Row]) -> None:
    kept = tmp_path / "quality.json"
    rows[0] = replace(rows[0], run=Measured(TimeIsUp()))
    assert run_rows(a_bench(tmp_path), {}, None, kept, fresh=False) == [
        "first: the time is up; run it again to go on from here"
    ]
    assert times_of(rows) == [1, 0]


def test_an_absent_data_folder_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path / "nowhere")]) == 2
    assert "name the data folder" in capsys.readouterr().err


def test_a_digest_knows_names_and_bytes_of_files_and_all_facts(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("1")
    first = digest_of([tmp_path / "code"], "seed 1")
    (tmp_path / "code" / "__pycache__").mkdir()
    (tmp_path / "code" / "__pycache__" / "a.pyc").write_text("made from it")
    assert digest_of([tmp_path / "code"], "seed 1") == first
    assert digest_of([tmp_path / "code"], "seed 2") != first
    (tmp_path / "code" / "a.py").rename(tmp_path / "code" / "b.py")
    assert digest_of([tmp_path / "code"], "seed 1") != first


def test_a_file_of_another_format_counts_for_nothing(tmp_path: Path) -> None:
    save_found(tmp_path / "quality.json", everything_found())
    assert load_found(tmp_path / "quality.json") == everything_found()
    (tmp_path / "quality.json").write_text('{"format": 0}')
    assert load_found(tmp_path / "quality.json") == {}


@pytest.mark.parametrize(("seconds", "seeds"), [(599.0, 4), (601.0, 2)])
def test_a_quick_night_shows_its_spread_over_more_seeds(seconds: float, seeds: int) -> None:
    found = {GOWALLA: a_found({"night": {"seconds": seconds}})}
    assert len(planned(found)) - len(FIRST) == seeds
    assert len(planned({})) - len(FIRST) == 2


def test_every_bound_is_on_a_row_that_is_run_and_can_be_kept() -> None:
    names = [row.name for row in FIRST]
    assert {bound.row for bound in BOUNDS} <= set(names)
    assert all(verdict.kept for verdict in judge(everything_found(), names))


def test_every_bound_is_missed_by_what_was_not_measured() -> None:
    assert not any(verdict.kept for verdict in judge({}, [row.name for row in FIRST]))
    assert not any(verdict.kept for verdict in judge({GOWALLA: a_found({})}, [GOWALLA]))


@pytest.mark.parametrize(
    ("group", "name", "value", "missed"),
    [
        ("ours over GF-CF", "ndcg", 0.009, ["NDCG@20 over GF-CF, lower end"]),
        ("ours over implicit ALS", "recall", -0.1, ["Recall@20 over implicit ALS, lower end"]),
    ],
)
def test_a_difference_inside_its_interval_is_not_above(group: str, name: str, value: float, missed: list[str]) -> None:
    found = everything_found()["lastfm"]
    changed = {**found.figures, group: {**OVER, name: value}}
    verdicts = judge({"lastfm": replace(found, figures=changed)}, ["lastfm"])
    assert [verdict.bound.what for verdict in verdicts if not verdict.kept] == missed


@pytest.mark.parametrize(("difference", "kept"), [(-0.009, True), (-0.011, False)])
def test_level_means_not_below_by_more_than_the_interval(difference: float, kept: bool) -> None:
    found = everything_found()["travel"]
    changed = {**found.figures, "warm pairs, ours over popularity": {**OVER, "ndcg": difference}}
    verdicts = judge({"travel": replace(found, figures=changed)}, ["travel"])
    assert all(verdict.kept for verdict in verdicts) == kept


def test_a_missed_bound_is_told_with_its_figure_and_its_words() -> None:
    found = a_found({"test": {**SCORES, "recall": 0.1699}, "night": NIGHT})
    (missed,) = [verdict for verdict in judge({GOWALLA: found}, [GOWALLA]) if not verdict.kept]
    assert str(missed) == "gowalla, seed 1: Recall@20 is 0.1699, must be ≥ 0.182: LightGCN's level"


def test_differences_are_taken_user_by_user() -> None:
    ours = Judged({}, recall={"a": 0.5, "b": 0.25}, ndcg={"a": 0.5, "b": 0.5})
    theirs = Judged({}, recall={"b": 0.25, "a": 0.25}, ndcg={"a": 0.25, "b": 0.25})
    found = paired(ours, theirs)
    assert found["recall"] == 0.125
    assert found["recall_ci95"] == pytest.approx(1.96 * 0.125 / 2**0.5)
    assert (found["ndcg"], found["ndcg_ci95"]) == (0.25, 0.0)


def test_the_judge_is_asked_with_the_files_and_its_refusal_is_passed_on(tmp_path: Path) -> None:
    script = tmp_path / "evaluate.py"
    script.write_text(
        "import json, sys\n"
        "given = dict(zip(sys.argv[1:9:2], sys.argv[2:9:2]))\n"
        "if '--seen strip' not in ' '.join(sys.argv): sys.exit('a seen post')\n"
        "lists = open(given['--recs']).read()\n"
        "open(given['--per-user'], 'w').write('u\\t0.5\\t0.25\\t1\\n') if lists == 'u\\tp q\\n' else sys.exit(lists)\n"
        "names = 'users recall@20 recall_ci95 ndcg@20 ndcg_ci95 coverage@20 gini_exposure novelty_bits'\n"
        "print(json.dumps({name: 1 for name in names.split()}))\n"
    )
    lists = write_lists(tmp_path / "recs.tsv", {"u": ["p", "q"]})
    judged = write_judge(script, tmp_path, "all", [("u", "s")], [("u", "p")], strips_seen=True)(lists)
    assert (judged.recall, judged.ndcg, judged.figures["coverage"]) == ({"u": 0.5}, {"u": 0.25}, 1)
    assert (tmp_path / "all-train.txt").read_text() == "u s\n"
    with pytest.raises(RuntimeError, match="a seen post"):
        write_judge(script, tmp_path, "all", [("u", "s")], [("u", "p")])(lists)


def test_stages_are_read_from_the_log_and_a_second_training_is_numbered() -> None:
    log = [
        '{"event": "model trained", "seconds": 2.0, "steps": 5, "level": "info"}',
        "a library's warning",
        '{"event": "training", "steps": 3}',
        '{"event": "model trained", "seconds": 1.0}',
    ]
    assert stages_of(log) == {
        "model trained": {"seconds": 2.0, "steps": 5},
        "model trained (2)": {"seconds": 1.0},
    }


def test_the_page_tells_what_is_there_and_that_the_rest_is_not() -> None:
    whole = page.render(everything_found(), {}, {})
    assert "| gowalla, seed 1: Recall@20 | 0.2 | ≥ 0.182 | 0.187 | kept |" in whole
    assert "Over 2 seeds: Recall@20 from 0.2000 to 0.2100" in whole
    assert "| without tags |" in whole
    assert "`waypost night` | 1 | abcdef0123 |" in whole
    assert "Not run: no GPU was at hand" in whole
    empty = page.render({}, {}, {})
    assert "| gowalla, seed 1: Recall@20 | not measured | ≥ 0.182 | 0.187 | **missed** |" in empty


def test_the_page_has_the_full_bench_and_the_gpus_table_once_they_were_run() -> None:
    ranker = {"name": "RecBole's LightGCN", "shown": "at least 1,200.0 s", "ratio": "at least 24.0", "best": 0.03}
    full = {
        "made_at": "2026-11-21T16:10:00+00:00", "git_commit": "abcdef0123456789", "target": 0.11, "share": 0.1,
        "stop_seconds": 1200.0, "rankers": [ranker],
    }  # fmt: skip
    gpu = {
        "made_at": "2026-11-22T00:00:00+00:00", "git_commit": "abcdef0123456789", "card": "a card", "graph": "gowalla",
        "lines": [{"what": "a training step", "device": "5.0 ms", "cpu": "150.0 ms"}],
    }  # fmt: skip
    whole = page.render({}, full, gpu)
    assert "| RecBole's LightGCN | at least 1,200.0 s | at least 24.0 | 0.03 |" in whole
    assert "|  | a card | its host's CPU |" in whole
    assert "| a training step | 5.0 ms | 150.0 ms |" in whole


def test_the_rows_are_run_by_this_interpreter() -> None:
    from bench.quality.verbs import WAYPOST  # noqa: PLC0415  # named by no other test

    assert Path(WAYPOST[0]).parent == Path(sys.executable).parent

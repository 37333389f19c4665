"""A whole training night on a real Postgres: what it keeps, what it shows, whom it compares with, what it refuses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from waypost.clock import ManualClock
from waypost.errors import GateRefused, UsageError
from waypost.graph.loading import load_directory
from waypost.graph.mapping import DEFAULT
from waypost.local.world import write_world
from waypost.metrics import TrainerMetrics
from waypost.model.checkpoint import REPORT, list_checkpoints, load_whole_checkpoint
from waypost.objects.memory import MemoryObjectStore
from waypost.release.moves import point_to
from waypost.release.pointer import read_pointer
from waypost.release.store import publish
from waypost.settings import TrainerSettings
from waypost.trainer.checks import Override
from waypost.trainer.gate_metrics import LET_PASS, REFUSED
from waypost.trainer.resuming import MARK
from waypost.trainer.run import train_night
from waypost.trainer.wishes import NightWish, require_writable

SETTINGS = TrainerSettings(dim=8, layers=1, epochs=12, threads=1, statement_timeout_seconds=60)
NEVER_WIDE_ENOUGH = SETTINGS.model_copy(update={"gate_min_coverage": 1.0})
Run = Callable[..., str | None]


@pytest.fixture
def store() -> MemoryObjectStore:
    return MemoryObjectStore()


@pytest.fixture
def metrics() -> TrainerMetrics:
    return TrainerMetrics()


@pytest.fixture
def run(postgres_dsn: str, tmp_path: Path, store: MemoryObjectStore, metrics: TrainerMetrics) -> Run:
    """A night over a small world."""
    write_world(tmp_path / "world", 3_000, 1)
    load_directory(postgres_dsn, tmp_path / "world")

    def one_night(settings: TrainerSettings = SETTINGS, **wish: object) -> str | None:
        return train_night(settings, store, postgres_dsn, DEFAULT, NightWish(**wish), metrics)  # type: ignore[arg-type]

    return one_night


def serve(store: MemoryObjectStore, checkpoint: str) -> None:
    facts = {"version": 1, "checkpoint": checkpoint, "made_at": "2026-01-01T00:00:00+00:00"}
    publish(store, "000001-served", {"model.onnx": b"x"}, facts)
    point_to(store, read_pointer(store), "000001-served", 1, "me", ManualClock())


def stages(metrics: TrainerMetrics) -> set[str]:
    """Those that took some time."""
    samples = [sample for family in metrics.stage_seconds.collect() for sample in family.samples]
    return {sample.labels["stage"] for sample in samples if sample.value > 0}


def names(store: MemoryObjectStore) -> list[str]:
    return [info.key for info in store.list("")]


def test_a_night_keeps_both_weights_the_page_and_the_decision(run: Run, store: MemoryObjectStore) -> None:
    name = run()
    assert name is not None
    assert list_checkpoints(store) == [name]
    kept = load_whole_checkpoint(store, name)
    assert not kept.model.post_id.equal(kept.blind.post_id)
    assert kept.metadata["gate"]["accepted"]
    assert "no served model" in kept.metadata["gate"]["grounds"]
    assert {"new-posts", "tail"} <= set(kept.metadata["scores"]["segments"])
    page = store.get(f"checkpoints/{name}/{REPORT}")
    assert page is not None
    assert name in page.body.decode()
    assert "loss, the judged model" in page.body.decode()
    assert not [key for key in names(store) if key.startswith("progress/")]


def test_a_dry_run_shows_the_report_and_keeps_no_checkpoint(
    run: Run, store: MemoryObjectStore, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(dry_run=True, report=tmp_path / "report.html") is None
    shown = capsys.readouterr().out
    assert "popularity" in shown
    assert "accepted" in shown.splitlines()
    assert "<svg" in (tmp_path / "report.html").read_text()
    assert not list_checkpoints(store)
    with pytest.raises(GateRefused):
        run(NEVER_WIDE_ENOUGH, dry_run=True)
    assert "refused" in capsys.readouterr().out.splitlines()
    assert not [key for key in names(store) if key.endswith(MARK)]


def test_a_refused_night_keeps_nothing_and_can_be_let_pass_by_name(
    run: Run, store: MemoryObjectStore, tmp_path: Path, metrics: TrainerMetrics
) -> None:
    verdict = ("waypost_trainer_gate_verdict", {"check": "coverage"})
    with pytest.raises(GateRefused, match="coverage: its lists show"):
        run(NEVER_WIDE_ENOUGH, report=tmp_path / "report.html")
    assert not list_checkpoints(store)
    assert metrics.registry.get_sample_value(*verdict) == REFUSED
    assert metrics.registry.get_sample_value("waypost_trainer_cache_hit", {"cache": "graph"}) == 0
    assert {"snapshot read", "judged model trained", "holdout judged"} <= stages(metrics)
    assert "refused by the gate" in (tmp_path / "report.html").read_text()
    name = run(NEVER_WIDE_ENOUGH, override=Override(("coverage",), "a small shop", "ann@host"))
    assert name is not None
    gate = load_whole_checkpoint(store, name).metadata["gate"]
    assert metrics.registry.get_sample_value(*verdict) == LET_PASS
    assert metrics.registry.get_sample_value("waypost_trainer_cache_hit", {"cache": "graph"}) == 1
    assert {"kept model trained", "checkpoint kept"} <= stages(metrics)
    assert gate["override"] == {"checks": ["coverage"], "reason": "a small shop", "by": "ann@host"}
    assert [finding["check"] for finding in gate["findings"]] == ["coverage"]


def test_the_next_night_is_compared_with_what_is_served(
    run: Run, store: MemoryObjectStore, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    first = run()
    assert first is not None
    serve(store, first)
    run(SETTINGS.model_copy(update={"seed": 2}), dry_run=True)
    assert any(line.split()[1:2] == ["served"] for line in capsys.readouterr().out.splitlines())
    store.delete([f"checkpoints/{first}/manifest.json"])
    with caplog.at_level(logging.WARNING):
        run(dry_run=True)
    assert not any(line.split()[1:2] == ["served"] for line in capsys.readouterr().out.splitlines())
    assert "served model not compared with" in caplog.text


def test_a_report_that_could_not_be_written_is_told_before_the_night(tmp_path: Path) -> None:
    require_writable(tmp_path / "report.html")
    for path in (tmp_path, tmp_path / "nowhere" / "report.html"):
        with pytest.raises(UsageError, match="cannot be written"):
            require_writable(path)

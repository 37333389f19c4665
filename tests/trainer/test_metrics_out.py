"""A night's metrics: the file that is there whatever happened, and the door that is open while it runs."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from waypost.errors import DataContractRefused, SettingsError, Superseded
from waypost.metrics import TrainerMetrics, exposition
from waypost.settings import TrainerSettings
from waypost.trainer.metrics_out import published


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "waypost.prom"


def lines_of(file: Path) -> list[str]:
    return file.read_text().splitlines()


def test_the_file_is_written_when_the_night_ends(file: Path) -> None:
    metrics = TrainerMetrics()
    with published(metrics, TrainerSettings(metrics_file=file)) as url:
        metrics.rows.labels("users").set(7)
        assert url is None
        assert not file.exists()
    assert 'waypost_trainer_rows{source="users"} 7.0' in lines_of(file)
    assert "waypost_trainer_exit_code 0.0" in lines_of(file)
    assert [path.name for path in file.parent.iterdir()] == [file.name]  # no scratch file stays


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [(DataContractRefused("refused"), 3), (Superseded("newer"), 0), (ZeroDivisionError(), 1), (KeyboardInterrupt(), 1)],
)
def test_the_file_is_there_after_a_failure_and_says_how_it_ended(
    file: Path, error: BaseException, exit_code: int
) -> None:
    file.write_text("yesterday's")
    metrics = TrainerMetrics()
    with pytest.raises(type(error)), published(metrics, TrainerSettings(metrics_file=file)):
        raise error
    assert f"waypost_trainer_exit_code {exit_code:.1f}" in lines_of(file)


def test_the_file_is_replaced_and_never_rewritten(file: Path) -> None:
    """Whoever has yesterday's file open goes on reading the whole of yesterday's."""
    file.write_text("yesterday's")
    with file.open() as reader:
        with published(TrainerMetrics(), TrainerSettings(metrics_file=file)):
            pass
        assert reader.read() == "yesterday's"
    assert file.read_bytes().endswith(b"\n")


def test_the_node_exporter_of_another_user_may_read_it(file: Path) -> None:
    with published(TrainerMetrics(), TrainerSettings(metrics_file=file)):
        plain = file.with_name("plain")
        plain.touch()
    assert file.stat().st_mode == plain.stat().st_mode


def test_what_was_not_found_is_no_zero(file: Path) -> None:
    with published(TrainerMetrics(), TrainerSettings(metrics_file=file)):
        pass
    assert "waypost_trainer_snapshot_age_seconds NaN" in lines_of(file)
    assert "waypost_trainer_duplicate_share NaN" in lines_of(file)


def test_what_reading_took_is_told_by_stage_and_direction() -> None:
    metrics = TrainerMetrics()
    metrics.was_read({"digests read": 0.25}, 1_000, 20, 3, 1.5)
    told = exposition(metrics.registry).decode()
    assert 'waypost_trainer_stage_seconds{stage="digests read"} 0.25' in told
    assert 'waypost_trainer_cache_bytes{direction="written"} 3.0' in told
    assert "waypost_trainer_snapshot_age_seconds 1.5" in told


@pytest.mark.parametrize("name", ["waypost.txt", "nowhere/waypost.prom", "folder.prom"])
def test_a_file_that_could_not_be_written_is_told_before_the_night(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.prom").mkdir()
    settings = TrainerSettings(metrics_file=tmp_path / name)
    with (
        pytest.raises(SettingsError, match="WAYPOST_TRAINER_METRICS_FILE") as caught,
        published(TrainerMetrics(), settings),
    ):
        pytest.fail("the night began")
    assert caught.value.exit_code == 78


def test_a_folder_that_went_away_meanwhile_does_not_cost_the_night(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "collected"
    folder.mkdir()
    with published(TrainerMetrics(), TrainerSettings(metrics_file=folder / "waypost.prom")):
        folder.rmdir()
    assert [record.getMessage() for record in caplog.records] == ["metrics file not written"]


def test_metrics_are_served_while_the_night_runs_and_not_after() -> None:
    metrics = TrainerMetrics()
    with published(metrics, TrainerSettings(metrics_port=0)) as url:
        assert url is not None
        metrics.rows.labels("users").set(7)
        with urlopen(url, timeout=5) as answer:
            assert b'waypost_trainer_rows{source="users"} 7.0' in answer.read()
    with pytest.raises(URLError):
        urlopen(url, timeout=5)


def test_a_taken_port_is_one_clear_error_before_the_night() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = TrainerSettings(metrics_port=taken.getsockname()[1])
        with pytest.raises(SettingsError, match="WAYPOST_TRAINER_METRICS_PORT"), published(TrainerMetrics(), settings):
            pytest.fail("the night began")

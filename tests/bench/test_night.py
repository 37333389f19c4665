"""A night's lines, put together by stage."""

from __future__ import annotations

from bench.night import by_stage


def a_line(stage: str, postgres_bytes: int = 0) -> dict[str, object]:
    return {"stage": stage, "seconds": 1.5, "postgres_bytes": postgres_bytes, "s3_read_bytes": 0, "s3_written_bytes": 0}


def test_a_stage_that_comes_again_is_numbered() -> None:
    found = by_stage([a_line("model trained"), a_line("holdout judged"), a_line("model trained")])
    assert list(found) == ["model trained", "holdout judged", "model trained (2)"]


def test_the_whole_night_has_the_bytes_of_all_its_stages_and_the_rest() -> None:
    found = by_stage([a_line("snapshot read", 40), a_line("digests read", 2), a_line("night done", 1)])
    assert found["night done"]["postgres_bytes"] == 43
    assert found["night done"]["seconds"] == 1.5

"""The contract over a store: what is kept, what counts as history, what the operator is told."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest

from tests.factories import some_tensors
from waypost.clock import ManualClock
from waypost.errors import DataContractRefused
from waypost.graph.contract import Limits, Report
from waypost.graph.facts import GraphRead, SourceFacts
from waypost.graph.texts import to_texts
from waypost.metrics import TrainerMetrics, exposition
from waypost.objects.memory import MemoryObjectStore
from waypost.objects.protocols import ObjectStore
from waypost.settings import TrainerSettings
from waypost.trainer.contract import HISTORY_NIGHTS, limits_of, load_history, require_contract, variable_of

DAY_SECONDS = 86_400
SETTINGS = TrainerSettings()
REPORTING = TrainerSettings(contract="report")


def a_read(rows: int = 10_000, fingerprint: str = "f00d", null_ids: int = 0, **tensors: Any) -> GraphRead:
    sources = {"users": SourceFacts(1_000, 0, 0), "interactions": SourceFacts(rows, null_ids, 0)}
    return GraphRead(fingerprint, some_tensors(**tensors), sources, taken_at=2e9)


class Nights:
    """One night after the other against the same store, a day apart."""

    def __init__(self, store: ObjectStore) -> None:
        self.store, self.clock = store, ManualClock()

    def one(self, read: GraphRead, settings: TrainerSettings = SETTINGS) -> Report:
        self.clock.sleep(DAY_SECONDS)
        return require_contract(self.store, read, settings, TrainerMetrics(), self.clock)

    def refused(self, read: GraphRead, settings: TrainerSettings = SETTINGS) -> str:
        with pytest.raises(DataContractRefused) as caught:
            self.one(read, settings)
        assert caught.value.exit_code == 3
        return str(caught.value)

    def reports(self) -> list[dict[str, Any]]:
        return [json.loads(body_of(self.store, key)) for key in self.report_keys()]

    def report_keys(self) -> list[str]:
        """Oldest first."""
        return sorted((info.key for info in self.store.list("tensors/")), key=lambda key: key.split("/")[2])


def body_of(store: ObjectStore, key: str) -> bytes:
    found = store.get(key)
    assert found is not None
    return found.body


@pytest.fixture
def nights(object_store: ObjectStore) -> Nights:
    return Nights(object_store)


@pytest.fixture
def memory_nights() -> Nights:
    return Nights(MemoryObjectStore())


class TestHistory:
    def test_the_first_night_passes_and_is_what_the_second_is_compared_with(self, nights: Nights) -> None:
        assert nights.one(a_read()).nights == 0
        second = nights.one(a_read(9_000, fingerprint="beef"))
        assert second.nights == 1
        assert [key.split("/")[1] for key in nights.report_keys()] == ["f00d", "beef"]
        assert nights.report_keys()[0].endswith("/contract-20231115T221320000000Z.json")

    def test_a_drop_stops_the_night_and_the_refused_night_is_no_history(self, nights: Nights) -> None:
        nights.one(a_read(10_000))
        for _ in range(2):  # the second would pass if the first had become the norm
            assert "90 % fewer" in nights.refused(a_read(1_000))
        assert [report["accepted"] for report in nights.reports()] == [True, False, False]
        assert nights.one(a_read(9_000)).nights == 1

    def test_what_is_read_back_is_what_was_found(self, nights: Nights) -> None:
        facts = nights.one(a_read()).facts
        assert load_history(nights.store) == [facts]

    def test_a_newest_week_of_accepted_nights_is_compared_with(self, memory_nights: Nights) -> None:
        for night in range(HISTORY_NIGHTS + 2):
            memory_nights.one(a_read(10_000 + night, fingerprint=f"{9 - night}"))  # names do not order nights
        rows = [facts.sources["interactions"].rows for facts in load_history(memory_nights.store)]
        assert rows == [10_008, 10_007, 10_006, 10_005, 10_004, 10_003, 10_002]

    def test_refused_nights_never_wear_the_history_out(self, memory_nights: Nights) -> None:
        memory_nights.one(a_read(10_000))
        for _ in range(30):
            memory_nights.refused(a_read(10))

    def test_a_size_that_was_let_pass_becomes_the_norm_within_four_nights(self, memory_nights: Nights) -> None:
        raised = TrainerSettings(contract_max_drop=0.96)
        for _ in range(HISTORY_NIGHTS):
            memory_nights.one(a_read(10_000))
        for _ in range(4):
            memory_nights.refused(a_read(500))
            memory_nights.one(a_read(500), raised)
        memory_nights.one(a_read(500))

    def test_no_more_reports_are_read_than_the_history_needs(self, memory_nights: Nights) -> None:
        for _ in range(HISTORY_NIGHTS + 3):
            memory_nights.one(a_read())
        for key in memory_nights.report_keys()[:3]:
            spoil(memory_nights.store, key, b"{")
        assert len(load_history(memory_nights.store)) == HISTORY_NIGHTS

    @pytest.mark.parametrize(
        "spoilt", [b"", b"{", b"\xff", b"[]", b'{"format": 2, "accepted": true}', b'{"accepted": true, "facts": {}}']
    )
    def test_a_damaged_report_is_skipped_with_a_warning(
        self, nights: Nights, spoilt: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        nights.one(a_read(10_000))
        nights.one(a_read(20_000))
        spoil(nights.store, nights.report_keys()[-1], spoilt)
        assert nights.one(a_read(10_000)).nights == 1
        (told,) = [record for record in caplog.records if record.levelname == "WARNING"]
        assert told.getMessage() == "contract report skipped"
        assert vars(told)["key"] == nights.report_keys()[1]

    def test_half_a_report_is_skipped_too(self, memory_nights: Nights) -> None:
        memory_nights.one(a_read())
        (key,) = memory_nights.report_keys()
        body = body_of(memory_nights.store, key)
        spoil(memory_nights.store, key, body[: len(body) // 2])
        assert load_history(memory_nights.store) == []

    def test_other_objects_under_tensors_are_no_reports(self, memory_nights: Nights) -> None:
        for key in (
            "tensors/a/manifest.json",
            "tensors/a/contract-new.json",
            "tensors/contract-20231115T221320000000Z.json",
        ):
            memory_nights.store.put_new(key, b"{}")
        assert memory_nights.one(a_read()).nights == 0

    def test_two_nights_of_one_moment_both_keep_their_report(self, nights: Nights) -> None:
        for rows in (10_000, 9_000):
            require_contract(nights.store, a_read(rows), SETTINGS, TrainerMetrics(), nights.clock)
        first, second = nights.reports()
        assert (rows_in(first), rows_in(second)) == (10_000, 9_000)


def rows_in(report: Mapping[str, Any]) -> int:
    rows: int = report["facts"]["sources"]["interactions"]["rows"]
    return rows


def spoil(store: ObjectStore, key: str, body: bytes) -> None:
    found = store.get(key)
    assert found is not None
    assert store.put_if(key, body, found.etag)


class TestWhatIsTold:
    def test_the_error_is_one_line_with_figure_limit_setting_and_report(self, memory_nights: Nights) -> None:
        memory_nights.one(a_read(10_000))
        assert memory_nights.refused(a_read(500)) == (
            "data contract refused: interactions: 500 rows, 95 % fewer than the 10,000 of the last night "
            "(median; 90 % or more stops); look for lost rows; if it is meant, set "
            f"WAYPOST_TRAINER_CONTRACT_MAX_DROP=0.96 until it is the norm; see {memory_nights.report_keys()[-1]}"
        )

    def test_every_refused_check_is_named_and_every_setting_once(self, memory_nights: Nights) -> None:
        memory_nights.one(a_read(10_000))
        line = memory_nights.refused(a_read(500, null_ids=499))
        assert "500 rows, 95 % fewer" in line
        assert "99.8 % of 500 rows lack an id (more than 90 % stops)" in line
        assert "set WAYPOST_TRAINER_CONTRACT_MAX_DROP=0.96 WAYPOST_TRAINER_CONTRACT_MAX_NULL_SHARE=1 until" in line

    def test_what_it_says_to_set_lets_the_night_pass(self, memory_nights: Nights) -> None:
        memory_nights.one(a_read(10_000))
        line = memory_nights.refused(a_read(500, null_ids=499))
        said = dict(word.split("=") for word in line.split() if word.startswith("WAYPOST_TRAINER_"))
        given = {name.removeprefix("WAYPOST_TRAINER_").lower(): value for name, value in said.items()}
        assert memory_nights.one(a_read(500, null_ids=499), TrainerSettings.model_validate(given)).nights == 1

    def test_for_an_empty_source_no_limit_is_enough(self, memory_nights: Nights) -> None:
        memory_nights.one(a_read(10_000))
        assert "set WAYPOST_TRAINER_CONTRACT=report until" in memory_nights.refused(a_read(0))
        assert memory_nights.one(a_read(0), REPORTING).nights == 1

    def test_with_contract_report_the_night_goes_on_and_is_history(
        self, memory_nights: Nights, caplog: pytest.LogCaptureFixture
    ) -> None:
        memory_nights.one(a_read(10_000))
        report = memory_nights.one(a_read(500), REPORTING)
        assert [check.name for check in report.of("refused")] == ["row_drop"]
        (told,) = [record for record in caplog.records if record.levelname == "WARNING"]
        assert vars(told)["check"] == "row_drop"
        assert len(load_history(memory_nights.store)) == 2

    def test_a_warning_is_logged_once_with_its_fields(
        self, memory_nights: Nights, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        memory_nights.one(a_read(), TrainerSettings(contract_max_user_share=0))
        memory_nights.one(a_read(num_users=200), TrainerSettings(contract_max_user_share=0))
        (told,) = [record for record in caplog.records if record.levelname == "WARNING"]  # 12 users are not judged
        found = vars(told)
        assert (told.getMessage(), found["check"], found["limit"]) == ("data contract exceeded", "user_share", 0)
        assert found["setting"] == "WAYPOST_TRAINER_CONTRACT_MAX_USER_SHARE"
        assert 0 < found["figure"] < 0.1

    def test_the_report_says_which_check_which_figure_and_which_limit(self, memory_nights: Nights) -> None:
        memory_nights.one(a_read(10_000))
        memory_nights.refused(a_read(500))
        report = memory_nights.reports()[-1]
        (refused,) = [check for check in report["checks"] if check["verdict"] == "refused"]
        assert (report["accepted"], report["refused"], report["nights"]) == (False, 1, 1)
        assert (refused["name"], refused["source"], refused["figure"], refused["limit"]) == (
            "row_drop", "interactions", 0.95, 0.9,
        )  # fmt: skip
        assert refused["setting"] == "WAYPOST_TRAINER_CONTRACT_MAX_DROP"
        assert rows_in(report) == 500

    def test_metrics_are_there_when_the_night_is_refused(self, memory_nights: Nights) -> None:
        memory_nights.one(a_read(10_000))
        metrics = TrainerMetrics()
        with pytest.raises(DataContractRefused):
            require_contract(memory_nights.store, a_read(500, null_ids=100), SETTINGS, metrics, memory_nights.clock)
        text = exposition(metrics.registry).decode()
        for line in (
            'waypost_trainer_rows{source="interactions"} 500.0',
            'waypost_trainer_null_share{source="interactions"} 0.2',
            'waypost_trainer_orphan_share{source="users"} 0.0',
            'waypost_trainer_contract_verdict{check="row_drop",source="interactions"} 2.0',
            'waypost_trainer_contract_verdict{check="duplicate_share",source=""} 0.0',
            'waypost_trainer_contract_checks{verdict="refused"} 1.0',
            "waypost_trainer_textless_share 1.0",
            "waypost_trainer_tag_drift NaN",  # five tags are not judged
        ):
            assert line in text.splitlines()


class TestOrdinaryApps:
    """The defaults stop none of these, on the first night or later."""

    @pytest.mark.parametrize(
        "read",
        [
            a_read(num_tags=0),
            a_read(num_posts=300),  # without any text
            a_read(num_posts=300, post_texts=to_texts(["a text"] * 300)),
            a_read(null_ids=8_000),  # anonymous visits
            a_read(num_users=1, num_posts=1),
        ],
        ids=["no tags", "no text", "text", "anonymous visits", "one user, one post"],
    )
    def test_pass_twice(self, memory_nights: Nights, read: GraphRead) -> None:
        memory_nights.one(read)
        assert not memory_nights.one(read).of("refused")


def test_every_limit_is_a_setting() -> None:
    assert {variable_of(field.name) for field in fields(Limits)} <= set(TrainerSettings.variables())
    changed = TrainerSettings(contract_max_jump=3, contract_max_textless_rise=0.2)
    assert (limits_of(changed).max_jump, limits_of(changed).max_textless_rise) == (3, 0.2)

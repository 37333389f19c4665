"""Which requests have a line, what a pseudonym is, and how a flood is told."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from waypost.logs.lines import Line
from waypost.logs.pseudonyms import DAY_SECONDS, Pseudonyms
from waypost.logs.requests import BOUNDED_LINES, Floods, RequestLog, harmless
from waypost.queueing.signing import Keyring, MessageKey

IDS = [os.urandom(16).hex() for _ in range(20_000)]
LONG = 1e9  # seconds: nothing is chosen for its being quiet


def chosen(one_of: int) -> set[str]:
    log = RequestLog(lambda line: None, one_of=one_of, quiet_seconds=LONG)
    log.chooses("f" * 32, 0.0)  # the first one of all
    return {id_ for id_ in IDS if log.chooses(id_, 0.0)}


class TestTheSample:
    def test_two_processes_choose_the_same_and_about_as_many_as_they_are_told(self) -> None:
        assert chosen(100) == chosen(100)
        assert 100 < len(chosen(100)) < 300  # 200, seven standard deviations each way

    def test_of_a_denser_sample_a_sparser_one_is_a_part(self) -> None:
        assert chosen(1_000) < chosen(100) < chosen(10)

    def test_all_and_none_are_possible(self) -> None:
        assert len(chosen(1)) == len(IDS)
        log = RequestLog(lambda line: None, one_of=0, quiet_seconds=0.001)
        assert not any(log.chooses(id_, now) for now, id_ in enumerate(IDS))

    def test_after_a_quiet_while_the_next_success_has_a_line(self) -> None:
        log = RequestLog(lambda line: None, one_of=1_000, quiet_seconds=10)
        unlikely = "f" * 32
        assert [log.chooses(unlikely, now) for now in (0.0, 1.0, 9.9, 10.0, 11.0)] == [
            "quiet",
            None,
            None,
            "quiet",
            None,
        ]
        assert log.chooses("0" * 32, 15.0) == "sample"
        assert log.chooses(unlikely, 21.0) is None
        assert log.chooses(unlikely, 25.0) == "quiet"


def derived_from(secret: bytes) -> Callable[[bytes], bytes]:
    return Keyring([MessageKey("2026", secret)]).derive


class TestPseudonyms:
    def test_gateway_and_worker_of_one_secret_have_the_same_for_a_day(self) -> None:
        morning = Pseudonyms(derived_from(b"the secret of all"), lambda: 20_000.0 * DAY_SECONDS)
        evening = Pseudonyms(derived_from(b"the secret of all"), lambda: 20_000.9 * DAY_SECONDS)
        assert morning.of(42) == evening.of(42)
        assert len({morning.of(user) for user in range(1_000)}) == 1_000

    def test_the_next_day_it_is_another_one_in_the_same_process(self) -> None:
        now = 20_000.0 * DAY_SECONDS
        pseudonyms = Pseudonyms(derived_from(b"the secret of all"), lambda: now)
        today = pseudonyms.of(42)
        now += DAY_SECONDS
        assert pseudonyms.of(42) != today
        now -= DAY_SECONDS
        assert pseudonyms.of(42) == today  # whoever holds the secret can make those of any day

    def test_without_the_secret_it_is_another_one(self) -> None:
        one, other = (
            Pseudonyms(derived_from(secret), lambda: 0.0) for secret in (b"secret of one....", b"of another.......")
        )
        assert one.of(42) != other.of(42)

    def test_without_any_secret_two_processes_have_different_ones(self) -> None:
        assert RequestLog(print).pseudonym(42) != RequestLog(print).pseudonym(42)

    def test_the_id_cannot_be_seen_in_it_whatever_text_it_is(self) -> None:
        pseudonyms = Pseudonyms(derived_from(b"the secret of all"))
        for user in (0, -(2**63), "ana", "", "\ud800", "é" * 500):
            assert len(pseudonyms.of(user)) == 16
            assert int(pseudonyms.of(user), 16) >= 0


class TestFloods:
    def test_so_many_a_second_of_a_kind_have_a_line_and_the_rest_is_counted(self) -> None:
        floods = Floods()
        assert sum(floods.admits("401", 5.0) for _ in range(100)) == BOUNDED_LINES
        assert floods.admits("429 app", 5.5)
        assert floods.admits("401", 6.0)
        assert floods.left_out() == {"401": 100 - BOUNDED_LINES}
        assert floods.left_out() == {}

    def test_the_count_is_a_line(self) -> None:
        lines: list[Line] = []
        log = RequestLog(lines.append)
        for _ in range(BOUNDED_LINES + 4_213):
            log.has_room("401")
        log.tell_floods()
        assert [(line.event, line.fields) for line in lines] == [
            ("more like these", {"kind": "401", "requests": 4_213})
        ]


def test_what_goes_wrong_with_a_line_is_not_the_requests_trouble() -> None:
    harmless(fail)()


def fail() -> None:
    raise ValueError


def test_a_level_above_it_silences_a_line() -> None:
    lines: list[Line] = []
    quiet = logging.getLogger("waypost.requests")
    before = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        RequestLog(lines.append).write(logging.WARNING, "refused", {})
        RequestLog(lines.append).write(logging.ERROR, "failed", {})
    finally:
        quiet.setLevel(before)
    assert [line.event for line in lines] == ["failed"]

"""The pointer, its moves and its audit: who may move it, what is remembered, and what a damaged one says."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace as changed

import pytest

from tests.release.nights import CLOCK, published, replace
from waypost.errors import CorruptObject, NoRelease, StoreUnavailable, Superseded
from waypost.objects.memory import MemoryObjectStore
from waypost.objects.protocols import ObjectStore
from waypost.release.audit import PREFIX, parse_line, read_lines, whoami, write_line
from waypost.release.listing import log_lines, read_log
from waypost.release.moves import pin, point_to, retreat, roll_back, unpin
from waypost.release.pointer import (
    MOVE_ATTEMPTS,
    POINTER_KEY,
    HeldPointer,
    Pointer,
    line_of,
    parse_pointer,
    read_pointer,
)
from waypost.release.store import publish
from waypost.release.versions import claim_version, next_version

OLD = {
    "release": "000007-a", "version": 7, "moved_at": "2026-01-01T00:00:00+00:00", "reason": "published by the exporter",
    "highest_version": 7, "number": 9, "served": ["000006-b", "000007-a"],
}  # fmt: skip


@pytest.fixture
def store(object_store: ObjectStore) -> ObjectStore:
    return object_store


def held_of(store: ObjectStore) -> HeldPointer:
    held = read_pointer(store)
    assert held is not None
    return held


def test_before_the_first_release_there_is_no_pointer(store: ObjectStore) -> None:
    assert read_pointer(store) is None
    with pytest.raises(NoRelease, match="run `waypost night`"):
        roll_back(store, None, "why", "me", CLOCK)
    with pytest.raises(NoRelease, match="run `waypost night`"):
        pin(store, None, "why", "me", CLOCK)


def test_versions_and_moves_count_up_and_each_move_says_how_by_whom_and_from_where(store: ObjectStore) -> None:
    moved = [published(store, name, by=f"night {name}") for name in ("a", "b", "c")]
    assert [(p.version, p.number) for p in moved] == [(1, 1), (2, 2), (3, 3)]
    assert [(p.how, p.moved_by, p.came_from) for p in moved] == [
        ("publish", "night a", None),
        ("publish", "night b", "a"),
        ("publish", "night c", "b"),
    ]
    assert held_of(store).pointer == moved[-1]


def test_of_many_who_move_it_at_once_exactly_one_does(store: ObjectStore) -> None:
    published(store, "a")
    held = held_of(store)

    def move(name: str) -> str:
        try:
            point_to(store, held, name, claim_version(store, held, name, CLOCK), name, CLOCK)
        except Superseded:
            return "superseded"
        return name

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(move, "uvwxyz"))
    assert sorted(outcomes) == sorted([held_of(store).pointer.release, *["superseded"] * 5])
    assert [line.number for line in read_lines(store, 10)] == [2, 1]


def test_rolling_back_serves_the_release_before_and_never_reuses_a_version(store: ObjectStore) -> None:
    for name in ("a", "b", "c"):
        published(store, name)
    assert roll_back(store, None, "p99", "me", CLOCK).release == "b"
    assert roll_back(store, "1", "p99", "me", CLOCK).release == "a"
    assert published(store, "d").version == 4
    with pytest.raises(NoRelease, match="no release nothing"):
        roll_back(store, "nothing", "p99", "me", CLOCK)


def test_a_rollback_never_goes_to_a_release_that_was_rolled_back_or_given_up(store: ObjectStore) -> None:
    for name in ("a", "b"):
        published(store, name)
    roll_back(store, None, "b is bad", "me", CLOCK)
    published(store, "c")
    retreat(store, held_of(store), "a", "c is bad", "a pod", CLOCK)
    published(store, "d")
    assert roll_back(store, None, "d is bad too", "me", CLOCK).release == "a"
    with pytest.raises(NoRelease, match="no release older than a was ever served"):
        roll_back(store, None, "and a?", "me", CLOCK)


def test_a_release_that_lost_the_race_is_never_rolled_back_to_and_its_number_never_given_again(
    store: ObjectStore,
) -> None:
    published(store, "000001-a")
    publish(store, "000002-lost", {}, {"version": 2})
    assert published(store, "000003-c").version == 3
    assert roll_back(store, None, "p99", "me", CLOCK).release == "000001-a"


def test_of_two_releases_with_one_number_the_served_one_is_meant(store: ObjectStore) -> None:
    published(store, "a")
    publish(store, "lost", {}, {"version": 1})
    published(store, "b")
    assert roll_back(store, "1", "p99", "me", CLOCK).release == "a"


def test_a_damaged_manifest_hinders_no_rollback(store: ObjectStore) -> None:
    for name in ("a", "b", "c"):
        published(store, name)
    replace(store, "releases/b/manifest.json", b"{broken")
    assert roll_back(store, None, "p99", "me", CLOCK).release == "a"


def test_only_unpin_lifts_a_pin(store: ObjectStore) -> None:
    for name in ("a", "b"):
        published(store, name)
    pinned = pin(store, None, "too good to change", "me", CLOCK)
    assert (pinned.release, pinned.how, pinned.pinned, pinned.reason) == ("b", "pin", True, "too good to change")
    back = roll_back(store, None, "worse after all", "me", CLOCK)
    assert (back.release, back.how, back.pinned) == ("a", "rollback", True)
    free = unpin(store, "done", "me", CLOCK)
    assert (free.release, free.how, free.pinned) == ("a", "unpin", False)
    assert unpin(store, "again", "me", CLOCK) == free
    assert not roll_back(store, "b", "x", "me", CLOCK).pinned
    assert roll_back(store, "a", "x", "me", CLOCK, pin=True).pinned


def test_a_pod_retreats_to_what_it_serves_unless_somebody_moved_the_pointer(store: ObjectStore) -> None:
    """Not to where the pointer came from: "unproven" was published while "b" was on trial."""
    published(store, "a")
    with pytest.raises(NoRelease):
        retreat(store, held_of(store), "nothing", "canary", "a pod", CLOCK)
    published(store, "unproven")
    published(store, "b")
    held = held_of(store)
    moved = retreat(store, held, "a", "canary given up", "pod-1", CLOCK)
    assert (moved.release, moved.version, moved.how, moved.moved_by) == ("a", 1, "retreat", "pod-1")
    with pytest.raises(Superseded):
        retreat(store, held, "a", "canary given up", "pod-2", CLOCK)
    assert moved.highest_version == 3
    assert published(store, "c").version == 4


def test_the_audit_has_a_line_of_each_move(store: ObjectStore) -> None:
    published(store, "a", by="night@one")
    published(store, "b", by="night@two")
    roll_back(store, None, "p99 doubled", "ops@desk", CLOCK)
    lines = list(log_lines(read_log(store, 2)))
    assert len(lines) == 2
    assert lines[0].startswith("    3  2023-11-14T22:13:20")
    assert lines[0].endswith("rollback  ops@desk  b → a  p99 doubled")
    assert lines[1].endswith("publish   night@two  a → b  published by the exporter")
    assert [line.from_release for line in read_log(store, 10)] == ["b", "a", None]


def test_a_line_that_a_killed_mover_did_not_write_is_told_and_written_by_the_next(store: ObjectStore) -> None:
    published(store, "a")
    published(store, "b")
    store.delete([f"{PREFIX}{2:09d}.json"])
    assert [line.number for line in read_lines(store, 10)] == [1]
    assert [line.number for line in read_log(store, 10)] == [2, 1]
    roll_back(store, None, "p99", "me", CLOCK)
    assert [line.number for line in read_lines(store, 10)] == [3, 2, 1]


def test_a_damaged_line_hides_no_other(store: ObjectStore) -> None:
    for name in ("a", "b", "c"):
        published(store, name)
    replace(store, f"{PREFIX}{2:09d}.json", b"{")
    assert [line.number for line in read_log(store, 10)] == [3, 1]


def test_a_pointer_of_before_this_version_and_one_written_by_hand_are_read() -> None:
    pointer = parse_pointer(json.dumps(OLD).encode())
    assert (pointer.version, pointer.how, pointer.moved_by, pointer.came_from, pointer.pinned) == (
        7, "publish", "", None, False,
    )  # fmt: skip
    assert parse_pointer(pointer.to_bytes()) == pointer
    by_hand = json.dumps(json.loads(pointer.to_bytes()), separators=(",", ":")).encode()
    assert parse_pointer(by_hand) == pointer


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'"x"', b'{"release": "a", "version": "x"}', b"\xff\xfe", b"[" * 100_000]
    + [json.dumps({**OLD, **wrong}).encode() for wrong in (
        {"version": "7"}, {"version": 7.0}, {"version": True}, {"number": None}, {"how": "magic"}, {"pinned": 1},
        {"served": 3}, {"release": "\ud800"}, {"release": "a/b"}, {"release": ""}, {"release": ".."},
        {"release": "a\n"}, {"release": None}, {"served": ["a/b"]}, {"came_from": "\ud800"})],
)  # fmt: skip
def test_what_is_no_pointer_is_refused(body: bytes) -> None:
    with pytest.raises(CorruptObject, match=r"is not a pointer: .*waypost release rollback ID"):
        parse_pointer(body)


def test_a_pointer_that_was_changed_after_it_was_written_is_refused() -> None:
    body = parse_pointer(json.dumps(OLD).encode()).to_bytes()
    with pytest.raises(CorruptObject, match="changed after it was written"):
        parse_pointer(body.replace(b'"version": 7', b'"version": 6'))


@pytest.mark.parametrize("lost", ["damaged", "deleted"])
def test_a_rollback_to_a_named_release_mends_a_damaged_or_deleted_pointer(store: ObjectStore, lost: str) -> None:
    for name in ("a", "b", "c"):
        published(store, name)
    if lost == "damaged":
        replace(store, POINTER_KEY, b'{"release": "c"')
        with pytest.raises(CorruptObject):
            roll_back(store, None, "which?", "me", CLOCK)
    else:
        store.delete([POINTER_KEY])
    mended = roll_back(store, "b", "mended", "me", CLOCK)
    assert (mended.release, mended.version, mended.number, mended.came_from) == ("b", 2, 4, "c")
    assert set(mended.served) == {"a", "b", "c"}
    assert [line.number for line in read_lines(store, 10)] == [4, 3, 2, 1]
    assert published(store, "d").version == 4


@pytest.mark.parametrize("lost", ["damaged", "deleted"])
def test_a_mended_pointer_is_pinned_as_the_audit_says(store: ObjectStore, lost: str) -> None:
    for name in ("a", "b"):
        published(store, name)

    def mended() -> Pointer:
        if lost == "damaged":
            replace(store, POINTER_KEY, b"{")
        else:
            store.delete([POINTER_KEY])
        return roll_back(store, "a", "mended", "me", CLOCK)

    assert not mended().pinned  # nobody ever pinned
    pin(store, "b", "keep", "me", CLOCK)
    roll_back(store, "a", "worse", "me", CLOCK)
    assert mended().pinned
    assert mended().pinned
    unpin(store, "done", "me", CLOCK)
    assert not mended().pinned
    pin(store, "b", "keep", "me", CLOCK)
    store.delete([info.key for info in store.list(PREFIX)])
    assert not mended().pinned


def test_a_reason_is_one_printable_line_wherever_it_is_read(store: ObjectStore) -> None:
    published(store, "a")
    moved = pin(store, None, "p99\n doubled\x1b[2J \ud800 — schön 🙂", "me\n", CLOCK)
    assert (moved.reason, moved.moved_by) == ("p99  doubled [2J ? — schön 🙂", "me ")
    assert held_of(store).pointer == moved
    assert read_lines(store, 1)[0].why == moved.reason


def test_a_line_whose_number_is_taken_goes_beside_it(store: ObjectStore, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b"):
        published(store, name)
    by_hand = changed(held_of(store).pointer, release="a", version=1, moved_by="by hand")
    replace(store, POINTER_KEY, by_hand.to_bytes())
    assert [(line.number, line.to_release) for line in read_log(store, 3)] == [(2, "a"), (2, "b"), (1, "a")]
    published(store, "c")
    assert "another audit line has this number" in caplog.text
    assert [(line.number, line.to_release) for line in read_lines(store, 9)] == [(3, "c"), (2, "b"), (2, "a"), (1, "a")]
    before = [info.key for info in store.list(PREFIX)]
    write_line(store, line_of(by_hand))
    assert [info.key for info in store.list(PREFIX)] == before
    assert roll_back(store, None, "p99", "me", CLOCK).number == 4


def test_a_copied_or_respelled_line_is_one_line(store: ObjectStore) -> None:
    published(store, "a")
    key, line = f"{PREFIX}{1:09d}.json", read_lines(store, 1)[0]
    replace(store, key, json.dumps(line.as_json(), indent=2).encode())
    write_line(store, line)
    assert [info.key for info in store.list(PREFIX)] == [key]
    store.put_new(f"{PREFIX}{1:09d}-copy.json", line.to_bytes())
    assert read_lines(store, 9) == [line]


@pytest.mark.parametrize("body", [b"[" * 100_000, b"{}", b"[]", b'{"number": 1e999}', b"\xff"])
def test_what_is_no_line_of_the_audit_is_refused(body: bytes) -> None:
    with pytest.raises(CorruptObject, match="is no line of the audit"):
        parse_line(body, "x")


def test_a_night_after_a_deleted_pointer_counts_on(store: ObjectStore) -> None:
    for name in ("a", "b"):
        published(store, name)
    store.delete([POINTER_KEY])
    assert (published(store, "c").version, held_of(store).pointer.number) == (3, 3)
    assert roll_back(store, None, "p99", "me", CLOCK).release == "b"


def test_no_two_nights_get_one_number(store: ObjectStore) -> None:
    published(store, "a")
    held = held_of(store)
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda i: claim_version(store, held, f"night {i}", CLOCK), range(8)))
    assert sorted(claimed) == list(range(2, 10))
    assert next_version(store, held) == 10


def test_releases_of_before_there_were_claims_count(store: ObjectStore) -> None:
    store.put_new("releases/000041-abc-def/model.onnx", b"left by a killed exporter")
    assert claim_version(store, None, "a night", CLOCK) == 42


class StoreWhereAllMove(MemoryObjectStore):
    """Whenever the pointer is about to be moved, a night is faster, so many times."""

    rivals = 0

    def put_if(self, key: str, body: bytes, etag: str) -> bool:
        if key == POINTER_KEY and self.rivals > 0:
            self.rivals -= 1
            published(self, f"rival-{self.rivals}")
        return super().put_if(key, body, etag)


def test_an_operators_word_is_carried_out_though_a_night_is_faster() -> None:
    store = StoreWhereAllMove()
    for name in ("a", "b"):
        published(store, name)
    store.rivals = 1
    back = roll_back(store, None, "b is bad", "me", CLOCK)
    assert (back.release, back.came_from, back.number) == ("a", "rival-0", 4)
    store.rivals = 1
    assert pin(store, None, "keep", "me", CLOCK).release == "a"
    store.rivals = 1
    assert (unpin(store, "done", "me", CLOCK).release, held_of(store).pointer.pinned) == ("rival-0", False)
    assert [line.number for line in read_lines(store, 20)] == list(range(held_of(store).pointer.number, 0, -1))


class StoreThatConflicts(MemoryObjectStore):
    """Answers writes of the pointer like S3 does with 409, so many times, though nobody else writes."""

    conflicts = 0

    def put_new(self, key: str, body: bytes) -> bool:
        return not self._conflict(key) and super().put_new(key, body)

    def put_if(self, key: str, body: bytes, etag: str) -> bool:
        return not self._conflict(key) and super().put_if(key, body, etag)

    def _conflict(self, key: str) -> bool:
        if key != POINTER_KEY or self.conflicts <= 0:
            return False
        self.conflicts -= 1
        return True


def test_a_conflict_without_a_winner_is_tried_again_and_never_without_end() -> None:
    store = StoreThatConflicts()
    store.conflicts = 2
    published(store, "a")
    store.conflicts = MOVE_ATTEMPTS - 1
    assert published(store, "b").number == 2
    store.conflicts = MOVE_ATTEMPTS
    with pytest.raises(StoreUnavailable, match="is being written; run it again"):
        published(store, "c")


class StoreWhoseAnswerIsLost(MemoryObjectStore):
    """The pointer is written; the client hears nothing, writes again and is told that the object is another by now."""

    def put_if(self, key: str, body: bytes, etag: str) -> bool:
        return super().put_if(key, body, etag) and key != POINTER_KEY


def test_who_moved_the_pointer_without_hearing_so_is_not_told_superseded() -> None:
    store = StoreWhoseAnswerIsLost()
    published(store, "a")
    assert published(store, "b") == held_of(store).pointer


class StoreThatRefusesAudit(MemoryObjectStore):
    refusing = False

    def put_new(self, key: str, body: bytes) -> bool:
        if self.refusing and key.startswith(PREFIX):
            raise StoreUnavailable("away")
        return super().put_new(key, body)


def test_a_moved_pointer_is_no_failure_for_want_of_its_line(caplog: pytest.LogCaptureFixture) -> None:
    store = StoreThatRefusesAudit()
    store.refusing = True
    moved = published(store, "a")
    assert held_of(store).pointer == moved
    assert "audit line not written yet" in caplog.text


def test_who_moves_is_named_by_user_and_host() -> None:
    user, _, host = whoami().partition("@")
    assert user
    assert host
    nameless = "import os; os.getuid = lambda: 4294967290; from waypost.release.audit import whoami; print(whoami())"
    done = subprocess.run([sys.executable, "-c", nameless], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == host


def test_a_pointer_remembers_so_many_releases_and_no_more() -> None:
    pointer = changed(parse_pointer(json.dumps(OLD).encode()), served=tuple(f"r{i}" for i in range(100)))
    store = MemoryObjectStore()
    store.put_new(POINTER_KEY, pointer.to_bytes())
    moved: Pointer = published(store, "new")
    assert (len(moved.served), moved.served[0], moved.served[-1]) == (100, "r1", "new")

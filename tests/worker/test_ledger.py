"""What is in hand and what was answered: a message that comes again is recognised, for as long as it matters."""

from __future__ import annotations

import threading

from tests.worker.requests import a_request
from waypost.worker.ledger import REMEMBERED_SECONDS, Ledger
from waypost.worker.request import Request


def test_what_comes_again_while_in_hand_goes_with_the_first() -> None:
    book, first = Ledger(), a_request("a", handle="1")
    assert book.take_in([first], 0) == ([first], [], 0)
    again = a_request("a", handle="2")
    assert book.take_in([again, a_request("a", handle="3")], 0) == ([], [], 2)
    assert first.handles == ["1", "2", "3"]


def test_what_was_answered_is_known_by_its_id_as_long_as_any_caller_may_wait() -> None:
    book, request = Ledger(), a_request("a")
    book.take_in([request], 0)
    book.answered([request], 0)
    assert len(book) == 0
    again = a_request("a", handle="2")
    for seconds in (0, 5, REMEMBERED_SECONDS - 0.1):
        assert book.take_in([again], seconds) == ([], ["2"], 1)


def test_what_was_answered_long_ago_is_forgotten() -> None:
    book, request = Ledger(), a_request("a")
    book.take_in([request], 0)
    book.answered([request], 0)
    other = a_request("b")
    book.take_in([other], REMEMBERED_SECONDS)
    book.take_in([], 2 * REMEMBERED_SECONDS + 1)
    fresh, _, repeated = book.take_in([a_request("a")], 2 * REMEMBERED_SECONDS + 2)
    assert (len(fresh), repeated) == (1, 0)


def test_what_was_let_go_may_be_answered_when_it_comes_again() -> None:
    book, request = Ledger(), a_request("a")
    book.take_in([request], 0)
    book.let_go([request])
    fresh, _, repeated = book.take_in([a_request("a", handle="2")], 1)
    assert (len(fresh), repeated) == (1, 0)


def test_the_memory_is_bounded() -> None:
    book = Ledger(most_remembered=100)
    for start in range(0, 1_000, 10):
        requests = [a_request(str(i)) for i in range(start, start + 10)]
        book.take_in(requests, 1)
        book.answered(requests, 1)
    assert len(book._answered) + len(book._answered_before) <= 210
    assert book.take_in([a_request("999")], 1)[2] == 1, "the latest are remembered"


def test_of_deliveries_to_many_threads_at_once_one_is_fresh() -> None:
    book, begin = Ledger(), threading.Barrier(8)
    fresh: list[Request] = []

    def receive(number: int) -> None:
        begin.wait()
        for i in range(200):
            fresh.extend(book.take_in([a_request(f"r{i}", handle=f"{i}/{number}")], 0)[0])

    threads = [threading.Thread(target=receive, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fresh) == 200
    assert all(len(request.handles) == 8 for request in fresh)


def test_what_waits_for_long_is_found_until_its_visibility_was_extended() -> None:
    book, old, new = Ledger(), a_request("old", received=0), a_request("new", received=9)
    book.take_in([old, new], 9)
    assert book.waiting_since(5) == [old]
    old.extended = 8
    assert book.waiting_since(5) == []

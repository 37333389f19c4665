"""The pool: what is answered next, what is dropped, and when receivers wait."""

from __future__ import annotations

import threading

from tests.worker.requests import a_request
from waypost.worker import pool as pools
from waypost.worker.pool import Pool
from waypost.worker.request import Request


def ids(requests: list[Request]) -> list[str]:
    return [request.id for request in requests]


def a_pool(*requests: Request, enough: int = 64) -> Pool:
    pool = Pool(enough)
    pool.put(requests)
    return pool


def test_as_long_as_there_is_time_for_all_the_oldest_is_answered_first() -> None:
    pool = a_pool(*[a_request(f"r{i}", expires=1.0 + i / 10) for i in range(4)])
    assert ids(pool.take(2, 0.4, 0)[0]) == ["r0", "r1"]


def test_when_there_is_not_the_newest_is_answered_first() -> None:
    pool = a_pool(*[a_request(f"r{i}", expires=1.0 + i / 10) for i in range(4)])
    assert ids(pool.take(2, 0.6, 0)[0]) == ["r3", "r2"]


def test_what_is_too_late_comes_out_as_such_and_costs_no_place() -> None:
    pool = a_pool(a_request("late", expires=0.5), a_request("a", expires=1.4), a_request("b", expires=1.5))
    taken, late = pool.take(1, 0.6, 0)
    assert (ids(taken), ids(late)) == (["a"], ["late"])
    assert len(pool) == 1


def test_what_an_answer_takes_is_kept_back_but_no_more_than_half_of_what_was_given() -> None:
    request = a_request(expires=1.0, span=1.0)
    assert not request.is_late(0.69, needed=0.3)
    assert request.is_late(0.71, needed=0.3)
    assert not request.is_late(0.4, needed=30), "a bad moment must not refuse whatever could show that it is over"
    assert request.is_late(0.5, needed=30)


def test_without_a_free_place_only_what_is_too_late_comes_out() -> None:
    pool = a_pool(a_request("late", expires=0.5), a_request("a", expires=1.4))
    taken, late = pool.take(0, 0.6, 0)
    assert (ids(taken), ids(late)) == ([], ["late"])


def test_a_receiver_waits_for_room_unless_what_it_gets_is_stale() -> None:
    pool = a_pool(a_request("a"), enough=1)
    pool.wait_for_room(0.001, stale=False)  # not for ever: it has to see whether the queue is stale
    pool.wait_for_room(60, stale=True)
    passed = threading.Event()

    def receive() -> None:
        pool.wait_for_room(60, stale=False)
        passed.set()

    thread = threading.Thread(target=receive)
    thread.start()
    assert not passed.wait(0.05)
    pool.take(1, 0, 0)
    thread.join()


def test_no_receiver_passes_when_the_pool_can_hold_no_more() -> None:
    for full in (
        [a_request(str(i)) for i in range(pools.MOST_WAITING)],
        [a_request(body=b"x" * pools.MOST_BYTES)],
    ):
        pool = a_pool(*full)
        thread = threading.Thread(target=pool.wait_for_room, args=(0.001, True))
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
        pool.take(pools.MOST_WAITING, 0, 0)
        thread.join()


def test_while_a_call_is_under_way_the_next_waits_until_it_is_full() -> None:
    pool = a_pool(a_request("a"))
    assert pool.wait(3)
    pool.take(3, 0, 0)
    pool.put([a_request("b"), a_request("c")])
    passed = threading.Event()

    def answer() -> None:
        pool.wait(3)
        passed.set()

    for then in (lambda: pool.put([a_request("d")]), pool.answered):
        passed.clear()
        thread = threading.Thread(target=answer)
        thread.start()
        assert not passed.wait(0.05)
        then()
        thread.join()
        pool.take(1, 0, 0)  # the call of the second thread
        pool.answered()


def test_closed_it_still_takes_what_polls_bring_and_gives_it_to_be_answered() -> None:
    pool = a_pool(a_request("a"))
    pool.close()
    assert pool.put([a_request("b")])
    assert pool.wait(1)
    assert ids(pool.take(2, 0, 0)[0]) == ["a", "b"]
    pool.wait_until_empty(60)


def test_ended_it_takes_and_gives_nothing_but_its_leftovers() -> None:
    pool = a_pool(a_request("a"))
    pool.wait_until_empty(0.001)
    pool.end()
    assert pool.closed
    assert not pool.put([a_request("b")])
    assert pool.take(1, 0, 0) == ([], [])
    assert not pool.wait(1)
    assert ids(pool.leftovers()) == ["a"]
    assert pool.leftovers() == []

"""The p95 that a hedge waits for, and whose turn it is."""

from __future__ import annotations

import random
from collections.abc import Collection
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.client.addresses import JITTER, LONGEST_REST_SECONDS, REST_SECONDS, TRIAL_SECONDS, Addresses
from waypost.client.latencies import KEPT, NEEDED, Latencies

URLS = ["http://a:1", "http://b:1", "http://c:1"]


def test_there_is_no_p95_of_a_few() -> None:
    latencies = Latencies()
    for _ in range(NEEDED - 1):
        latencies.add(0.1)
    assert latencies.p95 is None
    latencies.add(0.1)
    assert latencies.p95 == 0.1


def test_the_p95_is_that_of_the_latest_tries() -> None:
    latencies = Latencies()
    shuffled = random.Random(1).sample(range(1_000), 1_000)
    for seconds in shuffled:
        latencies.add(float(seconds))
    latest = sorted(shuffled[-KEPT:])
    assert latest[int(0.9 * KEPT)] < (latencies.p95 or 0) <= latest[-1]
    for _ in range(KEPT):
        latencies.add(0.05)
    assert latencies.p95 == 0.05


def test_an_address_that_failed_rests_for_a_moment() -> None:
    addresses = Addresses(URLS)
    addresses.failed(URLS[1], began=0.0, now=0.0)
    assert URLS[1] not in {addresses.next(now=0.5) for _ in range(6)}
    assert URLS[1] in {addresses.next(now=REST_SECONDS) for _ in range(6)}


def test_an_address_that_answers_rests_no_longer() -> None:
    addresses = Addresses(URLS)
    addresses.failed(URLS[1], began=0.0, now=0.0)
    addresses.answered(URLS[1])
    assert URLS[1] in {addresses.next(now=0.5) for _ in range(3)}


def tried_until(addresses: Addresses, dead: Collection[str], seconds: float, pause: float) -> list[tuple[float, str]]:
    """(when, address) of each first try, a call each `pause` seconds, where some are dead."""
    tries = []
    for call in range(int(seconds / pause)):
        now = call * pause
        url = addresses.next(now)
        tries.append((now, url))
        if url in dead:
            addresses.failed(url, now, now)
            other = addresses.other(url, now)
            (addresses.failed(other, now, now) if other in dead else addresses.answered(other))
        else:
            addresses.answered(url)
    return tries


@pytest.mark.parametrize("pause", [0.01, 1.05])
def test_an_address_that_fails_again_and_again_is_tried_ever_more_seldom(pause: float) -> None:
    tries = [at for at, url in tried_until(Addresses(URLS[:2]), {URLS[0]}, 600, pause) if url == URLS[0]]
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses[0] < REST_SECONDS + 2 * pause  # a gateway that was started anew is back at once
    assert min(pauses[-10:]) >= (1 - JITTER) * LONGEST_REST_SECONDS
    assert max(pauses) <= LONGEST_REST_SECONDS + 2 * pause  # and one that was long away within so many seconds
    assert len(set(pauses[-10:])) > 1  # not in step with others


def test_a_success_begins_the_rests_anew() -> None:
    addresses = Addresses(URLS[:2])
    tried_until(addresses, {URLS[0]}, 600, 0.1)
    addresses.answered(URLS[0])
    addresses.failed(URLS[0], began=600.0, now=600.0)
    assert URLS[0] in {addresses.next(now=600.0 + REST_SECONDS) for _ in range(2)}


def test_calls_that_fail_together_are_one_failure() -> None:
    addresses = Addresses(URLS[:2])
    for _ in range(100):
        addresses.failed(URLS[0], began=0.0, now=0.1)
    assert URLS[0] in {addresses.next(now=0.1 + REST_SECONDS) for _ in range(2)}


def test_one_call_tries_an_address_after_its_rest_and_the_others_wait_to_see() -> None:
    addresses = Addresses(URLS[:2])
    addresses.failed(URLS[0], began=0.0, now=0.0)
    assert [addresses.next(now=2.0) for _ in range(9)].count(URLS[0]) == 1
    addresses.answered(URLS[0])
    assert [addresses.next(now=2.1) for _ in range(10)].count(URLS[0]) == 5


@given(
    dead=st.sets(st.sampled_from(URLS), max_size=len(URLS) - 1),
    pauses=st.lists(st.floats(0, 40), min_size=1, max_size=60),
    late=st.floats(0, 3),
)
def test_while_any_address_answers_the_dead_cost_ever_fewer_calls(
    dead: set[str], pauses: list[float], late: float
) -> None:
    """`late`: what a try takes until it fails; others begin meanwhile."""
    addresses, now, under_way = Addresses(URLS), 0.0, list[tuple[float, str]]()
    costly: dict[str, list[float]] = {url: [] for url in dead}
    for pause in pauses:
        now += pause
        for began, url in [each for each in under_way if each[0] + late <= now]:
            under_way.remove((began, url))
            addresses.failed(url, began, began + late)
        url = addresses.next(now)
        assert addresses.other(url, now) != url
        if url in dead:
            under_way.append((now, url))
            costly[url].append(now)
        else:
            addresses.answered(url)
    for times in costly.values():
        known = [at for at in times if at >= times[0] + late]  # before, nobody could know
        for nth, (earlier, later) in enumerate(pairwise(known)):
            rest = (1 - JITTER) * min(REST_SECONDS * 2**nth, LONGEST_REST_SECONDS)
            assert later - earlier >= min(rest, TRIAL_SECONDS)


def test_where_all_failed_all_are_asked_in_turn() -> None:
    addresses = Addresses(URLS)
    for url in URLS:
        addresses.failed(url, began=0.0, now=0.0)
    assert {addresses.next(now=0.5) for _ in range(3)} == set(URLS)


def test_a_second_try_goes_to_another_address_that_does_not_rest() -> None:
    addresses = Addresses(URLS)
    addresses.failed(URLS[1], began=0.0, now=0.0)
    assert addresses.other(URLS[0], now=0.5) == URLS[2]
    addresses.failed(URLS[2], began=0.0, now=0.0)
    assert addresses.other(URLS[0], now=0.5) in URLS[1:]
    assert Addresses(URLS[:1]).other(URLS[0], now=0.0) == URLS[0]


def test_a_second_try_takes_nobody_s_turn() -> None:
    addresses = Addresses(URLS)
    turns = []
    for _ in range(6):
        turns.append(addresses.next(now=0.0))
        addresses.other(turns[-1], now=0.0)
    assert turns[:3] == turns[3:]
    assert set(turns) == set(URLS)

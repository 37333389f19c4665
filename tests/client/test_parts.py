"""The p95 that a hedge waits for, and whose turn it is."""

from __future__ import annotations

import random

from waypost.client.addresses import REST_SECONDS, Addresses
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
    addresses.failed(URLS[1], now=0.0)
    assert URLS[1] not in {addresses.next(now=0.5) for _ in range(6)}
    assert URLS[1] in {addresses.next(now=REST_SECONDS) for _ in range(6)}


def test_an_address_that_answers_rests_no_longer() -> None:
    addresses = Addresses(URLS)
    addresses.failed(URLS[1], now=0.0)
    addresses.answered(URLS[1])
    assert URLS[1] in {addresses.next(now=0.5) for _ in range(3)}


def test_where_all_failed_all_are_asked_in_turn() -> None:
    addresses = Addresses(URLS)
    for url in URLS:
        addresses.failed(url, now=0.0)
    assert {addresses.next(now=0.5) for _ in range(3)} == set(URLS)


def test_a_second_try_goes_to_another_address_that_does_not_rest() -> None:
    addresses = Addresses(URLS)
    addresses.failed(URLS[1], now=0.0)
    assert addresses.other(URLS[0], now=0.5) == URLS[2]
    addresses.failed(URLS[2], now=0.0)
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

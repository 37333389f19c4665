"""KEDA scales the workers by the real queue: its own acceptance case, and what happens when nobody can read the queue.

The pods answer nothing here, so what is on the queue stays until it is purged."""

from __future__ import annotations

import time

import pytest

from tests.cluster.helm import CHART, WAIT
from tests.cluster.running import wait_for
from tests.cluster.shop import HPA, RELEASE, Shop
from tests.cluster.steps import step

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
SOON = 60.0  # KEDA's polling, the HPA's rounds, and pods that take a second to be ready
DOWN = 240.0  # one worker a minute, as the chart's behaviour has it
PERIOD = 75.0  # of the policy "one a minute"; what was added within it may go at once, as the HPA counts
TWO_LOOKS = 12.0  # KEDA's, every five seconds
BELOW_ACTIVATION = 4  # KEDA's activation means strictly more
FALLBACK = 2


def workers(shop: Shop, number: int) -> None:
    wait_for(f"{number} workers ready", lambda: (shop.wanted(), shop.ready("worker")) == (number, number), DOWN)


def test_a_queue_that_cannot_be_read_brings_the_fallback(shop: Shop) -> None:
    workers(shop, 1)
    shop.queue.remove()
    with step("fallback after the queue is unreadable"):
        wait_for("the ScaledObject falls back", lambda: shop.scaling_is("Fallback"), SOON)
        workers(shop, FALLBACK)
    shop.queue.bring_back()
    with step("back from the fallback"):
        wait_for("the fallback is over", lambda: shop.scaling_is("Fallback", "False"), SOON)
        workers(shop, 1)


def test_a_backlog_of_three_queue_lengths_gives_three_workers(shop: Shop) -> None:
    shop.queue.fill(3 * shop.queue_length())
    with step(f"1 to 3 workers by a backlog of {3 * shop.queue_length()}"):
        workers(shop, 3)


def test_a_fallback_takes_no_worker_away(shop: Shop) -> None:
    shop.queue.remove()
    wait_for("the ScaledObject falls back", lambda: shop.scaling_is("Fallback"), SOON)
    hpa = shop.plane.admin.get(*HPA)
    assert hpa is not None
    assert shop.wanted() == 3 > FALLBACK
    shop.queue.bring_back()
    wait_for("the fallback is over", lambda: shop.scaling_is("Fallback", "False"), SOON)


def test_an_empty_queue_brings_the_minimum_back_one_worker_a_minute(shop: Shop) -> None:
    shop.queue.fill(3 * shop.queue_length())  # the one before went with the queue
    time.sleep(PERIOD)
    assert shop.wanted() == 3
    shop.queue.purge()
    seen: set[int] = set()

    def down() -> bool:
        seen.add(shop.wanted())
        return seen >= {1}

    with step("3 to 1 workers, one a minute"):
        wait_for("one worker is wanted", down, DOWN)
    assert seen == {3, 2, 1}
    workers(shop, 1)


def test_scaled_to_zero_a_few_messages_wake_nobody_and_a_backlog_does(shop: Shop) -> None:
    to_zero = [
        "--set=worker.autoscaling.scaleToZero=true",
        f"--set=worker.autoscaling.activationQueueLength={BELOW_ACTIVATION}",
    ]
    shop.helm.run("upgrade", RELEASE, str(CHART), *shop.values, *to_zero, *WAIT)
    with step("1 to 0 workers"):
        workers(shop, 0)
    shop.queue.fill(BELOW_ACTIVATION)
    time.sleep(TWO_LOOKS)
    assert shop.scaling_is("Active", "False")
    assert shop.wanted() == 0
    shop.queue.fill(2 * shop.queue_length() - BELOW_ACTIVATION)
    with step("0 to 2 workers"):
        workers(shop, 2)
    shop.queue.purge()
    with step("2 to 0 workers"):
        workers(shop, 0)
    shop.helm.run("upgrade", RELEASE, str(CHART), *shop.values, *WAIT)
    workers(shop, 1)

"""Work that may hang is watched, and left when nobody wants it any more."""

from __future__ import annotations

import threading

import pytest

from waypost.errors import TritonUnavailable
from waypost.worker.watch import Left, Work, watched


def test_it_returns_and_raises_what_the_work_does() -> None:
    assert watched(Work("a", lambda: 7), lambda: True) == 7

    def fail() -> int:
        raise TritonUnavailable("gone")

    with pytest.raises(TritonUnavailable, match="gone"):
        watched(Work("a", fail), lambda: True)


def test_work_that_nobody_wants_is_left_and_can_be_waited_for_later() -> None:
    go_on = threading.Event()
    work = Work("a", lambda: go_on.wait(60))
    looks = iter([True, True, False])
    with pytest.raises(Left):
        watched(work, lambda: next(looks), look_seconds=0.001)
    assert not work.wait(0)
    go_on.set()
    assert work.wait(60)
    assert work.result() is True

"""What malloc does with memory that is freed and the collector with what stays, asked of a process of its own: the
settings hold for a process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

MEASURED = """
import numpy as np, resource
from waypost.memory import keep_freed_memory
assert {keep} is False or keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(64 << 17)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults(keep: bool) -> int:
    """Pages that the second array of 64 MB asks of the system."""
    found = subprocess.run(
        [sys.executable, "-c", MEASURED.format(keep=keep)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"NUMPY_MADVISE_HUGEPAGE": "0"},
    )
    return int(found.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_a_second_array_takes_the_memory_of_the_first() -> None:
    assert faults(keep=False) > 10_000, "the control: without it every page is new"
    assert faults(keep=True) < 100


COLLECTED = """
import gc, weakref
import boto3
from waypost.memory import spare_what_stays
class Ring:
    pass
before = len(gc.get_objects())
spare_what_stays()
ring = Ring(); ring.itself = ring
gone = weakref.ref(ring)
del ring
left = len(gc.get_objects())
gc.collect()
print(before, left, gone() is None)
"""


def test_a_server_walks_through_what_is_new_only_and_still_frees_it() -> None:
    done = subprocess.run([sys.executable, "-c", COLLECTED], capture_output=True, text=True, check=True, timeout=60)
    before, left, freed = done.stdout.split()
    assert int(left) < int(before) / 10
    assert freed == "True"

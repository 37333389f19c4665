"""How a process asks the system for memory, and how often Python looks for what can be given back."""

from __future__ import annotations

import ctypes
import gc
import sys

# glibc's names and numbers (malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_NEVER = -1  # as a size, the largest there is
# New objects before the youngest are looked through: Python's own 700 are made by the answers of one batch, all alive.
_YOUNG_OBJECTS, _YOUNG_ROUNDS, _MIDDLE_ROUNDS = 10_000, 10, 10


def share_one_heap() -> bool:
    """Have all threads take memory from one heap; whether they will. To be called before they start.

    By default each thread has a heap of its own, and what one has freed is of no use to the others.
    """
    return _set((_M_ARENA_MAX, 1))


def keep_freed_memory() -> bool:
    """Have malloc keep what is freed for the next array instead of giving it back; whether it will.

    By default every array above 32 MB is mapped anew and unmapped when it goes, and the system clears each of its pages
    again: at 20 million interactions that is a fifth of a first night's data half, and all that makes an edge there
    dearer than at 2 million. It holds for the process, from the call on. Other C libraries are left as they are.
    """
    return _set((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER))


def spare_what_stays() -> None:
    """Have the garbage collector leave alone what is alive now; for a server, once all it is made of is there.

    Modules and clients are 150,000 objects, and a full collection walks through them all: 60 to 120 ms in which nobody
    is answered, every few seconds under load, and a fifth of the gateway's processor time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, _YOUNG_ROUNDS, _MIDDLE_ROUNDS)


def _set(*settings: tuple[int, int]) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(name, value) == 1 for name, value in settings)

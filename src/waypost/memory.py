"""How a process that works in bulk asks the system for memory."""

from __future__ import annotations

import ctypes
import sys

# glibc's names and numbers (malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_NEVER = -1  # as a size, the largest there is


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


def _set(*settings: tuple[int, int]) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(name, value) == 1 for name, value in settings)

"""The shape of a body before it is parsed: one with more values than any request holds is refused by a look at it.

pydantic makes an error for each wrong value and has no limit for them: 1 MiB of wrong ids or unknown fields takes it
0.9 s, for which every other caller would wait. So the bytes are counted first (a tenth of a millisecond for 1 MiB), and
only where they look like too many values, which texts full of commas do too, is what stands between the texts counted.
`oversized` says then which fields are wrong.
"""

from __future__ import annotations

import re

from waypost.limits import MAX_EXCLUDE, MAX_RECENT, MAX_TAGS

SMALL_BYTES = 4 << 10  # the worst that fits takes pydantic 4 ms
MAX_NAMES = 32  # of fields; a request has 11
MAX_BRACKETS = 32  # arrays and objects; a request has 7
MAX_VALUES = MAX_EXCLUDE + MAX_RECENT + 3 * MAX_TAGS + MAX_NAMES
MAX_TEXTS = MAX_VALUES + MAX_NAMES
# A text, whose end may lack, or what stands between two. Possessive: every byte is looked at once, whatever it is.
_PIECE = re.compile(rb'"(?:[^"\\]++|\\.)*+"?+|[^"]++', re.DOTALL)
_QUOTE = ord('"')


class TooManyValues(Exception):
    pass


def require_plausible(body: bytes) -> None:
    """Raises TooManyValues."""
    if len(body) <= SMALL_BYTES:
        return
    if body.count(b'"') - body.count(b'\\"') > 2 * MAX_TEXTS:  # at least so many begin or end a text
        raise TooManyValues
    if _exceeds(body.count(b":"), body.count(b"[") + body.count(b"{"), body.count(b",")):
        _count_between_texts(body)


def _exceeds(names: int, brackets: int, commas: int) -> bool:
    return names > MAX_NAMES or brackets > MAX_BRACKETS or commas > MAX_VALUES


def _count_between_texts(body: bytes) -> None:
    names, brackets, commas = 0, 0, 0
    for count, piece in enumerate(_PIECE.finditer(body)):
        between = piece[0]
        if between[0] != _QUOTE:
            names += between.count(b":")
            brackets += between.count(b"[") + between.count(b"{")
            commas += between.count(b",")
        if count > 2 * MAX_TEXTS or _exceeds(names, brackets, commas):
            raise TooManyValues

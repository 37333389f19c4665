"""KeyTypes: whether a release's users and posts go by integers, texts or UUIDs in the app, each for itself.

It travels in the release, so that the gateway (which has no numpy) and the worker learn it from there. A release
without it is from a time when every key was an integer.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast, get_args

KeyType = Literal["integer", "text", "uuid"]  # as graph.tensors has it, which needs numpy


class KeyTypes(NamedTuple):
    user: KeyType = "integer"
    post: KeyType = "integer"


INTEGER_KEYS = KeyTypes()


def parse_key_types(content: object) -> KeyTypes:
    """From `{"user": …, "post": …}`, or None in a release that says nothing. Raises ValueError."""
    if content is None:
        return INTEGER_KEYS
    if not isinstance(content, dict) or content.keys() != {"user", "post"}:
        raise ValueError("key types are those of user and post")
    if not all(value in get_args(KeyType) for value in content.values()):
        raise ValueError("a key is integer, text or uuid")
    return KeyTypes(cast("KeyType", content["user"]), cast("KeyType", content["post"]))

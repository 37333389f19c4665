"""How a bug is planted: a named piece of the product is replaced, and a piece that is gone is told, not passed over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def plant(owner: Any, name: str, changed: Callable[..., Any]) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more: plant this bug where it would be now"
    setattr(owner, name, changed)

"""Bugs on purpose: each a small change of the running product, made in the process that has it and nowhere else."""

from __future__ import annotations

from importlib import import_module


def plant(name: str) -> None:
    """`gateway.k_ignored_when_degraded`: have that bug here. Raises where the product has changed its shape."""
    module, _, bug = name.partition(".")
    import_module(f"tests.chaos.planted.{module}").BUGS[bug]()

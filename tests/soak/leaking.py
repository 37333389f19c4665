"""A gateway and a worker that leak on purpose: a module that Python itself imports at their start, from a folder of the
test's own, wraps what both do for every message. Nothing of it is in the product."""

from __future__ import annotations

from pathlib import Path

LEAKED_BYTES = 512  # for each message signed or verified
EVERY = 500  # messages, for a thread and a socket that nobody ends
SITECUSTOMIZE = f"""
import socket, sys, threading

if sys.orig_argv[-1] in ("gateway", "worker"):
    from waypost.queueing.signing import Keyring

    leaked, forever = [], threading.Event()

    def leaking(inner):
        def call(*arguments):
            leaked.append(bytearray({LEAKED_BYTES}))
            if len(leaked) % {EVERY} == 0:
                leaked.append(socket.socket())
                threading.Thread(target=forever.wait, daemon=True).start()
            return inner(*arguments)
        return call

    Keyring.sign, Keyring.verify = leaking(Keyring.sign), leaking(Keyring.verify)
"""


def leaking_environment(folder: Path) -> dict[str, str]:
    """Settings that make every Python process started with them import the leak."""
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    return {"PYTHONPATH": str(folder)}

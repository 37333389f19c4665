"""Runs a command as `nobody` when we are root, with the one capability that lets it walk through folders of root's."""

from __future__ import annotations

import os
import pwd
import shutil

from waypost.errors import LocalStackError

USER = "nobody"  # there on every Linux


def as_unprivileged() -> tuple[str, ...]:
    """What to put before a command; nothing when we are not root."""
    if os.geteuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise LocalStackError("setpriv is missing, PostgreSQL cannot run as root", "apt-get install util-linux")
    return (
        setpriv, f"--reuid={USER}", f"--regid={pwd.getpwnam(USER).pw_gid}", "--clear-groups",
        "--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override", "--no-new-privs",
    )  # fmt: skip


def unprivileged_id() -> int:
    """The user that such a command runs as."""
    return os.geteuid() or pwd.getpwnam(USER).pw_uid

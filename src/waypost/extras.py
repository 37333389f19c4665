"""Which extra a verb's process is installed with, for whoever runs one without it: one line instead of a traceback.

Nothing is looked up before a verb starts. It imports what it needs, and only where that fails this is asked.
"""

from __future__ import annotations

from waypost.errors import SettingsError

# By a verb's first word. Every other one reads or writes what a night does.
_EXTRAS = {"gateway": "gateway", "worker": "worker", "local": "local", "release": "worker"}
_NIGHTS = "trainer"


def not_installed(verb: str, error: ModuleNotFoundError) -> SettingsError:
    """What to tell of a module that is not there. Raises the error itself where that module is ours."""
    missing = (error.name or "").partition(".")[0]
    if missing in ("", "waypost"):
        raise error
    extra = _EXTRAS.get(verb.partition(" ")[0], _NIGHTS)
    return SettingsError(
        f"`waypost {verb}` needs {missing}, which is not installed here", f"run pip install 'waypost[{extra}]'"
    )

"""Every verb, in the order of `waypost --help`: its help, what it does, and the settings it reads."""

from __future__ import annotations

from waypost.verbs import cache, data, doctor, lists, local, night, preflight, refresh, release, serving
from waypost.verbs.parsing import SettingsOf, Verb, Verbs

_MODULES = (local, data, night, refresh, serving, doctor, preflight, release, cache, lists)
VERBS: dict[str, Verb] = {name: verb for module in _MODULES for name, verb in module.VERBS.items()}
SETTINGS: SettingsOf = {name: kinds for module in _MODULES for name, kinds in module.SETTINGS.items()}
TELL_SETTINGS = {"doctor"}  # what is wrong with the settings is part of their result


def add_all(verbs: Verbs) -> None:
    for module in _MODULES:
        module.add_to(verbs)

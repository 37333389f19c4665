"""What every verb's help is made of: a summary, details, and the settings it reads."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from textwrap import dedent
from typing import Any

from waypost.settings import Settings

Verbs = Any  # argparse gives the type of add_subparsers() no public name
Verb = Callable[[argparse.Namespace, Mapping[str, str]], int]  # options and environment to the exit code
SettingsOf = dict[str, tuple[type[Settings], ...]]  # by verb: what is checked before it starts


def a_parser(
    verbs: Verbs | None, name: str, summary: str, details: str, settings: type[Settings] | None = None
) -> argparse.ArgumentParser:
    epilog = dedent(details).strip()
    if settings is not None:
        epilog += "\n\nsettings (environment):\n" + "\n".join(f"  {line}" for line in settings.lines())
    facts: dict[str, Any] = {
        "description": summary,
        "epilog": epilog,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
    if verbs is None:
        return argparse.ArgumentParser(name, **facts)
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=summary, **facts)
    return parser


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def above_zero(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def days(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return number

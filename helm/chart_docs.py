"""Writes helm/waypost/README.md: README.head.md, then a table of every value with its default and its `# --` comment.

It reads values.yaml as text for the comments and as YAML for the defaults, and refuses a value that nobody described.
`make chart-docs` runs it, and a test holds that the README is what it would write."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "waypost"
_LINE = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][\w-]*):")
_COMMENT = re.compile(r"^ *# ?(?P<text>.*)$")
_MARK = "-- "


@dataclass(frozen=True)
class Value:
    path: str
    default: Any
    text: str


def described_values(text: str) -> list[Value]:
    """Every described value in its order. Raises ValueError naming leaves without a `# --` comment."""
    comments = dict(_comments(text))
    values = list(_described("", yaml.safe_load(text), comments))
    bare = [value.path for value in values if not value.text]
    if bare:
        raise ValueError(f"without a `# --` comment in values.yaml: {', '.join(bare)}")
    return values


def _described(prefix: str, mapping: dict[str, Any], comments: dict[str, str]) -> Iterator[Value]:
    """A described mapping is one value; an undescribed one is what its own keys are."""
    for key, value in mapping.items():
        path = f"{prefix}{key}"
        if path not in comments and isinstance(value, dict) and value:
            yield from _described(f"{path}.", value, comments)
        else:
            yield Value(path, value, comments.get(path, ""))


def _comments(text: str) -> Iterator[tuple[str, str]]:
    """(path, what stands above it), for the keys with a `# --` comment right above."""
    parents: list[tuple[int, str]] = []
    above: list[str] = []
    for line in text.splitlines():
        if found := _COMMENT.match(line):
            above = _grown(above, found["text"])
        elif found := _LINE.match(line):
            indent = len(found["indent"])
            parents = [(depth, key) for depth, key in parents if depth < indent] + [(indent, found["key"])]
            if above:
                yield ".".join(key for _, key in parents), " ".join(above)
            above = []
        else:
            above = []


def _grown(above: list[str], text: str) -> list[str]:
    """A comment begins at its mark; the lines below belong to it."""
    if text.startswith(_MARK):
        return [text.removeprefix(_MARK)]
    return [*above, text.strip()] if above else []


def readme(head: str, values: list[Value]) -> str:
    rows = [
        f"| `{value.path}` | {_default(value.default)} | {value.text.replace('|', chr(92) + '|')} |" for value in values
    ]
    return "\n".join([head.rstrip(), "", "| value | default | |", "|---|---|---|", *rows, ""])


def _default(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def rendered() -> str:
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    return readme((CHART / "README.head.md").read_text(encoding="utf-8"), described_values(text))


if __name__ == "__main__":
    try:
        (CHART / "README.md").write_text(rendered(), encoding="utf-8")
    except ValueError as error:
        sys.exit(f"chart_docs.py: {error}")

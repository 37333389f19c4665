"""Writes what the chart says of itself: README.md, and in values.schema.json the names that `*.settings` may hold.

README.md is README.head.md, then a table of every value with its default and its `# --` comment; a value that nobody
described is refused. The names are those of the processes' settings without those that the templates set. `make
chart-docs` runs it, and tests hold that both files are what it would write."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from waypost.settings import CacheSettings, ExporterSettings, GatewaySettings, Settings, TrainerSettings, WorkerSettings

CHART = Path(__file__).parent / "waypost"
SCHEMA = CHART / "values.schema.json"
_LINE = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][\w-]*):")
_COMMENT = re.compile(r"^ *# ?(?P<text>.*)$")
_MARK = "-- "
_SET = re.compile(r"- \{name: (WAYPOST_[A-Z_0-9]+)")
_NAMES = re.compile(r'"\^\(([A-Z_0-9|]*)\)\$"')
# In the schema's order, each with the prefix that values leave out.
_SETTINGS: dict[str, tuple[str, tuple[type[Settings], ...]]] = {
    "gateway": (GatewaySettings.prefix, (GatewaySettings,)),
    "worker": (WorkerSettings.prefix, (WorkerSettings,)),
    "trainer": ("", (TrainerSettings, ExporterSettings, CacheSettings)),
}


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


def allowed_names() -> dict[str, list[str]]:
    """By component, what its `settings` may name: all that its process reads and no template sets."""
    templates = "".join(path.read_text(encoding="utf-8") for path in (CHART / "templates").rglob("*.*"))
    taken = set(_SET.findall(templates))
    return {
        component: [name.removeprefix(prefix) for kind in kinds for name in kind.variables() if name not in taken]
        for component, (prefix, kinds) in _SETTINGS.items()
    }


def schema(text: str) -> str:
    """The schema with today's names. Raises ValueError where their places are not found."""
    lists = iter(allowed_names().values())
    if len(_NAMES.findall(text)) != len(_SETTINGS):
        raise ValueError(f"values.schema.json has not {len(_SETTINGS)} places for names of settings")
    return _NAMES.sub(lambda _: f'"^({"|".join(next(lists))})$"', text)


if __name__ == "__main__":
    try:
        described = SCHEMA.read_text(encoding="utf-8")
        SCHEMA.write_text(schema(described), encoding="utf-8")
        (CHART / "README.md").write_text(rendered(), encoding="utf-8")
    except ValueError as error:
        sys.exit(f"chart_docs.py: {error}")

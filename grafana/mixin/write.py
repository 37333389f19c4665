"""Write what is generated: `python -m grafana.mixin` writes it, `--check` says what is not in step and exits 1."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from grafana.mixin.dashboards import dashboards
from grafana.mixin.objectives import objective_rules, read_objectives

FOLDER = Path(__file__).parent.parent
GENERATED = "# Made by `python -m grafana.mixin` from objectives.toml; do not edit.\n"
WIDE = 120  # characters of a line of YAML


class _Dumper(yaml.SafeDumper):
    """Queries of several lines as blocks, the way that people write them."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def generated() -> Mapping[Path, str]:
    """Every generated file's content by its path inside grafana/."""
    rules = objective_rules(read_objectives(FOLDER / "objectives.toml"))
    files = {Path("rules/objectives.yaml"): GENERATED + _yaml(rules)}
    for dashboard in dashboards():
        name = Path("dashboards") / f"{str(dashboard['uid']).removeprefix('waypost-')}.json"
        files[name] = json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"
    return files


def _yaml(content: Mapping[str, Any]) -> str:
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=WIDE, allow_unicode=True))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m grafana.mixin", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is not in step")
    only_check = parser.parse_args(arguments).check
    stale = [path for path, text in generated().items() if _content(FOLDER / path) != text]
    for path in stale:
        if not only_check:
            (FOLDER / path).write_text(generated()[path])
        sys.stdout.write(f"{'not in step' if only_check else 'written'}: {path}\n")
    return int(only_check and bool(stale))


def _content(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None

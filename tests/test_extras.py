"""A verb in an environment without its extra: one line that names the extra, and 78 as for other setup errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from waypost.extras import not_installed

VERBS = {
    "gateway": "gateway",
    "gateway key --id app --file keys.json": None,
    "worker": "worker",
    "trainer": "trainer",
    "exporter": "trainer",
    "night": "trainer",
    "refresh": "trainer",
    "load world": "trainer",
    "preflight x": "trainer",
    "release list": "worker",
    "recommend --all-users --output x": "trainer",
    "local up": "local",
    "local status": "local",
    "local generate world --interactions 10": "local",
    "cache ls": "trainer",
    "schema check": "trainer",
    "evaluate --train a --test b --recs c": None,
}  # fmt: skip  None: it needs nothing more than every environment has
PROGRAM = """
import contextlib, io, json, sys

EVERYWHERE = {"pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection", "orjson",
              "rich", "markdown_it", "mdurl", "pygments", "waypost", *sys.stdlib_module_names}

class Empty:
    # As if only what every environment has were installed.
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in EVERYWHERE and not top.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Empty())
from waypost.cli import main

told = {}
for verb in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        code = main(verb.split())
    told[verb] = [code, said.getvalue()]
print(json.dumps(told))
"""
PARTS = {
    "WAYPOST_POSTGRES_DSN": "postgresql://app", "WAYPOST_BUCKET": "b", "WAYPOST_TRITON_URL": "127.0.0.1:1",
    "WAYPOST_REQUEST_QUEUE_URL": "http://127.0.0.1:1/q",
}  # fmt: skip


def test_a_verb_without_its_extra_is_one_line_that_names_it(tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WAYPOST_", "AWS_"))}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(list(VERBS))],
        env={**inherited, **PARTS}, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    for verb, extra in VERBS.items():
        code, said = told[verb]
        if extra is not None:
            assert (code, said.count("\n")) == (78, 1), (verb, said)
            assert f"pip install 'waypost[{extra}]'" in said, (verb, said)
        else:
            assert "Traceback" not in said


def test_a_module_of_ours_that_is_not_there_is_our_fault_and_not_the_environments() -> None:
    ours = ModuleNotFoundError("No module named 'waypost.gone'", name="waypost.gone")
    with pytest.raises(ModuleNotFoundError) as raised:
        not_installed("gateway", ours)
    assert raised.value is ours

"""`waypost gateway key`: a key that counts, shown once, and a file that is whole at every moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from waypost.errors import SettingsError, UsageError
from waypost.gateway.key_making import make_key
from waypost.gateway.keys import ApiKeys
from waypost.gateway.quotas import Quota

NO_QUOTA = Quota()


def test_the_key_counts_and_the_file_does_not_tell_it(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = make_key(file, "app", None, NO_QUOTA)
    found = ApiKeys(file).find(f"Bearer {key}".encode())
    assert found is not None
    assert (found.id, found.tenant) == ("app", "app")
    assert key not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_second_key_of_a_tenant_shares_its_quota_and_the_first_stays(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    first = make_key(file, "app", None, Quota(50.0, None, 8))
    second = make_key(file, "app-2", "app", NO_QUOTA)
    keys = ApiKeys(file)
    assert keys.find(f"Bearer {first}".encode())
    found = keys.find(f"Bearer {second}".encode())
    assert found is not None
    assert found.quota == Quota(50.0, None, 8)


def test_a_file_of_one_object_a_line_keeps_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    old = make_key(file, "old", None, NO_QUOTA)
    file.write_text("\n".join(json.dumps(entry) for entry in json.loads(file.read_text())["keys"]))
    make_key(file, "new", None, NO_QUOTA)
    assert ApiKeys(file).find(f"Bearer {old}".encode())


def test_many_made_at_once_are_all_there(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with ThreadPoolExecutor(8) as makers:
        made = list(makers.map(lambda i: make_key(file, f"app-{i}", None, NO_QUOTA), range(24)))
    keys = ApiKeys(file)
    assert all(keys.find(f"Bearer {key}".encode()) for key in made)
    assert os.listdir(tmp_path) == ["keys.json"]


def test_what_would_contradict_the_file_leaves_it_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    make_key(file, "app", None, Quota(50.0))
    before = file.read_text()
    with pytest.raises(UsageError, match="exists"):
        make_key(file, "app", None, NO_QUOTA)
    with pytest.raises(UsageError, match="different quotas"):
        make_key(file, "app-2", "app", Quota(10.0))
    assert file.read_text() == before
    file.write_text("half a fi")
    with pytest.raises(SettingsError, match="is wrong"):
        make_key(file, "other", None, NO_QUOTA)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    link = tmp_path / "keys.json"
    link.symlink_to("secret/keys.json")
    make_key(link, "app", None, NO_QUOTA)
    assert link.is_symlink()
    assert ApiKeys(link).asked_for


def test_the_verb_prints_the_key_and_nothing_else(tmp_path: Path) -> None:
    verb = [sys.executable, "-m", "waypost.cli", "gateway", "key", "--id", "app", "--requests-per-second", "5"]
    environ = {"WAYPOST_GATEWAY_API_KEYS_FILE": str(tmp_path / "keys.json"), "PATH": os.environ["PATH"]}
    done = subprocess.run(verb, env=environ, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ApiKeys(tmp_path / "keys.json").find(f"Bearer {done.stdout.strip()}".encode())
    assert "only time" in done.stderr
    again = subprocess.run(verb, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (2, "")

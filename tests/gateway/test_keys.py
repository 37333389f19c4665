"""API keys: who may ask, and who is told what."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from waypost.errors import SettingsError
from waypost.gateway.keys import ApiKeys
from waypost.gateway.run import require_loopback
from waypost.settings import GatewaySettings

from .conftest import StartGateway, eventually

APP, OTHER = "a long random string", "another long random string"
ASKED = {"user_id": 42, "k": 1, "deadline_ms": 20}


def an_entry(key: str = APP, **different: Any) -> dict[str, Any]:
    return {"id": "app", "sha256": hashlib.sha256(key.encode()).hexdigest(), "scopes": ["recommend"], **different}


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    file = tmp_path / "api-keys.json"
    file.write_text(json.dumps({"keys": [an_entry(), an_entry(OTHER, id="other", scopes=["metrics"])]}))
    return file


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_without_or_with_an_unknown_key_the_answer_is_401(start_gateway: StartGateway, keys_file: Path) -> None:
    gateway = start_gateway(api_keys_file=keys_file)
    for headers in ({}, bearer("unknown"), bearer(""), {"Authorization": f"Basic {APP}"}, {"Authorization": APP}):
        refused = gateway.post(ASKED, headers)
        assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_a_key_out_of_scope_is_403_and_the_right_one_is_answered(start_gateway: StartGateway, keys_file: Path) -> None:
    gateway = start_gateway(api_keys_file=keys_file)
    assert gateway.post(ASKED, bearer(OTHER)).status == 403
    assert gateway.post(ASKED, bearer(APP)).status == 200
    assert gateway.get("/healthz").status == 200  # probes have no key


def test_the_key_is_judged_before_the_fields(start_gateway: StartGateway, keys_file: Path) -> None:
    assert start_gateway(api_keys_file=keys_file).post({"k": 0}).status == 401


def test_a_changed_file_counts_while_the_gateway_runs(start_gateway: StartGateway, keys_file: Path) -> None:
    gateway = start_gateway(api_keys_file=keys_file)
    new = keys_file.with_suffix(".new")
    new.write_text(json.dumps(an_entry("a third long random string")))
    new.replace(keys_file)
    eventually(lambda: gateway.post(ASKED, bearer("a third long random string")).status == 200)
    assert gateway.post(ASKED, bearer(APP)).status == 401


def test_a_key_is_rotated_under_load_and_no_caller_is_refused(start_gateway: StartGateway, keys_file: Path) -> None:
    keys_file.write_text(json.dumps(an_entry()))
    gateway = start_gateway(api_keys_file=keys_file)
    in_use, ended = [APP], threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        while not ended.is_set():
            statuses.append(gateway.post(ASKED, bearer(in_use[0])).status)

    with ThreadPoolExecutor(4) as callers:
        asking = [callers.submit(ask) for _ in range(4)]
        write_keys(keys_file, an_entry(), an_entry(OTHER, id="app-2", tenant="app"))
        eventually(lambda: gateway.post(ASKED, bearer(OTHER)).status == 200)
        in_use[0] = OTHER
        before = len(statuses)
        eventually(lambda: len(statuses) > before + 8)  # nobody asks with the old one any more
        write_keys(keys_file, an_entry(OTHER, id="app-2", tenant="app"))
        eventually(lambda: gateway.post(ASKED, bearer(APP)).status == 401)
        ended.set()
        for one in asking:
            one.result()
    assert set(statuses) == {200}


def write_keys(file: Path, *entries: dict[str, Any]) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"keys": entries}))
    new.replace(file)


def test_a_file_that_is_wrong_after_a_change_leaves_the_keys_as_they_were(keys_file: Path) -> None:
    keys = ApiKeys(keys_file)
    keys_file.write_text("half a fi")
    keys.reload()
    assert keys.find(f"Bearer {APP}".encode())
    os.remove(keys_file)
    keys.reload()
    assert keys.find(f"Bearer {APP}".encode())


def test_one_object_a_line_is_a_keys_file_too(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    file.write_text(f"{json.dumps(an_entry())}\n\n{json.dumps(an_entry(OTHER))}\n")
    keys = ApiKeys(file)
    assert keys.find(f"bearer {APP}".encode())
    assert keys.find(f"Bearer {OTHER}".encode())


@pytest.mark.parametrize(
    "content",
    ["", "[]", "7", '{"keys": [7]}', '{"keys": {"id": 1}}', '{"keys": [{"id": "app"}]}',
     json.dumps({"keys": [an_entry(sha256="abc")]}), json.dumps(an_entry(scopes="recommend"))],
    ids=range(8),
)  # fmt: skip
def test_a_wrong_file_is_refused_at_the_start(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(SettingsError, match="WAYPOST_GATEWAY_API_KEYS_FILE"):
        ApiKeys(file)


def test_an_absent_file_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        ApiKeys(tmp_path / "nowhere.json")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "gateway.example"])
def test_without_keys_only_loopback_is_bound(host: str, keys_file: Path) -> None:
    settings = GatewaySettings.model_validate({"host": host})
    with pytest.raises(SettingsError, match="set WAYPOST_GATEWAY_API_KEYS_FILE"):
        require_loopback(settings, ApiKeys(None))
    require_loopback(settings, ApiKeys(keys_file))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_keys(host: str) -> None:
    require_loopback(GatewaySettings.model_validate({"host": host}), ApiKeys(None))

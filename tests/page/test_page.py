"""The status page over HTTP: whether it is there, to whom it speaks, and what its figures say."""

from __future__ import annotations

import json
from pathlib import Path

import orjson

from tests.gateway.conftest import eventually
from tests.page.conftest import SCORES, USER, World, get
from waypost.gateway.key_making import make_key
from waypost.gateway.quotas import Quota
from waypost.local.layout import Layout
from waypost.local.serving import serving_spec
from waypost.settings import GatewaySettings

ROOT = Path(__file__).parents[2]
STATIC = ("/", "/status/page.css", "/status/page.js", "/status/ask.js", "/status/key.js", "/status/path.js",
          "/status/words.js", "/status/icon.svg")  # fmt: skip
TOLD = ("/status/figures", "/status/people")
ASKED = "/status/reasons"


def test_without_the_switch_nothing_of_it_is_there(world: World) -> None:
    with world.gateway(status_page="off") as gateway:
        assert {get(gateway, path).status for path in (*STATIC, *TOLD, ASKED)} == {404}


def test_every_answer_is_fresh_plain_and_loads_nothing_from_elsewhere(world: World) -> None:
    with world.gateway() as gateway:
        answers = [get(gateway, path).headers for path in (*STATIC, *TOLD, "/status/none")]
    for headers in answers:
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        policy = headers["content-security-policy"].split("; ")
        assert policy[0] == "default-src 'none'"
        assert {"script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"} <= set(policy)


def test_the_page_is_of_files_that_it_serves_itself(world: World) -> None:
    with world.gateway() as gateway:
        for path in STATIC:
            found = get(gateway, path)
            assert found.status == 200
            assert b"http://" not in found.body.replace(b"http://www.w3.org/2000/svg", b"")
            assert b"https://" not in found.body
        assert get(gateway, "/", "HEAD").body == b""


def test_only_what_is_there_is_answered_and_only_as_it_is_meant(world: World) -> None:
    with world.gateway() as gateway:
        assert get(gateway, "/status/none").status == 404
        assert get(gateway, "/status/../app.py").status == 404
        assert get(gateway, "/", "POST", b"{}").status == 405
        assert get(gateway, ASKED).status == 405
        assert get(gateway, ASKED, "POST", b"x" * (1 << 20)).status == 413


def test_a_page_elsewhere_whose_name_was_turned_to_this_machine_gets_nothing(world: World) -> None:
    with world.gateway() as gateway:
        for host in ("shop.example", "127.0.0.1.shop.example", "127.0.0.1@shop.example", "[", ""):
            assert get(gateway, "/status/figures", Host=host).status == 421, host
        for host in ("localhost:8080", "127.0.0.1", "[::1]:8080"):
            assert get(gateway, "/status/figures", Host=host).status == 200, host


def test_with_api_keys_figures_and_histories_ask_for_one_and_the_page_itself_does_not(
    world: World, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    key = make_key(keys, "app", None, Quota())
    with world.gateway(api_keys_file=keys) as gateway, world.reasons_told():
        assert get(gateway, "/").status == 200
        assert {get(gateway, path).status for path in TOLD} == {401}
        assert get(gateway, ASKED, "POST", b"{}").status == 401
        assert {get(gateway, path, Authorization=f"Bearer {key}").status for path in TOLD} == {200}


def test_the_figures_tell_release_night_queue_and_every_stage(world: World) -> None:
    with world.worker(), world.gateway() as gateway:
        for _ in range(5):
            assert gateway.post({"user_id": USER, "deadline_ms": 5000}).json["source"] == "graphsage"
        eventually(lambda: get(gateway, "/status/figures").json["traffic"]["requests"] == 5)
        said = get(gateway, "/status/figures").json
    assert said["answers_by"] == "7"
    assert (said["release"]["version"], said["release"]["how"]) == (7, "publish")
    assert said["night"]["scores"] == SCORES
    assert said["queue"]["waiting"] == 0
    assert said["worker"]["ready"] == 1
    counts = {(stage["process"], stage["stage"]): stage["now"]["count"] for stage in said["stages"]}
    assert len(counts) == 11
    assert set(counts.values()) == {5}


def test_without_a_worker_on_this_machine_the_gateways_own_stages_are_there(world: World) -> None:
    with world.gateway() as gateway:
        eventually(lambda: get(gateway, "/status/figures").json["worker"]["trouble"] is not None)
        said = get(gateway, "/status/figures").json
        assert said["worker"] == {**said["worker"], "answers": False, "trouble": "no worker on this machine"}
        assert get(gateway, "/status/people").status == 503
        assert "waypost local run" in get(gateway, "/status/people").json["detail"]


def test_while_no_worker_is_ready_the_headline_says_so_and_that_answers_are_degraded(world: World) -> None:
    with world.worker(), world.gateway() as gateway:
        assert gateway.post({"user_id": USER, "deadline_ms": 5000}).json["source"] == "graphsage"
        eventually(lambda: get(gateway, "/status/figures").json["verdict"]["kind"] == "calm")
        world.worker_metrics.ready.set(0)
        eventually(lambda: get(gateway, "/status/figures").json["verdict"]["headline"] == "No worker is ready")
    with world.gateway() as gateway:
        for _ in range(5):
            assert gateway.post({"user_id": USER, "deadline_ms": 20}).json["degraded"]
        eventually(lambda: get(gateway, "/status/figures").json["traffic"]["requests"] == 5)
        said = get(gateway, "/status/figures").json
    assert (said["traffic"]["degraded"], said["traffic"]["met"], said["traffic"]["p99"]) == (1.0, False, None)
    assert "100 % of the last 5 answers are degraded" in said["verdict"]["sentence"]


def test_a_file_that_names_another_machine_is_not_asked(world: World) -> None:
    (world.folder / "worker.json").write_text(json.dumps({"metrics_url": "http://shop.example/metrics"}))
    with world.gateway() as gateway:
        eventually(lambda: get(gateway, "/status/figures").json["worker"]["trouble"] == "it is not on this machine")


def test_reasons_come_with_titles_history_and_tags(world: World) -> None:
    with world.worker(), world.gateway() as gateway, world.reasons_told():
        people = get(gateway, "/status/people").json["people"]
        assert str(USER) in map(str, world.tensors.user_ids.tolist())
        assert people
        answer = gateway.post({"user_id": int(people[0]), "k": 3, "deadline_ms": 5000}).json
        told = get(gateway, ASKED, "POST", orjson.dumps({"answer": answer})).json
    assert told["known"]
    assert told["history"]
    assert [post["post_id"] for post in told["posts"]] == [str(item["post_id"]) for item in answer["items"]]
    assert all(post["title"].startswith("A quiet beach") for post in told["posts"])


def test_what_is_no_question_is_a_400(world: World) -> None:
    unreadable = [b"", b"[]", b"{", b'{"answer": {}}', b'{"answer": {"user_id": [], "items": []}}']
    unreadable += [b'{"answer": {"user_id": 1, "items": [{}]}}', b'{"answer": {"items": []}, "recent_post_ids": 1}']
    with world.gateway() as gateway, world.reasons_told():
        for body in unreadable:
            assert get(gateway, ASKED, "POST", body).status == 400, body


def test_nobody_without_the_token_is_told_a_history(world: World) -> None:
    with world.gateway() as gateway, world.reasons_told():
        said = world.folder / "reasons.json"
        assert said.stat().st_mode & 0o077 == 0
        url = json.loads(said.read_text())["url"]
        assert gateway.pool.request("GET", f"{url}/status/people").status == 401
    assert not said.exists()


def test_it_is_off_unless_somebody_switches_it_on() -> None:
    assert GatewaySettings().status_page == "off"
    assert "STATUS_PAGE" not in (ROOT / "helm/waypost/values.yaml").read_text()


def test_the_local_stack_switches_it_on_and_its_user_may_switch_it_off(tmp_path: Path) -> None:
    layout = Layout.of(tmp_path)
    assert serving_spec(layout, "gateway", {}).environment["WAYPOST_GATEWAY_STATUS_PAGE"] == "on"
    off = {"WAYPOST_GATEWAY_STATUS_PAGE": "off"}
    assert serving_spec(layout, "gateway", off).environment["WAYPOST_GATEWAY_STATUS_PAGE"] == "off"

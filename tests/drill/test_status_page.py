"""The status page as a newcomer meets it: `waypost local run`, a browser, and a release whose tokenizer is slow."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.page.browser import PACKAGE, Browser, a_browser, find_chromium
from tests.soak.load import Load
from tests.test_end_to_end import INTERACTIONS, Waypost

SLOW_MILLISECONDS, SLOW_RELEASE = 120, 2
CALM_SECONDS = 20.0  # of the release before, so that there is something to compare with
NAMED_SECONDS = 60.0  # since the slow release was published
STOP_SECONDS = 60.0
FRESH = "document.getElementById('freshness').textContent.startsWith('Updated')"

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]


@pytest.fixture
def browser(tmp_path: Path, need_package: Callable[[str], None]) -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        need_package(PACKAGE)
    assert program is not None
    with a_browser(program, tmp_path / "chromium") as found:
        yield found


@contextmanager
def local_run(waypost: Waypost) -> Iterator[str]:
    """In the foreground of a process of its own; its address once it is ready."""
    command = [sys.executable, "-m", "waypost.cli", "local", "run"]
    log = (waypost.folder / "run.log").open("wb")
    running = subprocess.Popen(
        command, cwd=waypost.folder, env=waypost.environ, stdout=subprocess.PIPE, stderr=log, text=True
    )
    try:
        assert running.stdout is not None
        ready = running.stdout.readline()
        assert ready.startswith("ready "), (waypost.folder / "run.log").read_text()[-2_000:]
        yield ready.split()[1]
    finally:
        running.terminate()
        running.communicate(timeout=STOP_SECONDS)
        log.close()


def test_a_newcomer_sees_which_stage_is_slow_and_why_a_user_gets_what_he_gets(
    stack_folders: Path, tmp_path: Path, browser: Browser
) -> None:
    folder = stack_folders / "page"
    folder.mkdir()
    waypost = Waypost(folder)
    waypost.environ |= {
        "WAYPOST_LOCAL_INTERACTIONS": str(INTERACTIONS),
        "WAYPOST_WORKER_CANARY_SHARE": "0",  # the trial would give the slow release up before a caller felt it
        "WAYPOST_FAULTS": f"tokenize:{SLOW_MILLISECONDS}:{SLOW_RELEASE}",
        "WAYPOST_FAULTS_ALLOWED": "yes",
    }
    with local_run(waypost) as url:
        browser.size(1200, 900)
        browser.open(f"{url}/")
        browser.wait_for(FRESH)
        browser.wait_for("document.querySelectorAll('#people button').length > 0")
        people = [int(person) for person in browser.texts("#people button")]
        browser.value("document.getElementById('user').focus()")
        browser.type(str(people[0]))
        browser.press("Enter")
        browser.wait_for("document.querySelectorAll('#history li').length > 0")
        assert "ranked by release 1" in browser.text("#said")
        assert any(why.startswith("Because of") for why in browser.texts("#list .why"))

        with Load(url, people, callers=2, deadline_ms=3_000):
            time.sleep(CALM_SECONDS)
            browser.wait_for("document.getElementById('verdict').dataset.kind === 'calm'")
            waypost("exporter")
            since = time.monotonic()
            browser.wait_for("document.getElementById('headline').textContent === 'tokenize got slower'")
            seconds = time.monotonic() - since
            browser.screenshot(tmp_path / "slow.png")
        assert browser.text("#sentence").endswith(f"since release {SLOW_RELEASE}.")
        assert browser.texts("tr.slow th")[0].startswith("tokenize")
        print(f"\nstatus page: tokenize named {seconds:.0f} s after the slow release was published")
        assert seconds <= NAMED_SECONDS
        assert not browser.complaints
        assert all(address.startswith(url) for address in browser.asked_for)

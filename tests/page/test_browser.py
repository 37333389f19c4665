"""The page in a real browser, by keyboard alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.page.browser import Browser
from tests.page.conftest import HOSTILE, USER, World, a_world
from waypost.gateway.key_making import make_key
from waypost.gateway.quotas import Quota

PHONE = (360, 740)
FRESH = "document.getElementById('freshness').textContent.startsWith('Updated')"
TOLD = "document.querySelectorAll('#history li').length > 0"


def tab_to(browser: Browser, element: str) -> None:
    for _ in range(20):
        if browser.focused() == element:
            return
        browser.press("Tab")
    raise AssertionError(f"no way to {element} by Tab")


def test_a_person_asks_by_keyboard_on_a_phone_and_sees_list_history_and_reasons(world: World, browser: Browser) -> None:
    world.tensors = a_world(HOSTILE)
    world.publish(8)
    with world.worker(), world.gateway() as gateway, world.reasons_told():
        browser.size(*PHONE)
        browser.open(f"{gateway.url}/")
        browser.wait_for(FRESH)
        assert browser.text("#release") == "8"
        assert browser.texts("#stages tbody th")[6].startswith("tokenize")

        browser.press("Tab")
        assert browser.text(":focus") == "Skip to the question"
        browser.press("Enter")
        tab_to(browser, "user")
        browser.type(str(USER))
        browser.press("Enter")
        browser.wait_for(TOLD)
        assert browser.text("#said").startswith(f"10 posts for user {USER}, ranked by release 8")
        assert len(browser.texts("#list > li")) == 10
        assert browser.texts("#list .title span")[0].startswith(HOSTILE), "a title is text"
        assert any(why.startswith("Because of") for why in browser.texts("#list .why"))
        assert browser.texts("#tags-of-user .chip")
        assert browser.value("document.documentElement.scrollWidth <= window.innerWidth"), "no scrolling sideways"
        browser.wait_for("document.querySelectorAll('#path rect').length > 8")
        assert all(figure.endswith(" ms") for figure in browser.texts("#stages td.now"))

        browser.press("Escape")
        assert browser.focused() == "user"
        assert browser.value("document.getElementById('answer').hidden")
        assert browser.value("document.title") == "Waypost", "nothing in a title ran"
        assert not browser.complaints
        assert browser.asked_for
        assert all(url.startswith(gateway.url) for url in browser.asked_for), "nothing from elsewhere"


@pytest.mark.drill
def test_where_keys_are_asked_for_a_person_gives_one_and_goes_on(
    world: World, browser: Browser, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    key = make_key(keys, "app", None, Quota())
    with world.worker(), world.gateway(api_keys_file=keys) as gateway, world.reasons_told():
        browser.open(f"{gateway.url}/")
        browser.wait_for("!document.getElementById('key-field').hidden")
        assert browser.text("#headline") == "An API key, please"
        tab_to(browser, "key")
        browser.type(key)
        tab_to(browser, "user")
        browser.type(str(USER))
        browser.press("Enter")
        browser.wait_for(TOLD)
        browser.wait_for("document.getElementById('release').textContent === '7'")
        assert key not in browser.value("document.documentElement.outerHTML")
        assert browser.value("localStorage.length + sessionStorage.length + document.cookie.length") == 0
        assert all("401" in complaint for complaint in browser.complaints), (
            "Chromium notes each refusal, and nothing else"
        )


@pytest.mark.drill
def test_ids_that_javascript_would_round_are_asked_and_shown_as_they_are(world: World, browser: Browser) -> None:
    with world.gateway() as gateway:
        text = '{"a":[9223372036854775807,-9007199254740993,12,1.5e-7],"b":"x\\\\\\":12345678901234567890"}'
        browser.open(f"{gateway.url}/")
        found = browser.value(f"import('/status/words.js').then((words) => words.parseExactly('{text}'))")
    assert found == {
        "a": ["9223372036854775807", "-9007199254740993", 12, 1.5e-7],
        "b": 'x":12345678901234567890',
    }

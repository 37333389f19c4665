"""What the page looks like, as far as numbers tell: contrast in light and in dark, files small and whole."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

STATIC = files("waypost.gateway.page").joinpath("static")
CSS = STATIC.joinpath("page.css").read_text(encoding="utf-8")
LIGHT, DARK = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in CSS.split(":root {")[1:3])
READABLE = 4.5  # WCAG 2 AA for text; 3 for what is drawn
DRAWN = 3.0
TEXT_ON_GROUND = [
    ("ink", "ground"), ("ink", "surface"), ("ink", "chip"), ("ink", "slow-ground"), ("muted", "ground"),
    ("muted", "surface"), ("muted", "slow-ground"), ("accent", "ground"), ("accent", "surface"),
    ("on-accent", "accent"), ("slow", "surface"), ("slow", "slow-ground"), ("on-slow", "slow-bar"),
    ("on-bar", "gateway"), ("on-bar", "gateway-2"), ("on-bar", "worker"), ("on-bar", "worker-2"), ("ink", "way"),
]  # fmt: skip
DRAWN_ON_GROUND = [("focus", "ground"), ("focus", "surface"), ("muted", "surface")]
MOST_BYTES = 64 << 10  # of all files together


def luminance(colour: str) -> float:
    """Relative, of `#rrggbb`, by WCAG 2's formula."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_can_be_read_and_the_focus_be_seen(colours: dict[str, str]) -> None:
    poor = {pair: found for pair in TEXT_ON_GROUND if (found := contrast(*(colours[name] for name in pair))) < READABLE}
    poor |= {pair: found for pair in DRAWN_ON_GROUND if (found := contrast(*(colours[name] for name in pair))) < DRAWN}
    assert not poor


def test_nothing_is_written_as_html_and_nothing_is_styled_past_the_policy() -> None:
    scripts = [entry for entry in STATIC.iterdir() if entry.name.endswith(".js")]
    assert scripts
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text)
    page = STATIC.joinpath("index.html").read_text(encoding="utf-8")
    assert not re.search(r"\bstyle=|<style|\bon\w+=|<script(?![^>]*src=)", page)


def test_the_files_are_small() -> None:
    assert sum(len(entry.read_bytes()) for entry in STATIC.iterdir()) < MOST_BYTES

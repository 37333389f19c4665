"""Every fault that preflight can name: what it is, why a release with it would fail, and what to do.

docs/preflight.md is this table as text, and a test holds the two equal."""

from __future__ import annotations

from waypost.release.preflight.faults_in_release import COMPANIONS, MODEL, RELEASE
from waypost.release.preflight.faults_in_triton import CONFIG, LOAD, NODE, REPOSITORY

_CHAPTERS = {
    "A release folder": RELEASE,
    "The model": MODEL,
    "What lies beside the model": COMPANIONS,
    "config.pbtxt": CONFIG,
    "A model repository": REPOSITORY,
    "The node": NODE,
    "In a real Triton": LOAD,
}
FAULTS = {code: fault for chapter in _CHAPTERS.values() for code, fault in chapter.items()}


def to_markdown() -> str:
    """The chapters of docs/preflight.md."""
    lines: list[str] = []
    for title, chapter in _CHAPTERS.items():
        lines += [
            f"## {title}",
            "",
            "| code | what is wrong | why it would fail | what to do | met in |",
            "|---|---|---|---|---|",
        ]
        lines += [f"| `{code}` | {f.what} | {f.why} | {f.fix} | {f.source} |" for code, f in chapter.items()]
        lines.append("")
    return "\n".join(lines)

"""docs/results.md, from what the benches have kept: bench/quality.json, bench/full.json, bench/gpu.json. Pure but for
reading those and writing the page."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.processes import ROOT
from bench.quality.bounds import SIGNS, Verdict, judge
from bench.quality.results import Found, load_found
from bench.quality.rows import FIRST, SPREAD, Row

PAGE = ROOT / "docs" / "results.md"
QUALITY, FULL, GPU = (ROOT / "bench" / name for name in ("quality.json", "full.json", "gpu.json"))
HEAD = """# Results

Written by `make bench-quality`, `make bench-full` and `python -m bench.gpu` from `bench/quality.json`,
`bench/full.json` and `bench/gpu.json`, not by hand. Every list of ours is written by `waypost recommend` after `waypost
load` and `waypost night` on an embedded stack of its own, and judged by `../shared/data/evaluate.py`: full ranking,
Recall@20 and NDCG@20. ± is half the width of a 95 % interval over users.
"""
PUBLISHED = (
    ("GF-CF, published", 0.1849, 0.1518),
    ("LightGCN, published", 0.1830, 0.1554),
    ("UltraGCN, published", 0.1862, 0.1580),
    ("SimpleX, published", 0.1872, 0.1557),
)  # on gowalla, as ../shared/data/README.md has them
Table = Sequence[Sequence[str]]


def write(path: Path = PAGE, quality: Path = QUALITY, full: Path = FULL, gpu: Path = GPU) -> None:
    """Whole or not at all."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(render(load_found(quality), _load(full), _load(gpu)))
    scratch.replace(path)


def _load(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {}


def render(found: Mapping[str, Found], full: Mapping[str, Any], gpu: Mapping[str, Any]) -> str:
    names = [row.name for row in FIRST]
    return (
        "\n\n".join(
            [
                HEAD.strip(),
                "## What was promised",
                _markdown([["measure", "found", "bound", "aim", ""], *map(_verdict, judge(found, names))]),
                *_gowalla(found),
                *_lastfm(found),
                *_travel(found),
                *_yelp(found),
                *_runs(found),
                *_full(full),
                *_gpu(gpu),
            ]
        ).rstrip()
        + "\n"
    )


def _verdict(verdict: Verdict) -> list[str]:
    bound = verdict.bound
    return [
        f"{bound.row}: {bound.what}",
        "not measured" if verdict.value is None else _number(verdict.value),
        f"{SIGNS[bound.compare]} {_number(bound.limit)}",
        "" if bound.aim is None else _number(bound.aim),
        "kept" if verdict.kept else "**missed**",
    ]


def _gowalla(found: Mapping[str, Found]) -> list[str]:
    rows = [
        (name, found[name])
        for name in (row.name for row in (*FIRST, *SPREAD) if row.data == "gowalla")
        if name in found
    ]
    if not rows:
        return []
    lines = [_scores(name, row.figures["test"]) for name, row in rows]
    lines += [[name, f"{recall:.4f}", f"{ndcg:.4f}", "", "", "", ""] for name, recall, ndcg in PUBLISHED]
    spread = [
        f"{shown} from {min(values):.4f} to {max(values):.4f}"
        for shown, key in (("Recall@20", "recall"), ("NDCG@20", "ndcg"))
        if (values := [row.figures["test"][key] for _, row in rows])
    ]
    return [
        "## gowalla",
        "The standard split, `test.txt` untouched until here. The figure is that of seed 1, fixed beforehand.",
        _markdown([SCORES, *lines]),
        f"Over {len(rows)} seeds: {'; '.join(spread)}." if len(rows) > 1 else "",
    ]


def _lastfm(found: Mapping[str, Found]) -> list[str]:
    if "lastfm" not in found:
        return []
    figures = found["lastfm"].figures
    peers = [name.removeprefix("ours over ") for name in figures if name.startswith("ours over ")]
    lines = [
        _scores("Waypost", figures["ours"]),
        *(_scores(_tuned(peer, figures[peer]), figures[peer]) for peer in peers),
    ]
    differences = [_difference(peer, figures[f"ours over {peer}"]) for peer in peers]
    return [
        "## lastfm",
        "A random 20 % of every user's artists held out; peers tuned on a further 20 % of the training part.",
        _markdown([SCORES, *lines]),
        _markdown([DIFFERENCES, *differences]),
    ]


def _travel(found: Mapping[str, Found]) -> list[str]:
    if "travel" not in found:
        return []
    figures = found["travel"].figures
    sections = [
        "## travel",
        "The last six months of 2016 held out. Their posts are in the graph with tags, text and author, as if written"
        " at the cut.",
    ]
    for question, title in (
        (
            "new posts",
            "Posts without any interaction before the cut, ranked among themselves for users with one; a good part of"
            " it is authors who answer under their own question.",
        ),
        (
            "new posts of others",
            "The same without a user's own posts: how well content alone tells a taste. No bound was promised on it.",
        ),
        (
            "warm pairs",
            "Posts with an interaction before the cut, ranked among themselves for users with one, own posts left out.",
        ),
    ):
        prefix = f"{question}, ours over "
        peers = [name.removeprefix(prefix) for name in figures if name.startswith(prefix)]
        theirs = [
            _scores(_tuned(peer, figures[f"{question}, {peer}"]), figures[f"{question}, {peer}"]) for peer in peers
        ]
        ablated = [
            _scores(row.name.removeprefix("travel "), found[row.name].figures[question])
            for row in FIRST
            if row.name.startswith("travel without ") and row.name in found
        ]
        sections += [
            f"### {question}",
            title,
            _markdown([SCORES, _scores("Waypost", figures[question]), *theirs, *ablated]),
            _markdown([DIFFERENCES, *(_difference(peer, figures[prefix + peer]) for peer in peers)]),
        ]
    return sections


def _yelp(found: Mapping[str, Found]) -> list[str]:
    if "yelp2018" not in found:
        return []
    figures = found["yelp2018"].figures
    nights = [figures["cold night"], figures["warm night"]]
    stages = list(dict.fromkeys(name for night in nights for name in night if name not in {"seconds", "peak_bytes"}))
    lines = [["the whole night", *(f"{night['seconds']:.1f} s" for night in nights)]]
    lines += [["peak memory", *(f"{night['peak_bytes'] / 1e6:,.0f} MB" for night in nights)]]
    lines += [[name, *(f"{night[name]:.1f} s" if name in night else "" for night in nights)] for name in stages]
    quality = [figures["holdout, cold"], figures["holdout, warm"]]
    lines += [
        [f"{name} on the night's own holdout", *(_number(night[name]) if name in night else "" for night in quality)]
        for name in ("recall", "ndcg")
        if any(name in night for night in quality)
    ]
    return [
        "## yelp2018: a night's cost",
        "The first night, and the next one after 1 % more interactions, which goes on from the first one's checkpoint.",
        _markdown([["", "cold", "warm, 1 % changed"], *lines]),
    ]


def _runs(found: Mapping[str, Found]) -> list[str]:
    rows: list[Row] = [row for row in (*FIRST, *SPREAD) if row.name in found]
    if not rows:
        return []
    lines = []
    for row in rows:
        run = found[row.name]
        commit = run.commit[:10] + (" and changes" if run.uncommitted else "")
        settings = " ".join(f"{name}={value}" for name, value in run.settings.items())
        what = [row.name, f"`{run.command}`", str(run.seed), commit, run.made_at[:16].replace("T", " ")]
        lines.append([*what, f"{run.seconds:.0f} s", f"{run.peak_bytes / 1e6:,.0f} MB", settings])
    machine = found[rows[-1].name].machine
    return [
        "## The runs",
        f"On {machine['cores']} cores of {machine['processor']}, {machine['system']}. Seconds are those of the whole"
        " row, peers and judge included; memory is the peak of `waypost night`.",
        _markdown([["row", "command", "seed", "commit", "when (UTC)", "took", "peak", "settings"], *lines]),
    ]


def _full(full: Mapping[str, Any]) -> list[str]:
    if not full:
        return []
    lines = [[peer["name"], peer["shown"], peer["ratio"], _number(peer["best"])] for peer in full["rankers"]]
    return [
        "## Seconds to reach a given NDCG on gowalla",
        f"`make bench-full`, {full['made_at'][:16].replace('T', ' ')} UTC, commit {full['git_commit'][:10]}: seconds of"
        f" training until NDCG@20 {full['target']} on a random {full['share']:.0%} of the training part; judging does"
        f" not count. Each peer is stopped after {full['stop_seconds'] / 60:.0f} minutes.",
        _markdown([["", "seconds", "theirs / ours", "best NDCG@20"], *lines]),
    ]


def _gpu(gpu: Mapping[str, Any]) -> list[str]:
    if not gpu:
        return ["## On a GPU", "Not run: no GPU was at hand. `python -m bench.gpu` measures it in a single call."]
    lines = [[line["what"], line["device"], line["cpu"]] for line in gpu["lines"]]
    return [
        "## On a GPU",
        f"`python -m bench.gpu`, {gpu['made_at'][:16].replace('T', ' ')} UTC, commit {gpu['git_commit'][:10]}.",
        _markdown([["", gpu["card"], "its host's CPU"], *lines]),
    ]


SCORES = ["", "Recall@20", "NDCG@20", "Coverage@20", "Gini", "novelty, bits", "users"]
DIFFERENCES = ["Waypost over", "Recall@20", "NDCG@20"]


def _scores(name: str, figures: Mapping[str, Any]) -> list[str]:
    return [
        name,
        f"{figures['recall']:.4f} ± {figures['recall_ci95']:.4f}",
        f"{figures['ndcg']:.4f} ± {figures['ndcg_ci95']:.4f}",
        f"{figures['coverage']:.3f}",
        f"{figures['gini']:.3f}",
        f"{figures['novelty_bits']:.1f}",
        f"{figures['users']:,}",
    ]


def _difference(peer: str, figures: Mapping[str, Any]) -> list[str]:
    return [peer, *(f"{figures[name]:+.4f} ± {figures[f'{name}_ci95']:.4f}" for name in ("recall", "ndcg"))]


def _tuned(peer: str, figures: Mapping[str, Any]) -> str:
    chosen = ", ".join(f"{name.lower()} {value}" for name, value in figures.get("tuned", {}).items())
    return f"{peer} ({chosen})" if chosen else peer


def _number(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:,.0f} M"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"


def _markdown(rows: Table) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    write(*map(Path, sys.argv[1:2]))

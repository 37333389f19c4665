"""Every interaction out of Postgres into integer columns: ours against the readers people use, connect included."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from bench.measures import Measure, Section
from bench.peers import MODULE, have_peers
from bench.processes import OWN, Answer, Process, interleaved, median, started
from bench.progress import say
from bench.world import world

OWN_MODULE = "bench.own_process"
READERS = {  # column -> command of the peers' process
    "adbc": "adbc",
    "connectorx": "connectorx",
    "connectorx, 2 parts": "connectorx_parts",
    "pandas.read_sql": "pandas",
}
FACTS = ("rows", "user_sum", "post_sum")


def measure(interactions: int, rounds: int) -> Section:
    python = have_peers()
    with world(interactions, ["postgres"]) as (stack, _):
        dsn = stack.postgres_reader_dsn
        answers = _read_in_rounds(python, dsn, rounds)
        say("peak memory, each in a fresh process")
        peaks = {name: _fresh(python, MODULE, command, dsn) for name, command in READERS.items()}
        own, whole = (_fresh(OWN, OWN_MODULE, command, dsn) for command in ("interactions", "whole"))
    seconds = {name: median(found) for name, found in answers.items()}
    cpu = {name: median(found, "cpu_seconds") for name, found in answers.items()}
    peak_bytes = {name: answer["peak_bytes"] for name, answer in peaks.items()}
    of_edges, of_all = ({"its tensors": whole[name]} for name in ("edge_tensors_bytes", "tensors_bytes"))
    return Section(
        "extraction",
        f"extraction of {answers['ours'][0]['rows']:,} interactions to columns",
        (
            Measure("time", "s", seconds.pop("ours"), seconds),
            Measure("client CPU", "s", cpu.pop("ours"), cpu),
            Measure("peak memory", "bytes", own["peak_bytes"], peak_bytes | of_edges),
            Measure("peak memory, all sources to tensors", "bytes", whole["peak_bytes"], of_all),
        ),
        rounds=rounds,
        notes=(
            "connect included; ours ends with the kind as one byte, the peers with the kind as text",
            "ours reads over two connections, the peers over one, or two where their column says so",
            "peak: above what the process held before; tensors: user, post, kind, time, CSR both ways; then all",
        ),
    )


def _read_in_rounds(python: Path, dsn: str, rounds: int) -> dict[str, list[Answer]]:
    """Each reader in a warm process of its own."""
    with started(OWN, OWN_MODULE) as own, started(python, MODULE) as peers:
        runs = {"ours": partial(own.ask, "interactions", dsn=dsn)}
        runs |= {name: partial(peers.ask, command, dsn=dsn) for name, command in READERS.items()}
        answers = interleaved(rounds, runs)
    _require_equal(answers)
    return answers


def _require_equal(answers: dict[str, list[Answer]]) -> None:
    found = {tuple(answer[fact] for fact in FACTS) for named in answers.values() for answer in named}
    if len(found) != 1:
        raise RuntimeError(f"the readers disagree about (rows, sum of users, sum of posts): {sorted(found)}")


def _fresh(python: Path, module: str, command: str, dsn: str) -> Answer:
    process = Process(python, module)
    try:
        return process.ask(command, dsn=dsn)
    finally:
        process.close()

"""What a GPU makes of it, in a single call: `python -m bench.gpu`. Nobody has run it on a GPU yet: none was at hand.

Step time, training time to Recall@20 0.182 on gowalla, a whole night, the 100 best posts of all users, and whether the
GPU's results are the processor's. Writes bench/gpu.json, from which docs/results.md has its table with date and card.
`--device cpu` runs the same on the processor, with --graph lastfm in minutes.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from bench import data, machine, page
from bench.graph_files import GraphFiles, read_graph_files, read_sets
from bench.processes import ROOT
from bench.quality.cuts import Cut, cut_random_per_user
from bench.quality.verbs import VerbFailed, a_stack
from bench.rankers import chase_ours
from bench.reaching import SEED, Task
from waypost.errors import WaypostError
from waypost.model.graphsage import GraphSAGE, to_graph
from waypost.model.serving import ServingTables, user_vectors
from waypost.model.tables import to_serving_tables
from waypost.settings import TrainerSettings
from waypost.trainer.fit import fit_with_curve
from waypost.trainer.loop import TrainingState

RESULTS = ROOT / "bench" / "gpu.json"
TARGET_RECALL, STOP_MINUTES, NIGHT_MINUTES = 0.182, 9.0, 9.0
WARM_UP_STEPS, TIMED_STEPS = 10, 50
TOP, USERS_PER_BATCH = 100, 2_048
LIST_LENGTH = 20  # of the lists that are compared
CUT_SHARE, CUT_SEED = 0.2, 20  # of a graph without a test.txt


@dataclass(frozen=True)
class Line:
    what: str
    device: str
    cpu: str = ""


class Enough(Exception):
    """So many steps were wanted."""


@dataclass(eq=False)
class StepClock:
    """The trainer's hook: seconds of each step after the warm-up, the device's work included."""

    device: str
    warm_up: int
    timed: int
    started: float = 0.0
    model: GraphSAGE | None = None

    def restore(self, state: TrainingState) -> None:
        self.model = state.model

    def step_done(self, state: TrainingState) -> None:
        if state.step == self.warm_up:
            settled(self.device)
            self.started = time.perf_counter()
        if state.step == self.warm_up + self.timed:
            settled(self.device)
            raise Enough

    def finish(self, state: TrainingState) -> None:
        pass


def settled(device: str) -> None:
    """Wait for what was asked of the device."""
    if device != "cpu":
        torch.cuda.synchronize()


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.device != "cpu" and not torch.cuda.is_available():
        print("torch sees no GPU here; --device cpu runs the same on the processor", file=sys.stderr)
        return 2
    if not data.is_there(options.data):
        print(data.absence(options.data), file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # what was started is stopped
    lines = measure(options)
    for line in lines:
        print(f"{line.what:48} {line.device:>24} {line.cpu:>24}")
    kept = options.results or (RESULTS if options.device != "cpu" else None)
    if kept:
        results = {
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "card": card(options.device),
            "graph": options.graph,
            **machine.describe(),
            "lines": [asdict(line) for line in lines],
        }
        kept.write_text(json.dumps(results, indent=2) + "\n")
    if kept == RESULTS:
        page.write()
    return 0


def measure(options: argparse.Namespace) -> list[Line]:
    folder: Path = options.data / options.graph
    files = read_graph_files(folder)
    task = Task.of(files, a_cut(folder, files), options.recall, 60 * options.minutes, "recall")
    devices = tuple(dict.fromkeys((options.device, "cpu")))
    trained = {device: train_some(task, device, options.steps) for device in devices}
    models = {device: model for device, (model, _) in trained.items()}
    return [
        _line("a training step", {device: f"{1e3 * seconds:.1f} ms" for device, (_, seconds) in trained.items()}),
        until_recall(task, options.device),
        *([] if options.skip_night else [Line(f"a whole night on {options.graph}", a_night(folder, options.device))]),
        *top_lines(task, models["cpu"], devices),
        Line(
            "largest difference of an encoded entry, over their rms",
            encoders_apart(models["cpu"], task, options.device),
        ),
        _line(
            f"Recall@20 after {WARM_UP_STEPS + options.steps} steps of one seed",
            {device: f"{recall_of(model, task):.4f}" for device, model in models.items()},
        ),
    ]


def _line(what: str, shown: Mapping[str, str]) -> Line:
    """The device comes first."""
    return Line(what, next(iter(shown.values())), shown["cpu"])


def until_recall(task: Task, device: str) -> Line:
    reached = chase_ours(task, TrainerSettings(device=device))
    seconds = f"not in {reached.trained_seconds:.0f} s" if reached.seconds is None else f"{reached.seconds:.1f} s"
    return Line(f"training to Recall@20 {task.target} (best {reached.best:.4f})", seconds)


def top_lines(task: Task, model: GraphSAGE, devices: Sequence[str]) -> list[Line]:
    tables = to_serving_tables(model, task.tensors, task.train)
    tops = {device: timed_top(tables, task, device) for device in devices}
    same = same_share(tops[devices[0]][0], tops["cpu"][0])
    return [
        _line(f"all users' {TOP} best posts", {device: f"{seconds:.3f} s" for device, (_, seconds) in tops.items()}),
        Line(f"posts that both rank among the first {LIST_LENGTH}", f"{same:.5f}"),
    ]


def a_cut(folder: Path, files: GraphFiles) -> Cut:
    """The graph's own test.txt, else a random part of every user's."""
    if (folder / "test.txt.xz").exists():
        return Cut(files.interactions, read_sets(folder / "test.txt.xz"))
    return cut_random_per_user(files.interactions, CUT_SHARE, CUT_SEED)


def train_some(task: Task, device: str, steps: int) -> tuple[GraphSAGE, float]:
    """(the model after warm-up and `steps`, seconds a step)"""
    clock = StepClock(device, WARM_UP_STEPS, steps)
    try:
        fit_with_curve(task.tensors, task.train, TrainerSettings(device=device), SEED, keeper=clock)
    except Enough:
        seconds = (time.perf_counter() - clock.started) / steps
    else:
        raise RuntimeError(f"a training on this graph has fewer than {WARM_UP_STEPS + steps} steps; name fewer")
    assert clock.model is not None
    return clock.model.to("cpu"), seconds


def a_night(folder: Path, device: str) -> str:
    """Seconds of `waypost night` on an embedded stack; what it lacks where there is none."""
    try:
        with a_stack(time.monotonic() + 60 * NIGHT_MINUTES, {"WAYPOST_TRAINER_DEVICE": device}) as stack:
            stack.load(folder)
            return f"{stack.night().seconds:.1f} s"
    except (WaypostError, VerbFailed) as error:
        return f"not run: {error}"


def timed_top(tables: ServingTables, task: Task, device: str) -> tuple[np.ndarray, float]:
    """([num_users, TOP] posts without those seen, seconds with both tables on the device already)"""
    users = np.arange(task.tensors.num_users, dtype=np.int32)
    vectors = torch.from_numpy(user_vectors(tables, users)).to(device)
    posts = torch.from_numpy(tables.post_vector).to(device).T.contiguous()
    indptr, indices = task.seen.indptr, torch.from_numpy(task.seen.indices.astype(np.int64)).to(device)
    row_of = torch.from_numpy(np.repeat(users.astype(np.int64), np.diff(indptr))).to(device)
    settled(device)
    started, found = time.perf_counter(), []
    for start in range(0, len(users), USERS_PER_BATCH):
        end = min(start + USERS_PER_BATCH, len(users))
        scores, seen = vectors[start:end] @ posts, slice(int(indptr[start]), int(indptr[end]))
        scores[row_of[seen] - start, indices[seen]] = -torch.inf
        found.append(scores.topk(min(TOP, scores.shape[1])).indices.cpu())
    return torch.cat(found).numpy(), time.perf_counter() - started


def same_share(first: np.ndarray, second: np.ndarray) -> float:
    """Of the posts at the head of the one's lists, those at the head of the other's."""
    heads = zip(first[:, :LIST_LENGTH].tolist(), second[:, :LIST_LENGTH].tolist(), strict=True)
    return float(np.mean([len(set(one) & set(other)) / len(one) for one, other in heads]))


def encoders_apart(model: GraphSAGE, task: Task, device: str) -> str:
    """Of the vectors of users and posts, made of the same weights on both."""
    graph = to_graph(task.tensors, task.train, len(model.token))
    with torch.no_grad():
        here, there = model(graph), model.to(device)(graph.to(device))
        model.to("cpu")
        pairs = [(getattr(here, name), getattr(there, name).cpu()) for name in ("own", "state_sum", "post")]
    return f"{max(float((one - other).abs().max() / one.pow(2).mean().sqrt()) for one, other in pairs):.1e}"


def recall_of(model: GraphSAGE, task: Task) -> float:
    tables = to_serving_tables(model, task.tensors, task.train)
    return task.judge(lambda rows: user_vectors(tables, rows) @ tables.post_vector.T)


def card(device: str) -> str:
    return "the processor" if device == "cpu" else torch.cuda.get_device_name()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="as torch names it (default: cuda)")
    parser.add_argument("--graph", default="gowalla", metavar="FOLDER", help="of the data (default: gowalla)")
    parser.add_argument("--recall", type=float, default=TARGET_RECALL, help=f"to reach (default: {TARGET_RECALL})")
    parser.add_argument("--minutes", type=float, default=STOP_MINUTES, help="of training at most (default: 9)")
    parser.add_argument("--steps", type=int, default=TIMED_STEPS, help="that are timed (default: 50)")
    parser.add_argument("--skip-night", action="store_true", help="where no embedded stack can run")
    parser.add_argument("--data", type=Path, default=data.DATA, metavar="DIR", help="default: ../shared/data")
    parser.add_argument("--results", type=Path, metavar="FILE", help="default: bench/gpu.json, of a GPU only")
    return parser


if __name__ == "__main__":
    sys.exit(main())

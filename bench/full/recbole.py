"""RecBole's LightGCN on its way to the target, from outside of its process."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from bench.environments import have_environment
from bench.processes import ROOT, Process, started
from bench.reaching import FIRST_SECONDS, GROWTH, Chase, Over, Reached, Task, score_by
from waypost.graph.tensors import GraphTensors
from waypost.model.evaluation import ScoreUsers

NAME = "RecBole's LightGCN"
PINS, FOLDER = ROOT / "deploy" / "recbole-requirements.txt", ROOT / ".venv" / "recbole"
MODULE = "bench.full.recbole_process"
DATA_SET = "cut"


def chase_recbole(task: Task) -> Reached:
    """Its seconds are those of its own clock, preparation included and start of the interpreter not."""
    python = have_environment(FOLDER, PINS, with_dependencies=True)
    with tempfile.TemporaryDirectory(prefix="waypost-recbole-") as folder, started(python, MODULE) as process:
        write_interactions(Path(folder), task)
        chase = Chase(NAME, task)
        trained = float(process.ask("prepare", folder=folder)["seconds"])
        due = max(FIRST_SECONDS, trained)
        try:
            while True:
                left = task.stop_seconds - trained
                trained += float(process.ask("train", seconds=max(0.0, min(due - trained, left)))["seconds"])
                due = trained * GROWTH
                chase.note(trained, task.judge(_saved(process, Path(folder), task.tensors)))
        except Over:
            return chase.ended()


def write_interactions(folder: Path, task: Task) -> None:
    """RecBole's atomic file, by the ids of the app."""
    user = task.tensors.user_ids[np.repeat(np.arange(task.tensors.num_users), np.diff(task.seen.indptr))]
    post = task.tensors.post_ids[task.seen.indices]
    (folder / DATA_SET).mkdir()
    with (folder / DATA_SET / f"{DATA_SET}.inter").open("w") as file:
        file.write("user_id:token\titem_id:token\n")
        file.writelines(f"{pair[0]}\t{pair[1]}\n" for pair in zip(user.tolist(), post.tolist(), strict=True))


def _saved(process: Process, folder: Path, tensors: GraphTensors) -> ScoreUsers:
    path = folder / "embeddings.npz"
    process.ask("save", path=str(path))
    with np.load(path) as found:
        return score_by(
            placed(found["user"], found["user_id"], tensors.user_ids),
            placed(found["post"], found["post_id"], tensors.post_ids),
        )


def placed(rows: np.ndarray, ids: np.ndarray, all_ids: np.ndarray) -> np.ndarray:
    """[len(all_ids), dim]: each row where its id stands in the sorted `all_ids`; zero where there is none."""
    found = np.zeros((len(all_ids), rows.shape[1]), np.float32)
    found[np.searchsorted(all_ids, ids)] = rows
    return found

"""RecBole's LightGCN, run by an interpreter of its own: its model, its loss, its sampler, its batches, its defaults.

It has neither Waypost nor its NumPy. It trains for as long as it is told and writes its embeddings; others judge them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataloader import TrainDataLoader
from recbole.data.utils import create_samplers
from recbole.model.general_recommender import LightGCN
from recbole.utils import init_seed

from bench.commands import serve

NAME = "cut"  # of the data set: cut.inter in a folder of that name
SETTINGS = {
    "embedding_size": 64,
    "n_layers": 3,
    "train_batch_size": 8_192,
    "learning_rate": 0.005,
    "seed": 1,
    "use_gpu": False,
    "show_progress": False,
    "load_col": {"inter": ["user_id", "item_id"]},
    "eval_args": {"split": {"RS": [1.0, 0.0, 0.0]}, "group_by": None, "order": "RO", "mode": "full"},
}


class Training:
    model: LightGCN
    optimiser: torch.optim.Optimizer
    batches: Iterator[Any]
    dataset: Any


TRAINING = Training()


def prepare(folder: str, **settings: Any) -> None:
    """`folder` holds `cut/cut.inter`."""
    config = Config(model="LightGCN", dataset=NAME, config_dict={**SETTINGS, "data_path": folder, **settings})
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    parts = dataset.build()
    sampler = create_samplers(config, dataset, parts)[0]
    loader = TrainDataLoader(config, parts[0], sampler, shuffle=True)
    TRAINING.dataset, TRAINING.model = dataset, LightGCN(config, loader.dataset)
    TRAINING.optimiser = torch.optim.Adam(TRAINING.model.parameters(), lr=config["learning_rate"])
    TRAINING.batches = endless(loader)
    TRAINING.model.train()


def endless(loader: TrainDataLoader) -> Iterator[Any]:
    while True:
        yield from loader


def train(seconds: float) -> int:
    """Steps for about so long, and at least one; returns how many."""
    end, steps = time.perf_counter() + seconds, 0
    while not steps or time.perf_counter() < end:
        TRAINING.optimiser.zero_grad()
        TRAINING.model.calculate_loss(next(TRAINING.batches)).backward()
        TRAINING.optimiser.step()
        steps += 1
    return steps


def save(path: str) -> None:
    """An .npz: `user_id`, `post_id`, and a row for each in `user` and `post`."""
    dataset, model = TRAINING.dataset, TRAINING.model
    with torch.no_grad():
        user, post = (rows.numpy() for rows in model.forward())
    ids = {
        name: dataset.field2id_token[field][1:].astype(np.int64)  # the first row is for padding
        for name, field in (("user_id", dataset.uid_field), ("post_id", dataset.iid_field))
    }
    np.savez(Path(path), user=user[1:], post=post[1:], **ids)


if __name__ == "__main__":
    serve(
        {
            "prepare": (prepare, lambda _: {}),
            "train": (train, lambda steps: {"steps": steps}),
            "save": (save, lambda _: {}),
        }
    )

"""The rankers that are timed in this process: ours, torch-geometric's LightGCN, and implicit ALS."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from unittest.mock import patch

import numpy as np
import torch

from bench.reaching import SEED, Chase, Over, Reached, Task, chased, score_by
from waypost.model.graphsage import GraphSAGE
from waypost.model.serving import score_users
from waypost.model.tables import to_serving_tables
from waypost.settings import TrainerSettings
from waypost.trainer.baselines import implicit_als
from waypost.trainer.fit import fit_with_curve, prepared_torch
from waypost.trainer.loop import TrainingState

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch-geometric 2.8 still calls torch.jit.script on import
    from torch_geometric.nn import LightGCN

OURS, LIGHTGCN, ALS = "Waypost", "torch-geometric's LightGCN", "implicit ALS"


@dataclass(frozen=True)
class LightGCNSettings:
    """As its authors and torch-geometric's example have them, but for a higher learning rate; none was tuned."""

    dim: int = 64
    layers: int = 3
    batch: int = 8_192
    learning_rate: float = 0.005
    l2: float = 1e-4


@dataclass(frozen=True, eq=False)
class _Watch:
    """The trainer's own hook after each step."""

    chase: Chase
    device: str

    def restore(self, state: TrainingState) -> None:
        pass

    def step_done(self, state: TrainingState) -> None:
        if self.chase.is_due():
            with self.chase.pause():
                tables = to_serving_tables(
                    _on_cpu(state.model, self.device), self.chase.task.tensors, self.chase.task.train
                )
            self.chase.judge(lambda rows: score_users(tables, rows))

    def finish(self, state: TrainingState) -> None:
        pass


def _on_cpu(model: GraphSAGE, device: str) -> GraphSAGE:
    if device == "cpu":
        return model
    copy = GraphSAGE(**model.shape())
    copy.load_state_dict({name: value.cpu() for name, value in model.state_dict().items()})
    return copy


def chase_ours(task: Task, settings: TrainerSettings | None = None) -> Reached:
    """The trainer's own fit, with its default number of steps."""
    settings = settings or TrainerSettings()

    def train(chase: Chase) -> None:
        watch = _Watch(chase, settings.device)
        model = fit_with_curve(task.tensors, task.train, settings, SEED, keeper=watch).model
        with chase.pause():
            tables = to_serving_tables(model, task.tensors, task.train)
        chase.judge(lambda rows: score_users(tables, rows))

    return chased(OURS, task, train)


def chase_lightgcn(task: Task, chosen: LightGCNSettings | None = None) -> Reached:
    """torch-geometric's model, convolutions and BPR loss, over its default edge_index."""
    chosen = chosen or LightGCNSettings()
    num_users, num_posts = task.tensors.num_users, task.tensors.num_posts

    def train(chase: Chase) -> None:
        torch.manual_seed(SEED)
        user = torch.from_numpy(np.repeat(np.arange(num_users), np.diff(task.seen.indptr)))
        post = torch.from_numpy(task.seen.indices.astype(np.int64)) + num_users
        edges = torch.stack([torch.cat([user, post]), torch.cat([post, user])])
        model = LightGCN(num_users + num_posts, chosen.dim, chosen.layers)
        optimiser = torch.optim.Adam(model.parameters(), lr=chosen.learning_rate)
        while True:
            for rows in torch.split(torch.randperm(len(user)), chosen.batch):
                other = torch.randint(num_users, num_users + num_posts, (len(rows),))
                asked = torch.stack([user[rows].repeat(2), torch.cat([post[rows], other])])
                better, worse = model(edges, asked).chunk(2)
                loss = model.recommendation_loss(better, worse, node_id=torch.unique(asked), lambda_reg=chosen.l2)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                if chase.is_due():
                    with chase.pause(), torch.no_grad():
                        rows_of = model.get_embedding(edges).numpy()
                    chase.judge(score_by(rows_of[:num_users], rows_of[num_users:]))

    with prepared_torch(TrainerSettings()):
        return chased(LIGHTGCN, task, train)


@dataclass(frozen=True)
class TunedAls:
    """Constants of the trainer's baseline, and how many iterations are tried, each from the start."""

    constants: Mapping[str, float] = field(default_factory=dict)
    iterations: Sequence[int] = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30)


def chase_als(task: Task, tuned: TunedAls | None = None) -> Reached:
    """Seconds of the fit with the fewest iterations that reaches the target."""
    tuned = tuned or TunedAls()
    spent, best = 0.0, 0.0
    for count in tuned.iterations:
        chase = Chase(f"{ALS}, {count} iterations", task)
        with patch.dict(vars(implicit_als), {**tuned.constants, "ITERATIONS": count}):
            score = implicit_als.fit_implicit_als(task.tensors, task.train, SEED)
        try:
            chase.judge(score)
        except Over:
            return Reached(chase.ended().seconds, chase.ended().trained_seconds, max(best, chase.ended().best))
        spent, best = chase.ended().trained_seconds, max(best, chase.ended().best)
    return Reached(None, spent, best)

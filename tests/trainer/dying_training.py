"""A night's two trainings on a tiny world, in a process of its own that may be killed at any moment."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from safetensors import torch as safetensors

from tests.factories import some_tensors
from waypost.graph.tensors import GraphTensors
from waypost.graph.texts import to_texts
from waypost.model.features import encode_texts, train_tokenizer
from waypost.model.graphsage import GraphSAGE
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.settings import AwsAccess, TrainerSettings
from waypost.trainer.fit import fit_with_curve
from waypost.trainer.loop import UNKEPT, StateKeeper
from waypost.trainer.resuming import NightProgress, facts_of

SETTINGS = TrainerSettings(dim=8, layers=1, threads=1, epochs=60)
WORDS = ["beach", "snow", "train", "food", "lisbon"]
OFTEN_SECONDS = 0.1  # instead of 30: a tiny world trains in a second


def a_world() -> GraphTensors:
    """With tags and text, so that every part of the model is trained."""
    texts = [f"{WORDS[i % 5]} and {WORDS[i * 2 % 5]}" for i in range(60)]
    tokens = encode_texts(train_tokenizer(texts, vocabulary_size=300), texts)
    return some_tensors(num_users=80, num_posts=60, post_texts=to_texts(texts), post_tokens=tokens)


def train_both(progress: NightProgress | None = None) -> bytes:
    """The weights of the judged and of the kept model, as bytes."""
    torch.set_num_threads(1)
    tensors = a_world()
    half = tensors.interactions.take(np.arange(len(tensors.interactions)) % 2 == 0)
    keeper: StateKeeper = progress.phase("blind") if progress else UNKEPT
    blind = fit_with_curve(tensors, half, SETTINGS, 1, keeper=keeper).model
    keeper = progress.phase("holdout") if progress else UNKEPT
    start = copy.deepcopy(blind)
    kept = fit_with_curve(tensors, tensors.interactions, SETTINGS, 1, init=start, share=0.5, keeper=keeper).model
    return as_bytes(blind) + as_bytes(kept)


def as_bytes(model: GraphSAGE) -> bytes:
    body: bytes = safetensors.save(dict(model.state_dict()))
    return body


def run(access: AwsAccess, bucket: str, output: Path) -> None:
    """Train, keeping states, then write the weights to the file."""
    store = S3ObjectStore(s3_client(access), bucket)
    progress = NightProgress(store, facts_of("a graph", {}, SETTINGS), every_seconds=OFTEN_SECONDS)
    output.write_bytes(train_both(progress))
    progress.forget()


def run_undisturbed(output: Path) -> None:
    """The same without keeping anything."""
    output.write_bytes(train_both())

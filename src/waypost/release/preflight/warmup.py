"""The warm-up samples of config.pbtxt: a wrong one makes the load fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from waypost.model.signature import INPUTS
from waypost.release.preflight.findings import Finding, finding

WARMUP_FOLDER = "warmup"  # beside the version folders; where Triton looks for input_data_file
_ROW_NUMBERS = {tensor.name for tensor in INPUTS}  # every input of ours is one: random bytes are no row


def check_warmup(config: Any, where: str, folder: Path | None) -> list[Finding]:
    """One finding for each fault of each sample; `folder` is the model's."""
    return [found for sample in config.model_warmup for found in _check_sample(sample, config, where, folder)]


def _check_sample(sample: Any, config: Any, where: str, folder: Path | None) -> Iterator[Finding]:
    name = f"warm-up {sample.name or 'sample'}"
    inputs = {entry.name: entry for entry in config.input}
    unexpected, missing = sorted(set(sample.inputs) - set(inputs)), sorted(set(inputs) - set(sample.inputs))
    if unexpected or missing:
        told = [*(f"{key} is no input" for key in unexpected), *(f"{key} is missing" for key in missing)]
        yield finding("warmup-input", where, f"{name}: {', '.join(told)}")
    if sample.batch_size > config.max_batch_size:
        yield finding("warmup-batch", where, f"{name}: batch_size {sample.batch_size}, at most {config.max_batch_size}")
    for key in sorted(set(sample.inputs) & set(inputs)):
        yield from _check_input(f"{name}, {key}", key, sample.inputs[key], inputs[key], where, folder)


def _check_input(what: str, key: str, given: Any, entry: Any, where: str, folder: Path | None) -> Iterator[Finding]:
    if given.data_type != entry.data_type:
        yield finding("warmup-shape", where, f"{what} has another data_type than the input")
    elif not _fits(list(given.dims), list(entry.dims)):
        yield finding("warmup-shape", where, f"{what} has dims {list(given.dims)}, the input {list(entry.dims)}")
    elif given.random_data and key in _ROW_NUMBERS:
        yield finding("warmup-data", where, f"{what} is random_data")
    elif given.input_data_file and not (folder and (folder / WARMUP_FOLDER / given.input_data_file).is_file()):
        yield finding("warmup-data", where, f"{what} is read from {WARMUP_FOLDER}/{given.input_data_file}, not there")


def _fits(given: list[int], wanted: list[int]) -> bool:
    """A sample's dims are numbers where the input's may be any length."""
    return len(given) == len(wanted) and all(
        dim >= 1 and want in (-1, dim) for dim, want in zip(given, wanted, strict=True)
    )

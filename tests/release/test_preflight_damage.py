"""Whatever stands in the files, preflight gives findings and never breaks: thousands of damaged and forged releases
whose digests are right, so that every reader is reached. The number is printed."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.release.good_releases import FILES, TARGET, good_files, publish_with, save_release, save_repository
from waypost.objects.bundle import MANIFEST
from waypost.release.preflight import FAULTS, Node, check_directory
from waypost.release.store import GOLDEN, POPULAR, TOKENIZER

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore:overflow encountered in cast")]
ROUNDS = 500
ODD_JSON = (b"null", b"[]", b"{}", b'"x"', b"1e999", b"-1", b"99999999999999999999", b"NaN", b"[[]]")
ODD_VALUES: tuple[Any, ...] = (None, [], {}, "x", -1, 1e300, float("nan"), True, 10**30, [[]], [{}], {"a": 1})


def damaged(body: bytes, choose: random.Random) -> bytes:
    """Cut, flipped, shortened, lengthened, or with an odd word in it."""
    place, length = choose.randrange(len(body) + 1), choose.randrange(1, 40)
    noise = choose.randbytes(length)
    return choose.choice(
        (
            body[:place],
            body[:place] + noise[:2] + body[place + 2 :],
            body[:place] + body[place + length :],
            body[:place] + noise + body[place:],
            body[:place] + choose.choice(ODD_JSON) + body[place + 1 :],
        )
    )


def forged(value: Any, choose: random.Random) -> Any:
    """The same JSON value with one part replaced by something odd."""
    if not isinstance(value, dict | list) or not value or choose.random() < 0.15:
        return choose.choice(ODD_VALUES)
    if isinstance(value, dict):
        key = choose.choice(list(value))
        return {**value, key: forged(value[key], choose)}
    place = choose.randrange(len(value))
    return [*value[:place], forged(value[place], choose), *value[place + 1 :]]


def a_damaged_file(folder: Path, choose: random.Random) -> Path:
    release = save_release(folder)
    path = choose.choice(sorted(FILES))
    publish_with(release, **{path.replace(".", "__"): damaged(FILES[path], choose)})
    return release


def a_forged_companion(folder: Path, choose: random.Random) -> Path:
    release = save_release(folder)
    path = choose.choice((GOLDEN, POPULAR, TOKENIZER))
    body = json.dumps(forged(json.loads(FILES[path]), choose)).encode()
    publish_with(release, **{path.replace(".", "__"): body})
    return release


def a_damaged_manifest(folder: Path, choose: random.Random) -> Path:
    release = save_release(folder)
    (release / MANIFEST).write_bytes(damaged((release / MANIFEST).read_bytes(), choose))
    return release


def a_forged_fact(folder: Path, choose: random.Random) -> Path:
    files, facts = good_files()
    name = choose.choice(sorted(set(facts) - {"release"}))
    return save_release(folder, files, {**facts, name: forged(facts[name], choose)})


def a_damaged_repository(folder: Path, choose: random.Random) -> Path:
    repository = save_repository(folder / "repository", choose.choice(("python", "onnxruntime")))
    paths = sorted(path for path in repository.rglob("*") if path.is_file() and path.stat().st_size)
    path = choose.choice([*paths, repository / "recommender" / "config.pbtxt"])
    path.write_bytes(damaged(path.read_bytes(), choose))
    return repository


@pytest.mark.parametrize(
    "damage", [a_damaged_file, a_forged_companion, a_damaged_manifest, a_forged_fact, a_damaged_repository]
)
def test_damage_gives_findings_and_never_an_exception(
    damage: Callable[[Path, random.Random], Path], tmp_path: Path
) -> None:
    told: Counter[str] = Counter()
    for seed in range(ROUNDS):
        path = damage(tmp_path / str(seed), random.Random(seed))
        found = check_directory(path, TARGET, node=Node(gpus=0))
        assert all(finding.code in FAULTS and "\n" not in str(finding) for finding in found)
        told.update({finding.code for finding in found} or {"no finding"})
    print(f"\n{damage.__name__}: {ROUNDS} of them, {len(told)} kinds of answers: {dict(told.most_common(4))}")
    assert told["no finding"] < ROUNDS / 2  # a changed weight or popularity count is no fault of form

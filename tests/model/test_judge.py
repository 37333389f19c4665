import json
import lzma
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from waypost.errors import DataContractRefused, UsageError
from waypost.model.judge import JudgeOptions, evaluate_files

DATA = Path(__file__).parents[3] / "shared" / "data"


Files = tuple[Path, Path, Path]


def _write(folder: Path, train: str, test: str, recs: str) -> Files:
    paths = folder / "train", folder / "test", folder / "recs"
    for path, text in zip(paths, (train, test, recs), strict=True):
        path.write_text(text)
    return paths


def _some_files(folder: Path) -> Files:
    return _write(
        folder, train="u1 a b\nu2 c\nu3 a\n", test="u1 c d\nu2 a\nu3 b c\nu4 a\n", recs="u1\tc x d\nu2\tb a\nu3\tb c\n"
    )


def test_a_case_worked_out_by_hand(tmp_path: Path) -> None:
    figures = evaluate_files(*_some_files(tmp_path), JudgeOptions(k=2))
    ideal = 1 + 1 / np.log2(3)
    assert figures["recall@2"] == pytest.approx((0.5 + 1 + 1 + 0) / 4)
    assert figures["ndcg@2"] == pytest.approx((1 / ideal + 1 / np.log2(3) + 1 + 0) / 4)
    assert figures["mrr@2"] == pytest.approx((1 + 0.5 + 1 + 0) / 4)
    assert figures["users"] == 4
    assert figures["users_without_list"] == 1
    assert figures["unknown_items"] == 1


def test_a_user_without_a_list_can_be_left_out_or_refused(tmp_path: Path) -> None:
    files = _some_files(tmp_path)
    assert evaluate_files(*files, JudgeOptions(k=2, missing="skip"))["users"] == 3
    with pytest.raises(DataContractRefused, match="no list for user u4"):
        evaluate_files(*files, JudgeOptions(k=2, missing="error"))


def test_a_recommended_training_post_is_refused_stripped_or_kept(tmp_path: Path) -> None:
    files = _write(tmp_path, train="u a\n", test="u b\n", recs="u\ta b\n")
    with pytest.raises(DataContractRefused, match="training posts"):
        evaluate_files(*files)
    assert evaluate_files(*files, JudgeOptions(seen="strip"))["mrr@20"] == 1.0
    assert evaluate_files(*files, JudgeOptions(seen="keep"))["mrr@20"] == 0.5


def test_test_pairs_that_are_training_pairs_can_be_dropped(tmp_path: Path) -> None:
    files = _write(tmp_path, train="u a\n", test="u a b\n", recs="u\tb\n")
    assert evaluate_files(*files)["recall@20"] == 0.5
    assert evaluate_files(*files, JudgeOptions(drop_seen=True))["recall@20"] == 1.0


@pytest.mark.parametrize("recs", ["u\tb b\n", "u\tb\nu\tc\n"])
def test_a_post_or_a_user_named_twice_is_refused(tmp_path: Path, recs: str) -> None:
    with pytest.raises(DataContractRefused):
        evaluate_files(*_write(tmp_path, train="u a\n", test="u b\n", recs=recs))


def test_a_file_that_cannot_be_read_is_one_line_with_its_name(tmp_path: Path) -> None:
    train, test, recs = _some_files(tmp_path)
    broken = tmp_path / "broken.xz"
    broken.write_bytes(lzma.compress(b"u1 a\n" * 1000)[:40])
    for path in (tmp_path / "absent.txt", broken):
        with pytest.raises(UsageError, match=path.name):
            evaluate_files(path, test, recs)
    assert evaluate_files(train, test, recs)["users"] == 4


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is absent: no second judge to compare with")
@pytest.mark.parametrize("form", ["lists", "pairs"])
def test_every_figure_is_the_other_judges(tmp_path: Path, form: str) -> None:
    choose = np.random.default_rng(3)
    sets = [
        {f"u{u}": {f"i{i}" for i in choose.integers(0, 60, 8)} for u in choose.permutation(80)[:n]} for n in (80, 60)
    ]
    names = ["train", "test"]
    for name, users in zip(names, sets, strict=True):
        lines = (
            [f"{u} {' '.join(sorted(posts))}" for u, posts in users.items()]
            if form == "lists"
            else [f"{u}\t{post}\t1" for u, posts in users.items() for post in sorted(posts)]
        )
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    rows = [f"u{u}\t{' '.join(f'i{i}' for i in choose.permutation(70)[:15])}" for u in range(75)]
    (tmp_path / "recs").write_text("\n".join(rows) + "\n")
    paths = tmp_path / "train", tmp_path / "test", tmp_path / "recs"
    given = [f"--{path.name}={path}" for path in paths]
    command = [
        sys.executable,
        str(DATA / "evaluate.py"),
        *given,
        f"--format={form}",
        "--k=10",
        "--seen=strip",
        "--json",
    ]
    printed = subprocess.run([*command, "--drop-seen"], capture_output=True, text=True, timeout=60, check=True).stdout
    ours = evaluate_files(
        *paths, JudgeOptions(k=10, seen="strip", drop_seen=True, format="pairs" if form == "pairs" else "lists")
    )
    theirs = json.loads(printed)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-6), name

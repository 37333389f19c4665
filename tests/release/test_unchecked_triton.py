"""What the real Triton does when nobody checks: the same faults that preflight names, loaded into a Triton of the
test's own. It refuses some, hangs on some, may die of one, and calls many ready. A control loads the good one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from tests.conftest import BringUp
from tests.release.broken_releases import (
    CORPUS,
    Broken,
    a_python,
    add_node,
    fix_batch,
    put_outside,
    python,
    set_table,
    with_nan,
    write_model_py,
)
from tests.release.good_releases import (
    FILES,
    TARGET,
    changed_model,
    edit_config,
    model_folder,
    save_repository,
)
from tests.release.own_triton import HUNG, HUNG_SECONDS, LOAD_SECONDS, OwnTriton, own_triton
from waypost.errors import TritonUnavailable
from waypost.local.triton import find_triton
from waypost.model.signature import MODEL_NAME, Row, pack
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.release import golden, lookups
from waypost.release.onnx_runner import load_onnx
from waypost.release.preflight import Node, TritonPython, check_directory, check_s3_address
from waypost.release.store import GOLDEN, LOOKUPS, MODEL
from waypost.settings import AwsAccess

pytestmark = pytest.mark.faults
ASKED = golden.from_bytes(FILES[GOLDEN])
SIZES = lookups.from_bytes(FILES[LOOKUPS]).sizes
STARTED_SECONDS = 6.0  # a right start takes about one
Fate = Literal["refused", "hangs", "dies", "refused or dies", "fails", "answers wrongly"]
BY_NAME = {broken.name: broken for broken in CORPUS}


def of_model(name: str, code: str, change: Callable[[Any], object]) -> Broken:
    def put(folder: Path) -> None:
        (model_folder(folder) / "1" / MODEL).write_bytes(changed_model(change))

    return python(name, code, put)


def use_backend(folder: Path) -> None:
    edit_config(folder, '"python"', '"onnx"')


# What was done, what becomes of it, and in which words.
_SEEN: list[tuple[Broken | str, Fate, str]] = [
    ("a typing error in the name", "refused", "failed to poll from model repository"),
    ("the folder renamed", "refused", "failed to poll from model repository"),
    ("config.pbtxt is not text", "refused", "failed to poll from model repository"),
    ("a bracket lost", "refused", "failed to poll from model repository"),
    ("a field misspelt", "refused", "failed to poll from model repository"),
    ("FP32 without TYPE_", "refused", "failed to poll from model repository"),
    ("preferred above the largest batch", "refused", "failed to poll from model repository"),
    (python("no such backend", "config-backend", use_backend), "refused", "unable to find backend library for"),
    ("a dim of 0", "refused", "dimension must be integer >= 1, or -1"),
    ("GPUs for a CPU", "refused", "has kind KIND_CPU but specifies one or more GPUs"),
    ("a GPU that is not there", "refused", "has kind KIND_GPU but no GPUs are available"),
    ("the third of two GPUs", "refused", "specifies invalid or unsupported gpu id 2"),
    ("a Python environment that is not there", "refused", "Failed to get the canonical path for /nowhere/env.tar.gz"),
    ("a warm-up input misspelt", "refused", "missing required input(s) ['user_index']"),
    ("a warm-up input too long", "refused", "unexpected shape for input 'user_index'"),
    ("random rows to warm up", "refused", "must be within the inclusive range"),
    ("a warm-up file that is not there", "refused", "failed to open text file for read"),
    ("too many warm-up rows", "refused or dies", "Stream removed"),  # two of four times each
    ("version 01", "refused", "at least one version must be available under the version policy"),
    ("version latest", "refused", "at least one version must be available under the version policy"),
    ("a version half published: no model", "refused", "NoSuchFile"),
    ("a version half published: empty", "hangs", ""),
    ("no model.py", "hangs", ""),
    ("model.py with a syntax error", "refused", "SyntaxError"),
    ("model.py with another class", "refused", "has no attribute 'TritonPythonModel'"),
    (of_model("IR version 14", "onnx-ir-too-new", lambda m: setattr(m, "ir_version", 14)), "refused", "IR version: 14"),
    (
        of_model("opset 28", "onnx-opset-too-new", lambda m: setattr(m.opset_import[0], "version", 28)),
        "refused",
        "Opset 28",
    ),
    (of_model("PyG", "onnx-custom-ops", lambda m: add_node(m, "ptr2ind", "torch_sparse")), "refused", "ptr2ind"),
    (of_model("Swish", "onnx-op-too-new", lambda m: add_node(m, "Swish")), "refused", "Swish"),
    (of_model("weights outside", "onnx-external-data", put_outside), "refused", "post_vector.bin"),
    ("no batching", "fails", "unexpected shape for input"),
    ("smaller batches than the worker's", "fails", "batch-size must be <= 8"),
    ("an output misspelt", "fails", "unexpected inference output 'score'"),
    ("an input misspelt", "fails", "unexpected inference input 'user_index'"),
    ("an input of another type", "fails", "model 'recommender' expects 'INT64'"),
    ("another length", "fails", "unexpected shape for input 'user_index'"),
    ("decoupled answers", "fails", "doesn't support models with decoupled transaction policy"),
    ("sequences", "fails", "due to requirements of sequence batcher"),
    (of_model("one row at a time", "onnx-batch-fixed", fix_batch), "fails", "invalid dimensions"),
    (
        of_model("NaN", "onnx-not-finite", lambda m: set_table(m, "post_vector", with_nan)),
        "answers wrongly",
        "other scores",
    ),
]
SEEN = [(BY_NAME[what] if isinstance(what, str) else what, fate, words) for what, fate, words in _SEEN]


@pytest.fixture(scope="module")
def need_triton(bring_up: BringUp) -> None:
    """Skipped where the embedded Triton cannot run for want of a package."""
    bring_up("triton")


class Servers:
    """One server for many tests, and another one once it hangs or is dead."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._open, self._count = folder, ExitStack(), 0
        self._triton: OwnTriton | None = None

    def live(self) -> OwnTriton:
        if self._triton is None:
            self._count += 1
            self._triton = self._open.enter_context(own_triton(self._folder / str(self._count)))
        return self._triton

    def give_up(self) -> None:
        self._triton = None
        self._open.close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, need_triton: None) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("unchecked"))
    yield servers
    servers.give_up()


def fate_of(triton: OwnTriton, load_seconds: float) -> tuple[Fate | Literal["serves"], str]:
    """What becomes of what lies in the repository, and in which words."""
    said = triton.load(load_seconds)
    if said == HUNG:
        return "hangs", ""
    if not triton.is_live():
        return "dies", said
    if said:
        return "refused", said
    model = triton.asked()
    try:
        different = model.golden_difference(1, ASKED)
    except TritonUnavailable as error:
        return "fails", str(error)
    finally:
        model.close()
    return ("answers wrongly", different) if different else ("serves", "")


def test_the_good_one_is_served(servers: Servers) -> None:
    """The control of all the others."""
    triton = servers.live()
    save_repository(triton.models, "python")
    assert fate_of(triton, LOAD_SECONDS) == ("serves", "")
    triton.forget()


@pytest.mark.parametrize(("broken", "expected", "words"), SEEN, ids=[row[0].name for row in SEEN])
def test_what_becomes_of_it(servers: Servers, broken: Broken, expected: Fate, words: str) -> None:
    triton = servers.live()
    save_repository(triton.models, "python")
    broken.break_it(triton.models)
    named = {finding.code for finding in check_directory(triton.models, TARGET, node=broken.node)}
    assert broken.code in named
    found, said = fate_of(triton, HUNG_SECONDS if expected == "hangs" else LOAD_SECONDS)
    assert found in expected.split(" or ")
    assert words in said
    if expected in ("fails", "answers wrongly"):
        assert triton.says_ready()
    if found in ("hangs", "dies"):
        servers.give_up()
    else:
        triton.forget()


def test_enough_is_seen() -> None:
    assert len({broken.code for broken, _, _ in SEEN}) >= 25
    assert len({expected for _, expected, _ in SEEN}) == 5


def test_with_padding_of_another_night_batched_requests_get_wrong_lists(servers: Servers) -> None:
    """Ready, and right to every golden question: those are one request, and nothing is padded."""
    triton = servers.live()
    save_repository(triton.models, "python")
    assert not wrong_lists_in_company(triton, attempts=2)
    triton.forget()
    save_repository(triton.models, "python")
    sizes = {"num_users": 12, "num_posts": 3, "num_tags": 5, "num_tokens": 6}
    (triton.model / "1" / "padding.json").write_text(json.dumps(sizes))
    assert {finding.code for finding in check_directory(triton.models, TARGET)} == {"padding-differs"}
    assert fate_of(triton, LOAD_SECONDS) == ("serves", "")
    assert wrong_lists_in_company(triton, attempts=20)
    triton.forget()


def wrong_lists_in_company(triton: OwnTriton, attempts: int) -> int:
    """Of requests of different widths at the same time, how many got other lists than alone."""
    if triton.load():
        raise AssertionError("the model did not load")
    infer, model = load_onnx(FILES[MODEL], threads=1), triton.asked()
    batches = [pack([Row(i % 12, blocked_posts=list(range(10, 10 + i % 9)))], SIZES) for i in range(40)]
    expected = [infer(dict(inputs))["post_index"] for inputs in batches]
    wrong = 0
    with ThreadPoolExecutor(16) as pool:
        for _ in range(attempts):
            answers = pool.map(lambda inputs: model.infer(1, dict(inputs))["post_index"], batches)
            wrong += sum(not np.array_equal(*pair) for pair in zip(answers, expected, strict=True))
            if wrong:
                break
    model.close()
    return wrong


def test_with_the_latest_policy_the_served_version_goes_before_the_new_one_has_proved_itself(servers: Servers) -> None:
    triton = servers.live()
    save_repository(triton.models, "python")
    BY_NAME["only the latest version"].break_it(triton.models)
    assert {finding.code for finding in check_directory(triton.models, TARGET)} == {"config-version-policy"}
    assert fate_of(triton, LOAD_SECONDS) == ("serves", "")
    save_repository(triton.models, "python", version=2)
    BY_NAME["only the latest version"].break_it(triton.models)
    assert triton.load() == ""
    model = triton.asked()
    with pytest.raises(TritonUnavailable, match="version 1 is not at ready state"):
        model.golden_difference(1, ASKED)
    model.close()
    triton.forget()


@pytest.mark.parametrize("name", ["no model.py", "a version half published: empty"])
def test_a_server_that_starts_with_it_never_comes_up(name: str, tmp_path: Path, need_triton: None) -> None:
    BY_NAME[name].break_it(save_repository(tmp_path / "models", "python"))
    with own_triton(tmp_path, f"--load-model={MODEL_NAME}", wait_seconds=STARTED_SECONDS) as triton:
        assert not triton.is_live()
        assert "error" not in triton.log.read_text().splitlines()[-1]  # it neither gave up nor said why


def test_a_server_that_starts_with_a_wrong_name_gives_up(tmp_path: Path, need_triton: None) -> None:
    BY_NAME["a typing error in the name"].break_it(save_repository(tmp_path / "models", "python"))
    with own_triton(tmp_path, f"--load-model={MODEL_NAME}") as triton:
        assert not triton.is_live()
        assert "failed to load all models" in triton.log.read_text()


def test_numpy_2_makes_every_output_empty_and_the_model_ready(tmp_path: Path, need_triton: None) -> None:
    environment = an_environment_with_numpy_2(tmp_path / "environment")
    with own_triton(tmp_path, site_packages=environment) as triton:
        repository = save_repository(triton.models, "python")
        assert "install numpy<2" in triton.load()  # our own model.py refuses to start
        triton.forget()
        save_repository(repository, "python")
        write_model_py(lambda text: text.replace(">= 2:", ">= 99:"))(repository)
        assert triton.load() == ""
        assert triton.says_ready()
        model = triton.asked()
        with pytest.raises((TritonUnavailable, ValueError), match=r"empty|cannot reshape array of size 0"):
            model.infer(1, dict(ASKED.inputs))
        model.close()
    save_repository(repository, "python")
    node = Node(python=TritonPython(environment, "3.11", a_python(tmp_path / "python").stub))
    assert [finding.code for finding in check_directory(repository, TARGET, node=node)] == ["node-numpy"]


def an_environment_with_numpy_2(folder: Path) -> Path:
    """Triton's own packages, but for numpy, which is ours."""
    folder.mkdir()
    for package in find_triton(None).site_packages.iterdir():
        if not package.name.startswith("numpy"):
            (folder / package.name).symlink_to(package)
    for package in Path(np.__file__).parents[1].glob("numpy*"):
        (folder / package.name).symlink_to(package)
    assert np.__version__.startswith("2.")
    return folder


def test_an_odd_s3_prefix_makes_triton_wait_for_aws(
    tmp_path: Path, need_triton: None, aws_access: AwsAccess, bucket: str
) -> None:
    store = S3ObjectStore(s3_client(aws_access), bucket)
    repository = save_repository(tmp_path / "repository", "python")
    keys = {
        "AWS_ACCESS_KEY_ID": str(aws_access.access_key_id),
        "AWS_SECRET_ACCESS_KEY": str(aws_access.secret_access_key),
        "AWS_DEFAULT_REGION": str(aws_access.region),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for prefix, is_read in (("models", True), ("mod+els", False)):
        for path in repository.rglob("*"):
            if path.is_file():
                store.put_new(f"{prefix}/{path.relative_to(repository)}", path.read_bytes())
        address = f"s3://{aws_access.endpoint_url}/{bucket}/{prefix}"
        assert (check_s3_address(address) == []) == is_read
        with own_triton(
            tmp_path / prefix, repository=address, environment=keys, wait_seconds=STARTED_SECONDS
        ) as triton:
            assert triton.is_live() == is_read
            assert not is_read or triton.load() == ""

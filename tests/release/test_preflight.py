"""Preflight as it is asked: the verb, its report and exit codes, the page of its codes. What it finds is tested on the
corpus (test_preflight_corpus.py) and in a real Triton (test_preflight_loading.py)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.release.good_releases import FACTS, FILES, TARGET, edit_config, publish_with, save_release, save_repository
from waypost.cli import main
from waypost.errors import PreflightFailed, UsageError
from waypost.exporter.proving import preflight_directory
from waypost.objects.bundle import MANIFEST, describe
from waypost.release.preflight import FAULTS, Node, check_directory, check_release, read_node, refuse, report_json
from waypost.release.preflight.faults import to_markdown
from waypost.release.store import GOLDEN, MODEL
from waypost.settings import ExporterSettings, Parts

SOURCE = Path(__file__).parents[2]
PAGE = SOURCE / "docs" / "preflight.md"
CODE = re.compile(r'finding\(\s*"([a-z0-9-]+)"')


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return save_release(tmp_path)


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and standard output of the verb."""
    code = main(["preflight", "--static", *arguments])
    return code, capsys.readouterr().out


def test_a_good_release_exits_0_and_says_so(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(capsys, str(release)) == (0, "no findings\n")
    code, out = asked(capsys, str(release), "--json")
    assert (code, json.loads(out)) == (0, {"ok": True, "findings": []})


def test_a_finding_exits_4_and_is_one_line_with_its_remedy(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish_with(release, model__onnx=b"")
    code, out = asked(capsys, str(release))
    assert (code, out.count("\n")) == (4, 1)
    assert out.startswith("onnx-unreadable model.onnx: ")
    assert out.endswith("; export again\n")
    code, out = asked(capsys, str(release), "--json")
    report = json.loads(out)
    assert (code, report["ok"]) == (4, False)
    assert set(report["findings"][0]) == {"code", "path", "what", "why", "fix"}


def test_an_unknown_target_and_a_folder_that_is_not_there_are_usage(
    release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(capsys, str(release), "--target", "19.01")[0] == 2
    assert asked(capsys, str(release / "nowhere"))[0] == 2


def test_the_s3_address_of_another_triton_is_checked_when_it_is_named(
    release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(capsys, str(release), "--s3-address", "s3://http://minio:9000/models/night")[0] == 0
    code, out = asked(capsys, str(release), "--s3-address", "s3://http://minio:9000/models/night+1")
    assert (code, out.split()[0]) == (4, "s3-characters")


def test_a_gpu_is_asked_for_only_where_the_model_is_to_serve(tmp_path: Path) -> None:
    repository = save_repository(tmp_path / "repository", "onnxruntime", "gpu")
    assert check_directory(repository, TARGET, node=read_node()) == []
    assert [finding.code for finding in check_directory(repository, TARGET, node=Node(gpus=0))] == ["node-gpu"]


def test_this_machine_is_read_as_it_is() -> None:
    node = read_node(serves_here=True)
    assert node.gpus is not None
    assert node.shared_memory_bytes is not None
    assert node.python is None or node.python.version.startswith("3.")
    assert read_node().gpus is None


def test_a_repository_without_golden_answers_is_not_called_right(tmp_path: Path) -> None:
    repository = save_repository(tmp_path / "repository", "onnxruntime", files=FILES)
    (repository / "recommender" / "1" / GOLDEN).unlink()
    assert preflight_directory(repository, TARGET, ExporterSettings(), None) == []
    with_triton = preflight_directory(repository, TARGET, ExporterSettings(), Parts())
    assert [finding.code for finding in with_triton] == ["golden-missing"]


def test_a_target_without_a_table_is_refused_by_name(release: Path) -> None:
    with pytest.raises(UsageError, match=r"no table for Triton 30\.01"):
        preflight_directory(release, "30.01", ExporterSettings(), None)


def test_the_exporter_checks_the_same_files_before_they_lie_in_a_folder() -> None:
    manifest = describe(FILES, FACTS).to_bytes()
    assert check_release({**FILES, MANIFEST: manifest}, TARGET) == []
    cut = {**FILES, MODEL: FILES[MODEL][:-1], MANIFEST: manifest}
    assert [finding.code for finding in check_release(cut, TARGET)] == ["digest-mismatch"]


def test_a_refusal_says_everything_in_one_line(tmp_path: Path) -> None:
    repository = save_repository(tmp_path / "repository", "onnxruntime")
    edit_config(repository, "TYPE_INT64", "TYPE_FP32")
    edit_config(repository, "count: 1", "count: -3")
    findings = check_directory(repository, TARGET)
    with pytest.raises(PreflightFailed) as told:
        refuse(findings)
    assert "\n" not in str(told.value)
    assert "config-tensor-type" in str(told.value)
    assert "config-instance-count" in str(told.value)
    assert not json.loads(report_json(findings))["ok"]


def test_the_page_of_codes_is_the_table_of_the_code() -> None:
    """After a change: print `to_markdown()` into the page, below its first table's heading."""
    page = PAGE.read_text()
    assert page[page.index("## A release folder") :].strip() == to_markdown().strip()


def test_every_code_that_is_given_is_in_the_table_and_every_one_of_the_table_is_given() -> None:
    folder = SOURCE / "src" / "waypost"
    modules = [*(folder / "release" / "preflight").glob("*.py"), folder / "exporter" / "proving.py"]
    text = "".join(module.read_text() for module in modules)
    by_call = set(CODE.findall(text))
    by_name = {
        code for code in FAULTS if f'return "{code}"' in text or f'else "{code}"' in text or f'"{code}" if' in text
    }
    assert by_call | by_name == set(FAULTS)

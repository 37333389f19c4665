"""An AWS of the tests' own that checks every signature and every policy, and in it what `deploy/terraform` makes, from
the same JSON files that terraform reads."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.terraform.applied import Applied, apply_files
from waypost.local.aws import aws_spec
from waypost.local.layout import Layout
from waypost.local.ports import choose_ports
from waypost.local.processes import wait_until
from waypost.local.secrets import AwsKeys

START_SECONDS = 30.0
ROOT = AwsKeys("AKIAROOTOFTHETESTS00", "the-secret-of-the-root")  # of an emulator on loopback that ends with the test


@pytest.fixture(scope="package")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    """Queues, bucket and roles as terraform would make them, in an AWS that enforces them."""
    folder = tmp_path_factory.mktemp("aws")
    port = choose_ports(["aws"], {}, {}, [])["aws"]
    process = _start(folder, port)
    try:
        yield apply_files(f"http://127.0.0.1:{port}", ROOT)
    finally:
        process.terminate()
        process.wait(timeout=START_SECONDS)


def _start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    layout = Layout.of(folder)
    layout.aws.mkdir(parents=True)
    spec = aws_spec(layout, port, ROOT)
    spec = replace(spec, environment={**spec.environment, "AUTH": "true", "S3_PERSIST": "0"})
    with (folder / "aws.log").open("wb") as log:
        process = subprocess.Popen(
            spec.command, env=dict(spec.environment), cwd=layout.aws, stdout=log, stderr=subprocess.STDOUT
        )
    if not wait_until(spec.is_ready, START_SECONDS):
        process.kill()
        pytest.fail((folder / "aws.log").read_text()[-2_000:])
    return process

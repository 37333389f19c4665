"""The real helm, and the published schemas of every kind that the chart makes. Both come from Go modules."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chart.charting import ROOT, Helm, Object
from tests.chart.schemas import Schemas, load_schemas
from tests.chart.value_sets import VALUE_SETS

BUILDER = ROOT / "deploy" / "cluster" / "build.py"
LOOK_SECONDS = 30


@pytest.fixture(scope="session")
def helm(need: Callable[[str, str], None]) -> Helm:
    binary = _find_helm()
    if binary is None:
        need("helm", "install Go 1.26 or newer, then `make chart-tools`")
    assert binary is not None
    return Helm(binary)


def _find_helm() -> Path | None:
    """The one that `make chart-tools` built, or the one that $HELM names."""
    if given := os.environ.get("HELM"):
        return Path(given)
    found = subprocess.run(
        [sys.executable, BUILDER, "--where", "helm"], capture_output=True, text=True, timeout=LOOK_SECONDS, check=False
    )
    return Path(found.stdout.split()[-1]) if found.returncode == 0 else None


@pytest.fixture(scope="session")
def schemas(need: Callable[[str, str], None]) -> Schemas:
    try:
        return load_schemas()
    except FileNotFoundError:
        need("the schemas of Kubernetes", "install Go 1.26 or newer: they are files of Go modules")
        raise


@pytest.fixture(scope="session")
def rendered(helm: Helm) -> dict[str, list[Object]]:
    """The objects of every value set, in a cluster that has all optional kinds."""
    return {name: helm.render(values) for name, values in VALUE_SETS.items()}

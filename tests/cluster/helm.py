"""Helm, as an operator types it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cluster.api import Object

CHART = Path(__file__).parents[2] / "helm" / "waypost"
SECONDS = 300.0  # for the command; what Helm itself waits is said by --timeout
WAIT = ("--wait", "--timeout=4m")


@dataclass(frozen=True)
class Helm:
    program: Path
    kubeconfig: Path
    namespace: str
    home: Path

    def run(self, *arguments: str) -> str:
        """Its standard output; fails with what it said."""
        environment = {
            "PATH": os.defpath,
            "HOME": str(self.home),
            "KUBECONFIG": str(self.kubeconfig),
            "HELM_NAMESPACE": self.namespace,
        }
        command = [str(self.program), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, f"helm {' '.join(arguments)}:\n{done.stderr}"
        return done.stdout

    def manifests(self, release: str, *more: str) -> list[Object]:
        """What the cluster was given for it, hooks aside."""
        said = yaml.safe_load_all(self.run("get", "manifest", release, *more))
        return [document for document in said if document]

"""The verbs' way to a Kubernetes cluster: the kubeconfig of whoever types, and the namespace they mean."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waypost.kubernetes.protocols import Cluster


def add_namespace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--namespace", metavar="NAME", help="of the Helm release; absent: that of the kubeconfig's current context"
    )


def open_cluster(options: argparse.Namespace, environ: Mapping[str, str]) -> tuple[Cluster, str]:
    """The cluster and the namespace. Raises SettingsError."""
    from waypost.kubernetes.credentials import find_credentials
    from waypost.kubernetes.http import HttpCluster

    credentials = find_credentials(environ)
    return HttpCluster(credentials), options.namespace or credentials.namespace

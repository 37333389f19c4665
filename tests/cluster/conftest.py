"""One cluster for the session: control plane, nodes, KEDA, SQS; ended with it, whatever happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.api import Object
from tests.cluster.control_plane import ControlPlane, start_control_plane
from tests.cluster.helm import CHART, WAIT, Helm
from tests.cluster.keda import start_keda
from tests.cluster.nodes import start_nodes
from tests.cluster.queue import make_queue
from tests.cluster.running import Running
from tests.cluster.shop import NAMESPACE, RELEASE, Shop
from tests.cluster.steps import step, taken
from tests.cluster.tools import ToolsMissing, find_tools
from tests.conftest import BringUp
from waypost.settings import EmbeddedStack


@pytest.fixture(scope="session")
def tools() -> dict[str, Path]:
    try:
        return find_tools()
    except ToolsMissing as error:
        pytest.fail(str(error))


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    processes = Running(tmp_path_factory.mktemp("running"))
    yield processes
    processes.stop_all()


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory, tools: dict[str, Path], running: Running) -> ControlPlane:
    with step("control plane started"):
        return start_control_plane(tmp_path_factory.mktemp("cluster"), tools, running)


@pytest.fixture(scope="session")
def night_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the container `trainer` of every pod says."""
    path = tmp_path_factory.mktemp("logs") / "trainer.log"
    path.touch()
    return path


@pytest.fixture(scope="session")
def nodes(plane: ControlPlane, night_log: Path) -> ControlPlane:
    with step("six nodes ready"):
        start_nodes(plane, night_log)
    return plane


@pytest.fixture(scope="session")
def keda(nodes: ControlPlane) -> ControlPlane:
    with step("KEDA started"):
        start_keda(nodes)
    return nodes


@pytest.fixture(scope="session")
def parts(bring_up: BringUp) -> EmbeddedStack:
    """S3, SQS and Triton on this machine."""
    return bring_up("s3", "sqs", "triton")


@pytest.fixture(scope="session")
def shop(keda: ControlPlane, parts: EmbeddedStack, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A namespace that enforces restricted Pod Security, two Secrets, and `helm install` with the five values.

    The other values say where the emulated AWS is, and that a test does not wait five minutes for workers to go.
    """
    queue = make_queue(parts, "shop-requests")
    keda.admin.apply(a_namespace())
    keda.admin.apply(a_secret("waypost-postgres", dsn="postgresql://reader:secret@postgres.invalid/app"))
    keys = {"AWS_ACCESS_KEY_ID": parts.aws_access_key_id, "AWS_SECRET_ACCESS_KEY": parts.aws_secret_access_key}
    keda.admin.apply(a_secret("waypost-aws", **keys))
    values = [
        "--set=image.registry=registry.invalid/waypost",
        "--set=postgres.existingSecret=waypost-postgres",
        f"--set=aws.region={parts.aws_region}",
        f"--set=aws.bucket={parts.bucket}",
        f"--set=aws.requestQueueUrl={queue.url}",
        f"--set=aws.endpointUrl={parts.aws_endpoint_url}",
        "--set=aws.identity=secret",
        "--set=aws.existingSecret=waypost-aws",
        "--set=worker.autoscaling.scaleDownStabilizationSeconds=5",
        "--set=worker.autoscaling.cooldownSeconds=10",
        "--set=operator.subjects[0].kind=User,operator.subjects[0].name=olga",
        "--set=operator.subjects[0].apiGroup=rbac.authorization.k8s.io",
    ]
    helm = Helm(keda.tools["helm"], keda.admin_kubeconfig, NAMESPACE, tmp_path_factory.mktemp("helm"))
    with step("helm install --wait"):
        helm.run("install", RELEASE, str(CHART), *values, *WAIT)
    return Shop(keda, helm, queue, values)


def a_namespace() -> Object:
    restricted = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": restricted}}


def a_secret(name: str, **content: str) -> Object:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": content}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if taken:
        terminalreporter.write_sep("-", "time of each step")
        for name, seconds in taken:
            terminalreporter.write_line(f"{seconds:8.1f} s  {name}")
        terminalreporter.write_line(f"{sum(seconds for _, seconds in taken):8.1f} s  in all")

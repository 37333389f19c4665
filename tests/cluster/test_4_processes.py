"""A gateway, a worker, `waypost release status` and `waypost night --now` against the real API server: each with the
environment, the keys and the account that the chart gives it, and with no right more than that."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.api import Api, ApiError, Object, is_ready
from tests.cluster.as_process import environment_of, kubeconfig_of, secret
from tests.cluster.running import Running, wait_for
from tests.cluster.shop import HPA, NAMESPACE, SCALED_OBJECT, WORKER, Shop
from tests.cluster.steps import step
from tests.soak.breakage import Publisher
from waypost.kubernetes.marks import DELETION_COST, MODEL_VERSION, PAUSED_SCALE_IN, RELEASE
from waypost.local.ports import choose_ports
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.release.signing import load_signing_key
from waypost.settings import EmbeddedStack

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
WAYPOST = (sys.executable, "-m", "waypost.cli")
START_SECONDS = 90.0
CRON_JOB = "waypost-trainer"
Access = dict[str, str]


@dataclass(frozen=True)
class Processes:
    gateway_url: str
    api_key: str
    worker_pod: str
    worker_url: str
    publisher: Publisher
    first: str  # the release that they began with


@pytest.fixture(scope="module")
def processes(
    shop: Shop, parts: EmbeddedStack, tmp_path_factory: pytest.TempPathFactory, running: Running
) -> Iterator[Processes]:
    """One gateway pod and one worker pod of the cluster, run here."""
    root = tmp_path_factory.mktemp("pods")
    publisher = Publisher(
        S3ObjectStore(s3_client(parts.aws()), parts.bucket),
        load_signing_key(_signing_key(shop, root)),
    )
    first = publisher.good(1)
    ports = choose_ports(["gateway", "gateway_metrics", "gateway_replies", "worker"], {}, {}, [])
    worker_pod = next(pod for pod in shop.pods("worker") if is_ready(pod))
    gateway_pod = next(pod for pod in shop.pods("gateway") if is_ready(pod))
    with step("gateway and worker run for real"):
        _start(shop, running, gateway_pod, "gateway", root, _gateway_changes(ports))
        _start(shop, running, worker_pod, "worker", root, _worker_changes(parts, ports))
        gateway, worker = (f"http://127.0.0.1:{ports[name]}" for name in ("gateway", "worker"))
        running.wait("gateway", lambda: _is_well(f"{gateway}/readyz"), START_SECONDS)
        running.wait("worker", lambda: _is_well(f"{worker}/readyz"), START_SECONDS)
    key = secret(shop.plane, NAMESPACE, "waypost-api-keys")["api-key"].decode()
    yield Processes(gateway, key, worker_pod["metadata"]["name"], worker, publisher, first)
    running.stop("worker")
    running.stop("gateway")


def _signing_key(shop: Shop, root: Path) -> Path:
    """That of the chart's own Secret: what it signs, the worker must trust by the public half beside it."""
    path = root / "signing-key.pem"
    path.touch(mode=0o600)
    path.write_bytes(secret(shop.plane, NAMESPACE, "waypost-release-keys")["signing-key.pem"])
    return path


def _start(shop: Shop, running: Running, pod: Object, name: str, root: Path, changes: dict[str, str]) -> None:
    given = environment_of(shop.plane, pod, name, root / name)
    account = {"KUBECONFIG": str(kubeconfig_of(shop.plane, pod))} if name == "worker" else {}
    environment = {**given, **account, **changes}
    running.start(name, [*WAYPOST, name], {key: value for key, value in environment.items() if value})


def _gateway_changes(ports: dict[str, int]) -> dict[str, str]:
    """This machine instead of a pod's network."""
    return {
        "WAYPOST_GATEWAY_HOST": "127.0.0.1",
        "WAYPOST_GATEWAY_PORT": str(ports["gateway"]),
        "WAYPOST_GATEWAY_METRICS_PORT": str(ports["gateway_metrics"]),
        "WAYPOST_GATEWAY_REPLY_HOST": "127.0.0.1",
        "WAYPOST_GATEWAY_REPLY_PORT": str(ports["gateway_replies"]),
        "WAYPOST_GATEWAY_REPLY_ADDRESS": "",  # no DNS of the cluster here
    }


def _worker_changes(parts: EmbeddedStack, ports: dict[str, int]) -> dict[str, str]:
    """The embedded Triton, which has no GPU and the python backend alone."""
    return {
        "WAYPOST_TRITON_URL": parts.triton_url,
        "WAYPOST_WORKER_REPOSITORY": parts.triton_repository,
        "WAYPOST_WORKER_TRITON_BACKEND": "python",
        "WAYPOST_WORKER_TRITON_DEVICE": "cpu",
        "WAYPOST_WORKER_REPLY_DOMAIN": "localhost",
        "WAYPOST_WORKER_METRICS_HOST": "127.0.0.1",
        "WAYPOST_WORKER_METRICS_PORT": str(ports["worker"]),
        "WAYPOST_WORKER_CANARY_SHARE": "0.5",
    }


def _is_well(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def olga(shop: Shop) -> Path:
    """The kubeconfig of the one whom the chart's operator role is bound to."""
    return shop.plane.kubeconfig("olga", shop.plane.authority.issue("olga"), NAMESPACE)


@pytest.fixture(scope="module")
def access(parts: EmbeddedStack, shop: Shop) -> Access:
    """To the bucket and the queue."""
    return {
        "WAYPOST_BUCKET": parts.bucket,
        "WAYPOST_REQUEST_QUEUE_URL": shop.queue.url,
        "AWS_ENDPOINT_URL": parts.aws_endpoint_url,
        "AWS_REGION": parts.aws_region,
        "AWS_ACCESS_KEY_ID": parts.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": parts.aws_secret_access_key,
    }


def waypost(kubeconfig: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": "/usr/bin:/bin", "KUBECONFIG": str(kubeconfig), **environment}
    return subprocess.run([*WAYPOST, *arguments], env=given, capture_output=True, text=True, timeout=120, check=False)


def marks_of(shop: Shop, pod: str) -> dict[str, str]:
    held = shop.plane.admin.get("v1", "Pod", pod, NAMESPACE)
    assert held is not None
    return dict(held["metadata"].get("annotations") or {})


def ask(processes: Processes, user_id: int = 1) -> dict[str, object]:
    body = json.dumps({"user_id": user_id, "deadline_ms": 5_000}).encode()
    headers = {"Authorization": f"Bearer {processes.api_key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{processes.gateway_url}/recommend", body, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        answered: dict[str, object] = json.loads(answer.read())
    return answered


def test_a_request_with_the_charts_api_key_is_answered_by_the_model(processes: Processes) -> None:
    wait_for("an answer by the model", lambda: not ask(processes)["degraded"], 30)
    assert ask(processes)["model_version"] == 1


def test_without_that_key_nobody_is_answered(processes: Processes) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        ask(Processes(**{**processes.__dict__, "api_key": "another"}))


def test_the_worker_writes_its_release_on_its_pod(shop: Shop, processes: Processes) -> None:
    wait_for("the release is on the pod", lambda: marks_of(shop, processes.worker_pod).get(RELEASE), 30)
    said = marks_of(shop, processes.worker_pod)
    assert (said[RELEASE], said[MODEL_VERSION]) == (processes.first, "1")


def test_a_busy_worker_costs_more_to_delete(shop: Shop, processes: Processes) -> None:
    def busy() -> bool:
        for _ in range(20):
            ask(processes)
        return int(marks_of(shop, processes.worker_pod).get(DELETION_COST, "0")) > 0

    wait_for("its cost is above an idle pod's", busy, 60)


def test_release_status_shows_which_pod_serves_which_release(processes: Processes, olga: Path, access: Access) -> None:
    done = waypost(olga, "release", "status", **access)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    served = [line.split() for line in done.stdout.splitlines() if line.startswith(processes.worker_pod)]
    assert served == [[processes.worker_pod, "ready", "1", processes.first]]
    assert done.stdout.endswith(f"1 of 1 ready workers serve {processes.first}\n")


def test_the_doctor_is_told_by_keda_how_the_workers_scale(processes: Processes, olga: Path, access: Access) -> None:
    done = waypost(olga, "doctor", "--json", **access)
    found = [one for one in json.loads(done.stdout)["findings"] if one["part"] == "keda"]
    assert [one["level"] for one in found] == ["ok"]
    assert found[0]["what"].startswith(f"{WORKER} scales")


def test_scale_in_is_paused_while_a_release_is_on_trial_and_then_goes_on(shop: Shop, processes: Processes) -> None:
    processes.publisher.good(2)
    with step("KEDA's scale-in paused by a trial"):
        wait_for("the ScaledObject is marked", lambda: shop.marks().get(PAUSED_SCALE_IN) == "true", 60)
        wait_for("KEDA told the HPA", lambda: _scale_down(shop).get("selectPolicy") == "Disabled", 60)

    def served() -> bool:
        for _ in range(20):
            ask(processes)
        return marks_of(shop, processes.worker_pod)[MODEL_VERSION] == "2"

    wait_for("the new release is served", served, 60)
    with step("scale-in goes on"):
        wait_for("the mark is gone", lambda: PAUSED_SCALE_IN not in shop.marks(), 120)
        wait_for("the HPA scales in again", lambda: _scale_down(shop).get("selectPolicy") != "Disabled", 60)


def _scale_down(shop: Shop) -> dict[str, object]:
    hpa = shop.plane.admin.get(*HPA)
    assert hpa is not None
    return dict(hpa["spec"]["behavior"]["scaleDown"])


@pytest.mark.parametrize("code", [0, 3])
def test_a_night_out_of_its_turn_is_followed_to_its_end(
    shop: Shop, olga: Path, night_log: Path, running: Running, code: int
) -> None:
    night_log.write_text("")
    name = f"night-{code}"
    environment = {"KUBECONFIG": str(olga)}
    process = running.start(name, [*WAYPOST, "night", "--now", "--cron-job", CRON_JOB], environment)
    wait_for("the night's pod runs", lambda: _night_pods(shop, "Running"), 60)
    for line in ("graph read", "release published"):
        with night_log.open("a") as log:  # as a kubelet keeps it
            log.write(f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%S.%f}000Z stdout F {line}\n")
        wait_for(f"{line!r} is shown", lambda said=line: said in running.said(name), 30)  # type: ignore[misc]
    pod = _night_pods(shop, "Running")[0]["metadata"]["name"]
    shop.plane.admin.merge("v1", "Pod", pod, NAMESPACE, {"metadata": {"annotations": {"tests/exit-code": str(code)}}})
    assert process.wait(timeout=60) == code, running.said(name)
    running.stop(name)


def _night_pods(shop: Shop, phase: str) -> list[Object]:
    return [pod for pod in shop.pods("trainer") if pod["status"].get("phase") == phase]


def test_while_a_night_runs_there_is_no_second_one(shop: Shop, olga: Path) -> None:
    shop.plane.admin.merge("batch/v1", "CronJob", CRON_JOB, NAMESPACE, {"spec": {"schedule": "* * * * *"}})
    try:
        wait_for("the CronJob runs one", lambda: _active(shop), 90)
        done = waypost(olga, "night", "--now", "--cron-job", CRON_JOB)
        assert done.returncode == 2, done.stderr
        assert "a night is running" in done.stderr
    finally:
        shop.plane.admin.merge(
            "batch/v1", "CronJob", CRON_JOB, NAMESPACE, {"spec": {"schedule": "0 3 * * *", "suspend": False}}
        )
        for job in shop.plane.admin.list("batch/v1", "Job", NAMESPACE):
            shop.plane.admin.call(
                "DELETE",
                f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{job['metadata']['name']}?propagationPolicy=Background",
            )


def _active(shop: Shop) -> list[Object]:
    held = shop.plane.admin.get("batch/v1", "CronJob", CRON_JOB, NAMESPACE)
    assert held is not None
    return list(held["status"].get("active") or [])


# What each may do, whole: `kubectl auth can-i --list` says nothing else.
GRANTED = {
    "worker": {
        ("patch", "", "pods", ""),
        ("get", "keda.sh", "scaledobjects", WORKER),
        ("patch", "keda.sh", "scaledobjects", WORKER),
    },
    "operator": {
        ("list", "", "pods", ""),
        ("get", "", "pods/log", ""),
        ("get", "batch", "cronjobs", CRON_JOB),
        ("create", "batch", "jobs", ""),
        ("get", "batch", "jobs", ""),
        ("get", "keda.sh", "scaledobjects", ""),
        ("list", "keda.sh", "scaledobjects", ""),
    },
    "gateway": set(),
    "trainer": set(),
}
ANYBODYS = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}  # of every account there is


def as_who(shop: Shop, who: str) -> Api:
    if who == "operator":
        return Api(shop.plane.server, shop.plane.authority.path, shop.plane.authority.issue("olga"))
    return shop.plane.as_account(NAMESPACE, f"waypost-{who}")


@pytest.mark.parametrize("who", GRANTED)
def test_the_chart_grants_what_the_code_calls_and_not_a_verb_more(shop: Shop, who: str) -> None:
    asked = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": NAMESPACE},
    }
    answer = as_who(shop, who).call("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", asked)
    found = {
        (verb, group, resource, name)
        for rule in answer["status"]["resourceRules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames") or [""]
        if resource not in ANYBODYS
    }
    assert found == GRANTED[who]


def worker_of(shop: Shop) -> tuple[Api, str, str]:
    """A worker as its own pod, that pod, and another one."""
    pod = next(pod for pod in shop.pods("worker") if is_ready(pod))
    bound = {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    api = Api(shop.plane.server, shop.plane.authority.path, shop.plane.token(NAMESPACE, WORKER, bound))
    return api, bound["name"], shop.pods("gateway")[0]["metadata"]["name"]


def test_a_worker_may_write_on_its_own_pod(shop: Shop) -> None:
    api, own, _ = worker_of(shop)
    api.merge("v1", "Pod", own, NAMESPACE, {"metadata": {"annotations": {RELEASE: "000001-mine"}}})
    assert marks_of(shop, own)[RELEASE] == "000001-mine"


def test_a_worker_may_not_write_on_another_pod(shop: Shop) -> None:
    api, _, other = worker_of(shop)
    with pytest.raises(ApiError, match="its own pod only"):
        api.merge("v1", "Pod", other, NAMESPACE, {"metadata": {"annotations": {RELEASE: "000001-false"}}})


@pytest.mark.parametrize(
    "patch",
    [
        {"metadata": {"annotations": {"prometheus.io/scrape": "false"}}},
        {"metadata": {"labels": {"app.kubernetes.io/component": "gateway"}}},
        {"metadata": {"ownerReferences": None}},
        {"spec": {"activeDeadlineSeconds": 1}},
    ],
)
def test_a_worker_may_change_nothing_else_of_its_pod(shop: Shop, patch: Object) -> None:
    api, own, _ = worker_of(shop)
    with pytest.raises(ApiError, match="may change"):
        api.merge("v1", "Pod", own, NAMESPACE, patch)


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"maxReplicaCount": 1_000}},
        {"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": "0"}}},
    ],
)
def test_a_worker_may_not_change_how_it_is_scaled(shop: Shop, patch: Object) -> None:
    api, _, _ = worker_of(shop)
    api_version, kind, name, namespace = SCALED_OBJECT
    with pytest.raises(ApiError, match="may change"):
        api.merge(api_version, kind, name, namespace, patch)


@pytest.mark.parametrize("who", GRANTED)
@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("DELETE", "/api/v1/namespaces/shop/pods/any"),
        ("GET", "/api/v1/namespaces/shop/secrets"),
        ("GET", "/api/v1/namespaces/shop/secrets/waypost-release-keys"),
        ("GET", "/api/v1/namespaces/kube-system/pods"),
        ("DELETE", "/apis/batch/v1/namespaces/shop/jobs/any"),
        ("DELETE", "/apis/keda.sh/v1alpha1/namespaces/shop/scaledobjects/waypost-worker"),
        ("DELETE", "/apis/apps/v1/namespaces/shop/deployments/waypost-gateway"),
        ("GET", "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles"),
        ("GET", "/apis/keda.sh/v1alpha1/namespaces/keda/scaledobjects"),
        ("GET", "/apis/keda.sh/v1alpha1/namespaces/shop/triggerauthentications/waypost-worker"),
    ],
)
def test_one_verb_more_is_refused(shop: Shop, who: str, verb: str, path: str) -> None:
    with pytest.raises(ApiError, match="403"):
        as_who(shop, who).call(verb, path)


def test_release_status_by_somebody_without_the_role_says_so_in_one_line(shop: Shop) -> None:
    mallory = shop.plane.kubeconfig("mallory", shop.plane.authority.issue("mallory"), NAMESPACE)
    done = waypost(mallory, "release", "status")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "check the role bindings" in done.stderr

"""The chart as text: it lints, renders and is valid for every way of installing it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.chart.charting import (
    CHART,
    REQUIRED,
    Helm,
    Object,
    Refusal,
    containers,
    merged,
    named,
    of_kind,
    pod_templates,
)
from tests.chart.schemas import Schemas
from tests.chart.value_sets import DIGEST, ROLE, VALUE_SETS

Rendered = dict[str, list[Object]]
PROMETHEUS = {"enabled": True, "serverAddress": "http://prometheus.monitoring.svc:9090"}
IMAGE = re.compile(r"registry\.example/waypost/waypost-(gateway|worker|trainer|triton):[\w.-]+(@sha256:[0-9a-f]{64})?")
every_value_set = pytest.mark.parametrize("values", VALUE_SETS)
NAME_CHARACTERS = 63  # of a DNS label; CronJobs leave 11 of them to their Jobs
CRON_JOB_NAME_CHARACTERS = 52


@every_value_set
def test_helm_finds_nothing_to_lint(helm: Helm, values: str) -> None:
    assert "0 chart(s) failed" in helm.run(["lint", str(CHART), "--strict"], VALUE_SETS[values])


@every_value_set
def test_every_object_is_valid_by_the_published_schemas(rendered: Rendered, schemas: Schemas, values: str) -> None:
    problems = {
        f"{one['kind']} {one['metadata']['name']}": found
        for one in rendered[values]
        if (found := schemas.problems(one))
    }
    assert not problems


def test_a_misspelt_field_is_not_valid(rendered: Rendered, schemas: Schemas) -> None:
    deployment = named(rendered["required only"], "Deployment", "waypost-worker")
    assert schemas.problems(merged(deployment, {"spec": {"replica": 1}}))


@every_value_set
def test_no_two_objects_have_one_name(rendered: Rendered, values: str) -> None:
    counted = Counter((one["kind"], one["metadata"]["name"]) for one in rendered[values])
    assert max(counted.values()) == 1


@every_value_set
def test_no_image_is_latest_and_every_one_has_a_place_for_its_digest(rendered: Rendered, values: str) -> None:
    for name, pod in pod_templates(rendered[values]):
        for one in containers(pod):
            assert IMAGE.fullmatch(one["image"]), f"{name}: {one['image']}"
            assert ":latest" not in one["image"]


def test_a_digest_pins_every_image(rendered: Rendered) -> None:
    images = {one["image"] for _, pod in pod_templates(rendered["pinned"]) for one in containers(pod)}
    assert len(images) == 4
    assert all(image.endswith(f"@{DIGEST}") for image in images)


def test_a_tag_called_latest_is_refused(helm: Helm) -> None:
    with pytest.raises(Refusal, match="/worker/image/tag"):
        helm.render(merged(REQUIRED, {"worker": {"image": {"tag": "latest"}}}))


def test_what_is_missing_is_named_all_at_once_with_its_remedy(helm: Helm) -> None:
    with pytest.raises(Refusal) as refusal:
        helm.render({})
    for name in (
        "image.registry", "postgres.existingSecret", "aws.region", "aws.bucket", "aws.requestQueueUrl",
    ):  # fmt: skip
        assert f"{name} is empty: " in refusal.value.said


def test_five_values_are_enough(helm: Helm) -> None:
    assert sum(len(part) for part in REQUIRED.values()) == 5
    assert helm.render(REQUIRED)


def _scaling(**values: object) -> Object:
    return {"worker": {"autoscaling": values}}


def _from_store(keys: Object) -> Object:
    return {"externalSecrets": {"enabled": True, "store": {"name": "aws"}, "remoteKeys": keys}}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"gateway": {"replica": 3}}, "additional properties 'replica' not allowed"),
        ({"gatway": {}}, "additional properties 'gatway' not allowed"),
        ({"worker": {"settings": {"REPLY_DOMAIN": "evil"}}}, "REPLY_DOMAIN"),
        ({"gateway": {"settings": {"CONCURENCY": 1}}}, "CONCURENCY"),
        ({"aws": {"requestQueueUrl": "https://sqs.eu-west-1.amazonaws.com/waypost"}}, "/aws/requestQueueUrl"),
        ({"aws": {"identity": "irsa"}}, "serviceAccount.roleArn"),
        ({"aws": {"region": "us-east-1"}}, "aws.requestQueueUrl is in eu-west-1 and aws.region is us-east-1"),
        ({"aws": {"existingSecret": "aws"}}, "aws.existingSecret is for aws.identity secret"),
        ({"gateway": {"serviceAccount": {"roleArn": ROLE}}}, "gateway.serviceAccount.roleArn is for aws.identity irsa"),
        (merged(VALUE_SETS["irsa"], {"aws": {"endpointUrl": "https://s3.example:8443"}}), "aws.endpointUrl"),
        (_scaling(fallback={"replicas": 30}), "worker.autoscaling.fallback.replicas (30) is above maxReplicas (20)"),
        (_scaling(floor={"enabled": True, "replicas": 50}), "floor.replicas (50) is above maxReplicas (20)"),
        (_scaling(floor={"enabled": True, "start": "0 7 * * *", "end": "0 7 * * *"}), "begins when it ends"),
        (_scaling(floor={"enabled": True, "replicas": 4}, arrivalRate=PROMETHEUS), "is below floor.replicas (4)"),
        (_scaling(arrivalRate={"enabled": True}), "arrivalRate.serverAddress is empty"),
        ({"gateway": {"podDisruptionBudget": {"maxUnavailable": 0}}}, "/gateway/podDisruptionBudget/maxUnavailable"),
        ({"worker": {"podDisruptionBudget": {"maxUnavailable": "0%"}}}, "/worker/podDisruptionBudget/maxUnavailable"),
        ({"worker": {"podDisruptionBudget": {"maxUnavailable": "999%"}}}, "/worker/podDisruptionBudget/maxUnavailable"),
        ({"gateway": {"resources": {"requests": {"cpu": None}}}}, "gateway.resources.requests.cpu, and there is none"),
        (_from_store({}), "externalSecrets.remoteKeys names no entry"),
        (
            merged(_from_store({"apiKeys": "a"}), {"keys": {"apiKeys": {"existingSecret": "mine"}}}),
            "would take your Secret",
        ),
        ({"externalSecrets": {"remoteKeys": {"apiKeys": "a"}}}, "externalSecrets.enabled is not"),
        ({"triton": {"sharedMemory": "16Gi"}}, "triton.resources.limits.memory (8Gi) is not above triton.sharedMemory"),
        ({"trainer": {"schedule": "61 99 * * *"}}, "/trainer/schedule"),
        ({"trainer": {"timeZone": "Berlin"}}, "/trainer/timeZone"),
        ({"observability": {"monitors": {"interval": "5m"}}}, "/observability/monitors/interval"),
        ({"worker": {"autoscaling": {"minReplicas": 30}}}, "maxReplicas"),
        ({"worker": {"autoscaling": {"requestsPerSecondPerPod": 1}}}, "below one message"),
        ({"externalSecrets": {"enabled": True}}, "externalSecrets.store.name"),
        ({"networkPolicy": {"callers": []}}, "/networkPolicy/callers"),
        ({"nameOverride": "My_App"}, "/nameOverride"),
        ({"commonLabels": {"app.kubernetes.io/name": "mine"}}, "/commonLabels"),
        ({"gateway": {"extraEnv": [{"name": "WAYPOST_GATEWAY_PORT", "value": "1"}]}}, "/gateway/extraEnv/0/name"),
        ({"worker": {"extraEnv": [{"name": "AWS_REGION", "value": "x"}]}}, "/worker/extraEnv/0/name"),
        ({"trainer": {"refresh": {"schedule": "often"}}}, "/trainer/refresh/schedule"),
        ({"fullnameOverride": "2.recs"}, "/fullnameOverride"),
        ({"triton": {"repositorySize": "4Gi"}}, "worker.resources.limits.memory (4Gi) is not above"),
        ({"triton": {"repositorySize": "4.1G"}, "worker": {"resources": {"limits": {"memory": "3900Mi"}}}}, "(3900Mi)"),
    ],
)
def test_what_makes_no_sense_is_refused(helm: Helm, values: Object, said: str) -> None:
    with pytest.raises(Refusal, match=re.escape(said)):
        helm.render(merged(REQUIRED, values))


@pytest.mark.parametrize("release", ["my.rel", "2nd"])
def test_a_release_whose_name_no_service_may_have_is_refused(helm: Helm, release: str) -> None:
    with pytest.raises(Refusal, match="set fullnameOverride"):
        helm.render(REQUIRED, release=release)
    assert helm.render(merged(REQUIRED, {"fullnameOverride": "recs"}), release=release)


def test_a_release_fits_beside_a_repository_of_just_below_its_limit(helm: Helm) -> None:
    assert helm.render(merged(REQUIRED, {"triton": {"repositorySize": "4095Mi"}}))


def test_external_secrets_without_their_operator_are_refused(helm: Helm) -> None:
    for apis in ((), ("external-secrets.io/v1beta1",)):
        with pytest.raises(Refusal, match=r"install the External Secrets Operator"):
            helm.render(VALUE_SETS["external secrets"], apis=apis)


OUTSIDE = {"gateway": {"service": {"type": "LoadBalancer"}}}
BLOCK = {"networkPolicy": {"callers": [{"ipBlock": {"cidr": "10.0.0.0/16"}}]}}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, False),
        (OUTSIDE, True),
        ({"gateway": {"ingress": {"enabled": True}}}, True),
        (merged(OUTSIDE, BLOCK), False),
        (merged(OUTSIDE, {"networkPolicy": {"enabled": False}}), False),
    ],
)
def test_the_notes_say_when_callers_from_outside_would_hang(helm: Helm, values: Object, said: bool) -> None:
    assert ("connections hang" in _notes(helm, values)) is said


def test_the_notes_name_the_night_of_this_release(helm: Helm) -> None:
    command = "waypost night --now --namespace rec --cron-job recs-trainer"
    assert command in _notes(helm, {"fullnameOverride": "recs"})


def test_the_notes_say_for_which_names_roles_are_made(helm: Helm) -> None:
    said = _notes(helm, {"fullnameOverride": "recs"})
    assert "-var namespace=rec -var fullname=recs" in said
    assert "has made" not in said


def test_the_notes_warn_of_a_rollback_where_keys_are_part_of_the_release(helm: Helm) -> None:
    assert "keys.keep is off" in _notes(helm, {})
    assert "keys.keep is off" not in _notes(helm, {"keys": {"keep": True}})


def _notes(helm: Helm, values: Object) -> str:
    said = helm.run(
        ["install", "waypost", str(CHART), "--namespace", "rec", "--dry-run=client"], merged(REQUIRED, values)
    )
    return " ".join(said[said.index("NOTES:") :].split())


def test_without_optional_kinds_in_the_cluster_their_objects_are_left_out(helm: Helm) -> None:
    objects = helm.render(VALUE_SETS["everything set"], apis=())
    assert {one["apiVersion"].split("/")[0] for one in objects} <= {
        "v1", "apps", "batch", "autoscaling", "policy", "networking.k8s.io", "rbac.authorization.k8s.io",
    }  # fmt: skip


def test_keda_alone_says_how_many_workers_there_are(helm: Helm) -> None:
    with_keda = named(helm.render(REQUIRED), "Deployment", "waypost-worker")
    without = named(helm.render(REQUIRED, apis=()), "Deployment", "waypost-worker")
    assert "replicas" not in with_keda["spec"]
    assert without["spec"]["replicas"] == 2


def test_the_autoscaler_alone_says_how_many_gateways_there_are(rendered: Rendered) -> None:
    scaled = named(rendered["required only"], "Deployment", "waypost-gateway")
    fixed = named(rendered["no scaling"], "Deployment", "waypost-gateway")
    assert "replicas" not in scaled["spec"]
    assert fixed["spec"]["replicas"] == 2


def test_a_long_release_name_still_fits(helm: Helm) -> None:
    for one in helm.render(REQUIRED, release="a-release-with-fifty-three-characters-as-helm-allows"):
        name = one["metadata"]["name"]
        limit = CRON_JOB_NAME_CHARACTERS if one["kind"] == "CronJob" else NAME_CHARACTERS
        limit -= len("keda-hpa-") if one["kind"] == "ScaledObject" else 0
        if one["kind"] not in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
            assert len(name) <= limit, f"{one['kind']} {name}"


def test_two_long_release_names_that_begin_alike_stay_two(helm: Helm) -> None:
    names = [
        {one["metadata"]["name"] for one in helm.render(REQUIRED, release=f"team-recommendations-production-eu-{way}")}
        for way in ("west-one", "west-two")
    ]
    assert not names[0] & names[1]


def test_what_belongs_to_no_namespace_is_one_installs_alone(helm: Helm) -> None:
    policies = [
        {one["metadata"]["name"] for one in helm.render(values, extra=["--namespace", namespace])
         if one["kind"].startswith("ValidatingAdmissionPolicy")}
        for namespace, values in (("shop", merged(REQUIRED, {"fullnameOverride": "eu-waypost"})), ("shop-eu", REQUIRED))
    ]  # fmt: skip
    assert policies[0]
    assert not policies[0] & policies[1]


def test_two_releases_share_no_object_and_no_pod(helm: Helm) -> None:
    one, other = helm.render(REQUIRED, release="waypost-eu"), helm.render(REQUIRED, release="waypost-us")
    names = [{(each["kind"], each["metadata"]["name"]) for each in objects} for objects in (one, other)]
    assert not names[0] & names[1]
    selectors = [str(named(objects, "Deployment", f"{release}-gateway")["spec"]["selector"])
                 for objects, release in ((one, "waypost-eu"), (other, "waypost-us"))]  # fmt: skip
    assert selectors[0] != selectors[1]


def test_a_new_version_of_the_chart_alone_replaces_no_pod(rendered: Rendered) -> None:
    for name, pod in pod_templates(rendered["required only"]):
        if not name.startswith("Pod "):
            assert "helm.sh/chart" not in pod["metadata"]["labels"]


def test_a_packaged_chart_holds_what_the_links_lead_to(helm: Helm, rendered: Rendered, tmp_path: Path) -> None:
    helm.run(["package", str(CHART), "--destination", str(tmp_path)])
    packaged = Helm(helm.binary, next(tmp_path.glob("*.tgz"))).render(REQUIRED)
    kinds = Counter(one["kind"] for one in packaged)
    assert kinds == Counter(one["kind"] for one in rendered["required only"])
    assert kinds["ScaledObject"] == 1


def test_the_admission_policy_goes_with_what_it_guards(helm: Helm, rendered: Rendered) -> None:
    kinds = {name: {one["kind"] for one in objects} for name, objects in rendered.items()}
    assert "ValidatingAdmissionPolicy" in kinds["required only"]
    assert "ValidatingAdmissionPolicy" not in kinds["bare"]
    assert not of_kind(rendered["bare"], "RoleBinding")

"""The scaling of workers: the numbers come from formulas, and the formulas give what they promise."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.chart.charting import REQUIRED, Helm, Object, merged, named
from tests.chart.value_sets import VALUE_SETS

Rendered = dict[str, list[Object]]


def _spec(objects: list[Object]) -> Any:
    return named(objects, "ScaledObject", "waypost-worker")["spec"]


def _trigger(spec: Any, name: str) -> Any:
    return next(trigger for trigger in spec["triggers"] if trigger["name"] == name)["metadata"]


@pytest.mark.parametrize(
    ("requests_per_second", "queue_seconds", "queue_length"), [(350, 0.1, 24), (100, 0.1, 7), (2300, 0.15, 241)]
)
def test_the_queue_length_is_what_one_pod_answers_in_time_with_a_third_to_spare(
    helm: Helm, requests_per_second: int, queue_seconds: float, queue_length: int
) -> None:
    scaling = {"requestsPerSecondPerPod": requests_per_second, "queueSeconds": queue_seconds}
    spec = _spec(helm.render(merged(REQUIRED, {"worker": {"autoscaling": scaling}})))
    assert _trigger(spec, "depth")["queueLength"] == str(queue_length)
    assert math.floor(0.7 * requests_per_second * queue_seconds) == queue_length


def test_workers_come_at_once_and_go_one_by_one(rendered: Rendered) -> None:
    behavior = _spec(rendered["required only"])["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]


def test_a_queue_that_cannot_be_read_takes_no_worker_away(rendered: Rendered) -> None:
    for values in ("required only", "scale to zero", "arrivals and floor"):
        fallback = _spec(rendered[values])["fallback"]
        assert fallback["behavior"] == "currentReplicasIfHigher"
        assert fallback["replicas"] >= 1


def test_the_last_worker_goes_only_where_that_is_wished(rendered: Rendered) -> None:
    assert _spec(rendered["required only"])["minReplicaCount"] == 1
    assert _spec(rendered["scale to zero"])["minReplicaCount"] == 0


def test_keda_reads_the_queue_by_its_own_identity_and_never_by_the_workers(rendered: Rendered) -> None:
    found = named(rendered["required only"], "TriggerAuthentication", "waypost-worker")["spec"]
    assert found == {"podIdentity": {"provider": "aws"}}


def test_an_emulator_is_read_where_it_is(rendered: Rendered) -> None:
    assert _trigger(_spec(rendered["emulator"]), "depth")["awsEndpoint"] == "http://10.0.0.5:4566"
    found = named(rendered["emulator"], "TriggerAuthentication", "waypost-worker")["spec"]["secretTargetRef"]
    assert {each["parameter"] for each in found} == {"awsAccessKeyID", "awsSecretAccessKey"}


@pytest.mark.parametrize(
    ("arrivals", "depth", "floor", "workers"),
    [(0, 0, 0, 0), (0, 0, 2, 2), (245, 0, 0, 1), (245, 24, 2, 2), (2_450, 0, 2, 10), (2_450, 240, 2, 20)],
)
def test_arrivals_and_backlog_add_up_and_the_floor_holds(
    rendered: Rendered, arrivals: int, depth: int, floor: int, workers: int
) -> None:
    spec = _spec(rendered["arrivals and floor"])
    modifiers = spec["advanced"]["scalingModifiers"]
    assert {trigger["name"] for trigger in spec["triggers"]} == {"depth", "arrivals", "floorhours"}
    names = {"max": max, "arrivals": arrivals, "depth": depth, "floorhours": floor}
    wanted = eval(modifiers["formula"], {"__builtins__": {}}, names)
    assert math.ceil(wanted / float(modifiers["target"])) == workers


@pytest.mark.parametrize("messages", [0, 4, 5, 24])
@pytest.mark.parametrize("activation", [0, 1, 4, 5])
def test_with_a_formula_as_many_messages_wake_the_first_worker_as_without(
    helm: Helm, messages: int, activation: int
) -> None:
    arrivals = {"enabled": True, "serverAddress": "http://prometheus:9090"}
    scaling = {"scaleToZero": True, "activationQueueLength": activation, "arrivalRate": arrivals}
    spec = _spec(helm.render(merged(REQUIRED, {"worker": {"autoscaling": scaling}})))
    modifiers = spec["advanced"]["scalingModifiers"]
    wish = eval(modifiers["formula"], {"__builtins__": {}}, {"arrivals": 0, "depth": messages})
    assert (wish > float(modifiers["activationTarget"])) is (messages > activation)


@pytest.mark.parametrize(("interval", "seconds"), [("15s", 60), ("30s", 120), ("1m", 240)])
def test_arrivals_are_counted_over_four_scrapes(helm: Helm, interval: str, seconds: int) -> None:
    values = merged(VALUE_SETS["arrivals and floor"], {"observability": {"monitors": {"interval": interval}}})
    assert f"[{seconds}s]" in _trigger(_spec(helm.render(values)), "arrivals")["query"]


def test_in_production_the_fallback_is_no_fewer_than_the_floor_and_no_prometheus_is_guessed(rendered: Rendered) -> None:
    spec = _spec(rendered["production"])
    assert {trigger["type"] for trigger in spec["triggers"]} == {"aws-sqs-queue", "cron"}
    assert spec["fallback"]["replicas"] >= int(_trigger(spec, "floorhours")["desiredReplicas"])


def test_a_target_that_the_fallback_can_use_is_a_whole_number(rendered: Rendered) -> None:
    target = _spec(rendered["arrivals and floor"])["advanced"]["scalingModifiers"]["target"]
    assert int(target) > 0  # KEDA 2.20 leaves the fallback out otherwise

"""The chart and the code agree: settings, probes, exit codes and times are those of the processes themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, cast

import pytest

from tests.chart.charting import (
    CHART,
    REQUIRED,
    Helm,
    Object,
    container,
    containers,
    environment,
    merged,
    named,
    of_kind,
    pod_templates,
)
from tests.chart.value_sets import VALUE_SETS
from waypost.gateway import servers
from waypost.limits import MAX_DEADLINE_MS
from waypost.queueing.replies import DEFAULT_REPLY_PORT, ReplyResolver
from waypost.settings import (
    CacheSettings,
    ExporterSettings,
    GatewaySettings,
    Settings,
    SharedSettings,
    TrainerSettings,
    WorkerSettings,
    check_settings,
    read_settings,
)
from waypost.verbs.refresh import VERBS as REFRESH_VERBS
from waypost.worker import triton_keeper

Rendered = dict[str, list[Object]]
PROCESSES: dict[str, tuple[type[Settings], ...]] = {
    "gateway": (SharedSettings, GatewaySettings),
    "worker": (SharedSettings, WorkerSettings),
    "trainer": (SharedSettings, TrainerSettings, ExporterSettings, CacheSettings),
}
POD = {  # what the downward API and Secrets give
    "WAYPOST_NAMESPACE": "rec",
    "WAYPOST_POD_NAME": "waypost-gateway-5d8f-x7k2p",
    "WAYPOST_GATEWAY_REPLY_ADDRESS": "10.0.3.7",
    "WAYPOST_POSTGRES_DSN": "postgresql://reader@postgres/app",
}
every_value_set = pytest.mark.parametrize("values", VALUE_SETS)


def _environments(objects: list[Object]) -> Iterator[tuple[str, dict[str, str]]]:
    for _, pod in pod_templates(objects):
        for one in containers(pod):
            if one["name"] in PROCESSES:
                yield one["name"], {**environment(one), **{k: v for k, v in POD.items() if k in environment(one)}}


@every_value_set
def test_every_process_takes_the_settings_that_it_is_given(rendered: Rendered, values: str) -> None:
    seen = set()
    for process, variables in _environments(rendered[values]):
        check_settings(PROCESSES[process], variables)
        assert variables["WAYPOST_EMBEDDED"] == "never"
        seen.add(process)
    assert seen == set(PROCESSES)


@every_value_set
def test_no_variable_is_given_twice(rendered: Rendered, values: str) -> None:
    for _, pod in pod_templates(rendered[values]):
        for one in containers(pod):
            names = [entry["name"] for entry in one.get("env", [])]
            assert len(names) == len(set(names))


def test_operators_cannot_set_what_the_chart_sets(rendered: Rendered) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    for process, variables in _environments(rendered["everything set"] + rendered["required only"]):
        prefix = f"WAYPOST_{process.upper()}_" if process != "trainer" else ""
        allowed = re.compile(next(iter(schema["properties"][process]["properties"]["settings"]["patternProperties"])))
        given = set(VALUE_SETS["everything set"].get(process, {}).get("settings", {}))
        ours = {name.removeprefix(prefix) for name in variables if name.startswith(prefix or "WAYPOST_")} - given
        assert not [name for name in ours if allowed.fullmatch(name)]


def test_settings_reach_the_process_as_they_were_meant(helm: Helm) -> None:
    """YAML makes 1000000 a float, which Go writes as 1e+06, and `off` a boolean."""
    given = {
        "gateway": {"settings": {"CONCURRENCY": 1_000_000, "REQUESTS_PER_SECOND": 0.5, "METRICS": False}},
        "worker": {"settings": {"METRICS": True, "HOLD_SECONDS": "20261121"}},
        "trainer": {"settings": {"WAYPOST_TRAINER_SEED": 20_261_121}},
    }
    found = dict(_environments(helm.render(merged(REQUIRED, given))))
    for process, variables in found.items():
        check_settings(PROCESSES[process], variables)
    gateway = read_settings(GatewaySettings, found["gateway"])
    assert (gateway.concurrency, gateway.requests_per_second, gateway.metrics) == (1_000_000, 0.5, "off")
    worker = read_settings(WorkerSettings, found["worker"])
    assert (worker.metrics, worker.hold_seconds) == ("on", 20_261_121)
    assert read_settings(TrainerSettings, found["trainer"]).seed == 20_261_121


def test_a_worker_replies_to_the_address_that_the_gateway_gives_inside_the_headless_service(rendered: Rendered) -> None:
    objects = rendered["required only"]
    variables = dict(_environments(objects))
    gateway = read_settings(GatewaySettings, variables["gateway"])
    worker = read_settings(WorkerSettings, variables["worker"])
    host, port = ReplyResolver(worker.reply_domain).resolve(f"{gateway.reply_address}:{gateway.reply_port}")
    assert (host, port) == ("10-0-3-7.waypost-gateway-replies.rec.svc.cluster.local", DEFAULT_REPLY_PORT)
    service = named(objects, "Service", "waypost-gateway-replies")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True


@pytest.mark.parametrize(
    ("address", "label"), [("10.0.3.7", "10-0-3-7"), ("fd00::7", "fd00--7"), ("gateway-1", "gateway-1")]
)
def test_a_pods_address_becomes_its_name_in_a_headless_service(address: str, label: str) -> None:
    assert read_settings(GatewaySettings, {"WAYPOST_GATEWAY_REPLY_ADDRESS": address}).reply_address == label


def test_probes_ask_where_the_processes_answer(rendered: Rendered) -> None:
    for name in ("gateway", "worker"):
        pod = named(rendered["required only"], "Deployment", f"waypost-{name}")["spec"]["template"]
        one = container(pod, name)
        ports = {port["name"]: port["containerPort"] for port in one["ports"]}
        variables = environment(one)
        asked = {probe: one[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
        assert [asked[probe]["path"] for probe in asked] == ["/healthz", "/healthz", "/readyz"]
        setting = "WAYPOST_GATEWAY_PORT" if name == "gateway" else "WAYPOST_WORKER_METRICS_PORT"
        assert {ports[where["port"]] for where in asked.values()} == {int(variables[setting])}


def test_triton_is_kept_as_its_keeper_wants_it_and_reached_from_its_pod_alone(rendered: Rendered) -> None:
    pods = [pod for _, pod in pod_templates(rendered["required only"]) if "initContainers" in pod["spec"]]
    assert len(pods) == 2  # worker and trainer
    for pod in pods:
        triton = container(pod, "triton")
        assert triton in pod["spec"]["initContainers"]
        assert triton["restartPolicy"] == "Always"
        options = _keeper_options(triton["args"])
        assert options["--repository"] == "/models"
        assert 0 < float(options["--exit-timeout-secs"]) < float(options["--stop-seconds"])
        assert options["--http-address"] == options["--grpc-address"] == "127.0.0.1"
        assert options["--model-control-mode"] == "explicit"
        assert "livenessProbe" not in triton  # it says ready over a dead model; the worker knows better
        process = next(one for one in pod["spec"]["containers"] if one["name"] in PROCESSES)
        assert environment(process)["WAYPOST_TRITON_URL"] == f"127.0.0.1:{options['--grpc-port']}"
        mounts = [{mount["name"] for mount in one["volumeMounts"]} for one in (triton, process)]
        assert "models" in mounts[0] & mounts[1]


def _keeper_options(arguments: list[str]) -> dict[str, str]:
    assert arguments[arguments.index("--") + 1] == "tritonserver"
    pairs = (argument.split("=", 1) for argument in arguments if "=" in argument)
    return {name: value for name, value in cast("Iterator[list[str]]", pairs)}  # noqa: C416  for mypy


def test_the_keeper_takes_the_arguments_that_the_chart_gives(rendered: Rendered, monkeypatch: Any) -> None:
    pod = named(rendered["required only"], "Deployment", "waypost-worker")["spec"]["template"]
    started: list[Any] = []

    def run(keeper: triton_keeper.Keeper) -> int:
        started.append(keeper)
        return 0

    monkeypatch.setattr(triton_keeper.Keeper, "run", run)
    assert triton_keeper.main(container(pod, "triton")["args"]) == 0
    assert started[0]._command[0] == "tritonserver"
    assert started[0]._stop_seconds == 10


def test_memory_is_what_triton_shares(rendered: Rendered) -> None:
    pod = named(rendered["required only"], "Deployment", "waypost-worker")["spec"]["template"]
    volumes = {volume["name"]: volume.get("emptyDir", {}) for volume in pod["spec"]["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container(pod, "triton")["volumeMounts"]}
    assert volumes[mounts["/dev/shm"]]["medium"] == volumes[mounts["/models"]]["medium"] == "Memory"
    assert "medium" not in volumes["kept"]  # a release that outlives the container lies on disk


def test_a_pods_grace_is_what_its_parts_need_one_after_the_other(rendered: Rendered) -> None:
    graces = {
        name: named(rendered["required only"], "Deployment", f"waypost-{name}")["spec"]["template"]["spec"][
            "terminationGracePeriodSeconds"
        ]
        for name in ("gateway", "worker")
    }
    assert graces["gateway"] >= 5 + servers.IN_FLIGHT_SECONDS
    assert servers.IN_FLIGHT_SECONDS >= MAX_DEADLINE_MS / 1_000
    settings = WorkerSettings.model_fields
    answer, load = settings["triton_timeout_seconds"].default, settings["load_timeout_seconds"].default
    assert graces["worker"] == answer + 25 + 2 * load + 10 + 5


def test_gateways_measure_the_dead_letter_queue_that_workers_fill(rendered: Rendered) -> None:
    told = {
        environment(
            container(
                named(rendered["everything set"], "Deployment", f"recommendations-{name}")["spec"]["template"], name
            )
        )[f"WAYPOST_{name.upper()}_DEAD_LETTER_QUEUE_URL"]
        for name in ("gateway", "worker")
    }
    assert told == {"https://sqs.eu-west-1.amazonaws.com/123456789012/waypost-requests-dead"}


def test_a_workers_grace_follows_its_timeouts(helm: Helm) -> None:
    slow = {"worker": {"settings": {"TRITON_TIMEOUT_SECONDS": 7.5, "LOAD_TIMEOUT_SECONDS": 300}}}
    spec = named(helm.render(merged(REQUIRED, slow)), "Deployment", "waypost-worker")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == 8 + 25 + 2 * 300 + 10 + 5


def test_a_nights_grace_covers_the_end_of_its_triton(helm: Helm) -> None:
    values = {"triton": {"stopSeconds": 300}, "trainer": {"refresh": {"enabled": True}}}
    for job in of_kind(helm.render(merged(REQUIRED, values)), "CronJob"):
        spec = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] > 300


@pytest.mark.parametrize(("interval", "seconds"), [("15s", "45"), ("1m", "180")])
def test_the_end_of_a_night_stays_to_be_read_three_times(helm: Helm, interval: str, seconds: str) -> None:
    objects = helm.render(merged(REQUIRED, {"observability": {"monitors": {"interval": interval}}}))
    pod = named(objects, "CronJob", "waypost-trainer")["spec"]["jobTemplate"]["spec"]["template"]
    assert environment(container(pod, "trainer"))["WAYPOST_TRAINER_METRICS_LINGER_SECONDS"] == seconds


def test_pods_run_on_nodes_that_the_images_were_built_for(helm: Helm, rendered: Rendered) -> None:
    for values in ("required only", "everything set"):
        for name, pod in pod_templates(rendered[values]):
            assert pod["spec"]["nodeSelector"]["kubernetes.io/arch"] == "amd64", name
    for _, pod in pod_templates(helm.render(merged(REQUIRED, {"image": {"architecture": ""}}))):
        assert "nodeSelector" not in pod["spec"]


@pytest.mark.parametrize(("device", "values"), [("gpu", "required only"), ("cpu", "cpu")])
def test_a_profile_says_where_the_model_runs(rendered: Rendered, device: str, values: str) -> None:
    pod = named(rendered[values], "Deployment", "waypost-worker")["spec"]["template"]
    limits = container(pod, "triton")["resources"]["limits"]
    tolerated = [each["key"] for each in pod["spec"].get("tolerations", [])]
    assert environment(container(pod, "worker"))["WAYPOST_WORKER_TRITON_DEVICE"] == device
    assert ("nvidia.com/gpu" in limits) is (device == "gpu")
    assert ("nvidia.com/gpu" in tolerated) is (device == "gpu")


def test_a_night_is_tried_again_only_where_that_may_help(rendered: Rendered) -> None:
    job = named(rendered["required only"], "CronJob", "waypost-trainer")["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    assert job["timeZone"] == "Etc/UTC"
    refusals, drains = job["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert refusals["action"] == "FailJob"
    assert refusals["onExitCodes"]["values"] == [2, 3, 4, 78]
    assert drains["action"] == "Ignore"
    pod = job["jobTemplate"]["spec"]["template"]
    assert pod["spec"]["restartPolicy"] == "Never"  # what podFailurePolicy asks for
    assert container(pod, "trainer")["args"] == ["night"]


def test_a_gpu_trains_the_model_where_one_is_given(rendered: Rendered) -> None:
    pod = named(rendered["everything set"], "CronJob", "recommendations-trainer")["spec"]["jobTemplate"]["spec"][
        "template"
    ]
    trainer = container(pod, "trainer")
    assert environment(trainer)["WAYPOST_TRAINER_DEVICE"] == "cuda"
    assert trainer["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert environment(trainer)["WAYPOST_TRAINER_EPOCHS"] == "40"


def test_service_accounts_have_roles_only_where_annotations_give_them(rendered: Rendered) -> None:
    for values, annotated in (("required only", False), ("irsa", True)):
        for part in PROCESSES:
            account = named(rendered[values], "ServiceAccount", f"waypost-{part}")
            assert ("eks.amazonaws.com/role-arn" in account["metadata"].get("annotations", {})) is annotated


def test_triton_gets_no_credentials(rendered: Rendered) -> None:
    for values in ("emulator", "irsa"):
        for _, pod in pod_templates(rendered[values]):
            for one in containers(pod):
                if one["name"] == "triton":
                    assert pod["metadata"]["annotations"]["eks.amazonaws.com/skip-containers"] == "triton"
                    assert not {name for name in environment(one) if name.startswith("AWS_")}


def test_rights_are_those_that_the_code_uses(rendered: Rendered) -> None:
    objects = rendered["everything set"]
    rights = {
        name: {
            (resource, verb, *rule.get("resourceNames", []))
            for rule in named(objects, "Role", f"recommendations-{name}")["rules"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        for name in ("worker", "operator")
    }
    assert rights["worker"] == {
        ("pods", "patch"),
        ("scaledobjects", "get", "recommendations-worker"),
        ("scaledobjects", "patch", "recommendations-worker"),
    }
    assert rights["operator"] == {
        ("pods", "list"), ("pods/log", "get"), ("jobs", "create"), ("jobs", "get"),
        ("cronjobs", "get", "recommendations-trainer"), ("scaledobjects", "get"), ("scaledobjects", "list"),
    }  # fmt: skip
    assert len([one for one in objects if one["kind"] == "Role"]) == 2


def test_nobody_is_an_operator_unless_named(rendered: Rendered) -> None:
    bound = {one["metadata"]["name"] for one in rendered["required only"] if one["kind"] == "RoleBinding"}
    assert bound == {"waypost-worker"}


@pytest.mark.parametrize("override", [{}, {"nameOverride": "recs"}])
def test_prometheus_knows_our_jobs_by_the_same_names_under_any_name(helm: Helm, override: Object) -> None:
    objects = helm.render(merged(REQUIRED, override))
    jobs = {}
    for one in of_kind(objects, "ServiceMonitor") + of_kind(objects, "PodMonitor"):
        component = one["metadata"]["labels"]["app.kubernetes.io/component"]
        for endpoint in one["spec"].get("endpoints", []) + one["spec"].get("podMetricsEndpoints", []):
            (relabeling,) = endpoint["relabelings"]
            assert relabeling["targetLabel"] == "job"
            jobs[component, endpoint["port"]] = relabeling["replacement"]
    assert jobs == {
        ("gateway", "metrics"): "waypost-gateway", ("worker", "metrics"): "waypost-worker",
        ("worker", "triton"): "waypost-worker", ("trainer", "metrics"): "waypost-trainer",
    }  # fmt: skip


def test_alerts_link_to_the_runbook_where_it_is_read(helm: Helm, rendered: Rendered) -> None:
    url = "https://wiki.example/waypost"
    linked = helm.render(merged(REQUIRED, {"observability": {"rules": {"runbookUrl": url}}}))
    plain = [each["annotations"]["runbook"] for each in _alerts(rendered["required only"])]
    assert plain
    assert all(each.startswith("runbook.md#waypost") for each in plain)
    wanted = [each.replace("runbook.md", url) for each in plain]
    assert [each["annotations"]["runbook_url"] for each in _alerts(linked)] == wanted


def _alerts(objects: list[Object]) -> list[Object]:
    groups = [group for one in of_kind(objects, "PrometheusRule") for group in one["spec"]["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_the_mapping_is_mounted_where_its_setting_says(rendered: Rendered) -> None:
    objects = rendered["everything set"]
    pod = named(objects, "CronJob", "recommendations-trainer")["spec"]["jobTemplate"]["spec"]["template"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container(pod, "trainer")["volumeMounts"]}
    assert environment(container(pod, "trainer"))["WAYPOST_MAPPING_FILE"] == f"{mounts['mapping']}/mapping.toml"
    said = named(objects, "ConfigMap", "recommendations-mapping")["data"]["mapping.toml"]
    assert said == VALUE_SETS["everything set"]["postgres"]["mapping"]


def test_between_nights_nothing_is_refreshed_unless_wished(rendered: Rendered) -> None:
    assert {one["metadata"]["name"] for one in of_kind(rendered["required only"], "CronJob")} == {"waypost-trainer"}


def test_a_refresh_is_done_as_a_night_is_but_on_cpu_and_without_metrics(rendered: Rendered) -> None:
    night, refresh = (
        named(rendered["everything set"], "CronJob", f"recommendations-{name}")["spec"]
        for name in ("trainer", "refresh")
    )
    assert night["concurrencyPolicy"] == refresh["concurrencyPolicy"] == "Forbid"
    assert (refresh["schedule"], refresh["startingDeadlineSeconds"]) == ("*/15 * * * *", 300)
    jobs = [one["jobTemplate"]["spec"] for one in (night, refresh)]
    assert jobs[0]["podFailurePolicy"] == jobs[1]["podFailurePolicy"]
    assert (jobs[1]["activeDeadlineSeconds"], jobs[1]["backoffLimit"]) == (1_800, 0)
    nightly, quick = (container(job["template"], "trainer") for job in jobs)
    assert (nightly["args"], quick["args"]) == (["night"], ["refresh"])
    assert {*REFRESH_VERBS} == {"refresh"}
    differing = {name for name, value in environment(nightly).items() if environment(quick).get(name) != value}
    assert differing == {
        "WAYPOST_TRAINER_DEVICE", "WAYPOST_TRAINER_METRICS_HOST", "WAYPOST_TRAINER_METRICS_PORT",
        "WAYPOST_TRAINER_METRICS_LINGER_SECONDS",
    }  # fmt: skip
    assert environment(quick).keys() <= environment(nightly).keys()
    assert "ports" not in quick
    assert nightly["volumeMounts"] == quick["volumeMounts"]
    assert container(jobs[0]["template"], "triton") == container(jobs[1]["template"], "triton")
    assert "nvidia.com/gpu" not in quick["resources"]["limits"]


def test_what_operators_add_reaches_every_process(rendered: Rendered) -> None:
    objects = rendered["everything set"]
    for name, pod in pod_templates(objects):
        if name.startswith("Pod "):
            continue
        process = next(one for one in pod["spec"]["containers"] if one["name"] in PROCESSES)
        assert environment(process)["AWS_CA_BUNDLE"] == "/etc/ca/ca.crt"
        assert "/etc/ca" in {mount["mountPath"] for mount in process["volumeMounts"]}
        assert pod["metadata"]["labels"]["team"] == "discovery"
        assert "AWS_CA_BUNDLE" not in environment(container(pod, "triton")) if "worker" in name else True
    assert all(one["metadata"]["labels"]["team"] == "discovery" for one in objects)


def test_postgres_is_believed_by_the_certificates_that_were_named(rendered: Rendered) -> None:
    job = named(rendered["everything set"], "CronJob", "recommendations-trainer")["spec"]["jobTemplate"]["spec"]
    trainer = container(job["template"], "trainer")
    mounts = {mount["name"]: mount["mountPath"] for mount in trainer["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in job["template"]["spec"]["volumes"]}
    assert environment(trainer)["PGSSLROOTCERT"] == f"{mounts['postgres']}/ca.crt"
    assert volumes["postgres"]["configMap"]["name"] == "rds"
    plain = named(rendered["required only"], "CronJob", "waypost-trainer")["spec"]["jobTemplate"]["spec"]["template"]
    assert "PGSSLROOTCERT" not in environment(container(plain, "trainer"))


def test_pods_with_a_gpu_alone_have_its_runtime_class(rendered: Rendered) -> None:
    classes = {name: pod["spec"].get("runtimeClassName") for name, pod in pod_templates(rendered["everything set"])}
    assert {name for name, found in classes.items() if found == "nvidia"} == {
        "Deployment recommendations-worker", "CronJob recommendations-trainer",
    }  # fmt: skip


@pytest.mark.parametrize(("surge", "away"), [(1, 0), ("25%", 0), (0, 1), ("0%", 1)])
def test_an_upgrade_without_a_gpu_to_spare_takes_one_worker_away_first(helm: Helm, surge: object, away: int) -> None:
    deployment = named(helm.render(merged(REQUIRED, {"worker": {"maxSurge": surge}})), "Deployment", "waypost-worker")
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": surge, "maxUnavailable": away}

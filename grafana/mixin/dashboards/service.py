"""Service: what callers feel now, against yesterday and against the release before, and which stage it comes from."""

from __future__ import annotations

from grafana.mixin.panels import RED, YELLOW, Dashboard, Panel, Query, Row

OBJECTIVE_SECONDS = 0.25  # DESIGN 3.5: 99 % within 250 ms
_STAGES = 'stage=~"$stage", model_version=~"$release"'
KEY_DAYS, CERTIFICATE_DAYS, DAY = 180, 14, 86_400  # WaypostKeyOld


def _whole(quantile: float, ago: str = "") -> str:
    buckets = f"rate(waypost_gateway_request_seconds_bucket{{NS}}[5m]{ago})"
    return f"histogram_quantile({quantile:.2f}, sum by (le) ({buckets}))"


_NOW = Row(
    "Now",
    [
        Panel(
            "p99",
            "99 of 100 answers are faster than this. Orange: near the objective of 250 ms; red: beyond it.",
            [Query("max(waypost:gateway_request_seconds_all:p99{NS})")],
            "s",
            "stat",
            4,
            [(0.2, YELLOW), (OBJECTIVE_SECONDS, RED)],
        ),
        Panel(
            "Requests",
            "Requests a second, whatever became of them. Zero where there should be some: look at the load balancer.",
            [Query("sum(rate(waypost_gateway_requests_total{NS}[5m]))")],
            "reqps",
            "stat",
            4,
        ),
        Panel(
            "Answered 200",
            "Of the valid requests. Below 99.9 % the budget of availability shrinks.",
            [Query('1 - max(waypost:objective_errors:ratio_rate5m{NS, objective="availability"})')],
            "percentunit",
            "stat",
            4,
            decimals=2,
        ),
        Panel(
            "Degraded",
            "Answers of the popularity list where the model should have ranked. Orange from 1 %, red from 5 %.",
            [Query('max(waypost:objective_errors:ratio_rate5m{NS, objective="degraded"})')],
            "percentunit",
            "stat",
            4,
            [(0.01, YELLOW), (0.05, RED)],
            decimals=2,
        ),
        Panel(
            "Latency budget left, 3 days",
            "Share of three days' error budget of latency that is not spent. Negative: more was spent than there was.",
            [Query('1 - max(waypost:objective_errors:ratio_rate3d{NS, objective="latency"}) / 0.01')],
            "percentunit",
            "stat",
            4,
        ),
        Panel(
            "Slower than the release before",
            "By how much the p99 of the slowest stage grew with the newest release or code. From 50 ms an alert fires.",
            [Query('max(waypost:worker_stage_seconds:growth{NS, quantile="0.99"}) or vector(0)')],
            "s",
            "stat",
            4,
            [(0.025, YELLOW), (0.05, RED)],
        ),
    ],
)

_LATENCY = Row(
    "Latency",
    [
        Panel(
            "Whole requests: p50, p95, p99, now and a day ago",
            "From a whole request to its written answer. When p99 leaves yesterday's line and p50 does not, a part of "
            "the requests is slow: see the stages on the right. The line is the objective.",
            [
                *(Query(_whole(quantile), f"p{quantile:.0%}".rstrip("%")) for quantile in (0.50, 0.95, 0.99)),
                *(
                    Query(_whole(quantile, " offset 1d"), f"p{quantile:.0%}".rstrip("%") + " a day ago")
                    for quantile in (0.50, 0.95, 0.99)
                ),
            ],
            "s",
            width=12,
            thresholds=[(OBJECTIVE_SECONDS, RED)],
        ),
        Panel(
            "Whole requests: p99 by release, and of the release before",
            "The newest release's line above that of the release before: callers feel it. Which stage it is, the panel "
            "of stages against the release before says. 0: no other release answered in two days.",
            [
                Query("max by (model_version) (waypost:gateway_answer_seconds:p99{NS})", "release {{model_version}}"),
                Query(
                    "max(waypost:gateway_answer_seconds:p99_before{NS}) or "
                    "max(waypost:gateway_answer_seconds:p99{NS}) * 0",
                    "the release before",
                ),
            ],
            "s",
            width=12,
            thresholds=[(OBJECTIVE_SECONDS, RED)],
        ),
        Panel(
            "p99 by stage of the gateway",
            "`wait` is the queue, the worker and the reply seen from here; the other three are this process alone. One "
            "line a version of the gateway: what WaypostGatewaySlower compares.",
            [
                Query(
                    "histogram_quantile(0.99, sum by (stage, version, le) (rate(waypost_gateway_stage_seconds_bucket"
                    '{NS, stage=~"$gateway_stage"}[5m])))',
                    "{{stage}} of {{version}}",
                ),
                Query(
                    'max by (stage) (waypost:gateway_stage_seconds:p99{NS, stage=~"$gateway_stage"} offset 1d)',
                    "{{stage}} a day ago",
                ),
            ],
            "s",
            width=12,
        ),
        Panel(
            "p99 by stage of the worker, now and a day ago",
            "The stage whose line left yesterday's is the one that got slower, whatever the release.",
            [
                Query('max by (stage) (waypost:worker_stage_seconds:p99{NS, stage=~"$stage"})', "{{stage}}"),
                Query(
                    'max by (stage) (waypost:worker_stage_seconds:p99{NS, stage=~"$stage"} offset 1d)',
                    "{{stage}} a day ago",
                ),
            ],
            "s",
            width=12,
        ),
        Panel(
            "p99 by stage of the worker, release and version",
            "One line a stage, release and version of the code: what made one stage slower shows as two lines apart.",
            [
                Query(
                    "histogram_quantile(0.99, sum by (stage, model_version, version, le) "
                    "(rate(waypost_worker_stage_seconds_bucket{NS, " + _STAGES + "}[5m])))",
                    "{{stage}} of {{model_version}}, worker {{version}}",
                )
            ],
            "s",
            width=12,
        ),
        Panel(
            "Stages: newest release or code against the last good one, p99",
            "Positive: the newest is slower. From 50 ms on, WaypostReleaseSlower (against a release) or "
            "WaypostWorkerSlower (against code) fires. All 0: in two days there was nothing to compare with.",
            [
                Query(
                    "max by (stage, model_version, version, against) ("
                    'waypost:worker_stage_seconds:growth{NS, quantile="0.99"}) '
                    "or on () max by (stage) (waypost:worker_stage_seconds:p99{NS} * 0)",
                    "{{stage}} of {{model_version}} {{version}} (against {{against}})",
                )
            ],
            "s",
            "bargauge",
            12,
            [(0.025, YELLOW), (0.05, RED)],
        ),
        Panel(
            "p99 by source",
            "`graphsage` answers have crossed the queue; `popular` ones that are degraded took the whole deadline "
            "unless the breaker was open.",
            [
                Query("waypost:gateway_request_seconds:p99{NS}", "{{source}}"),
                Query("max by (source) (waypost:gateway_request_seconds:p99{NS} offset 1d)", "{{source}} a day ago"),
            ],
            "s",
            width=12,
        ),
        Panel(
            "Where the time goes: mean by stage",
            "The four stages stack to the mean of the whole. The widest band is where to look.",
            [
                Query(
                    "sum by (stage) (rate(waypost_gateway_stage_seconds_sum{NS}[5m])) / ignoring (stage) group_left () "
                    "sum(rate(waypost_gateway_request_seconds_count{NS}[5m]))",
                    "{{stage}}",
                )
            ],
            "s",
            width=12,
            stacked=True,
        ),
    ],
)

_TRAFFIC = Row(
    "Traffic and errors",
    [
        Panel(
            "Requests by status and source",
            "200 by source; else a caller's mistake (4xx), a quota or a cap (429), or no release at all (503).",
            [Query("sum by (code, source) (rate(waypost_gateway_requests_total{NS}[5m]))", "{{code}} {{source}}")],
            "reqps",
            stacked=True,
        ),
        Panel(
            "Degraded answers by cause",
            "timeout: no reply in time (workers). queue: SQS refused. breaker: not even asked. else: the logs.",
            [
                Query("sum by (cause) (rate(waypost_gateway_degraded_total{NS}[5m]))", "{{cause}}"),
            ],
            "reqps",
            stacked=True,
        ),
        Panel(
            "Burn rate of the error budgets, 1 hour",
            "1 spends a month's budget in a month; from 14.4 on somebody is woken.",
            [
                Query('waypost:objective_errors:ratio_rate1h{NS, objective!="availability"} / 0.01', "{{objective}}"),
                Query('waypost:objective_errors:ratio_rate1h{NS, objective="availability"} / 0.001', "{{objective}}"),
            ],
            "short",
            thresholds=[(14.4, RED)],
        ),
        Panel(
            "In flight",
            "Requests that wait for their answer, by gateway. Near WAYPOST_GATEWAY_CONCURRENCY the next ones get 429.",
            [Query("waypost_gateway_in_flight_requests{NS}", "{{pod}} {{instance}}")],
            "short",
        ),
        Panel(
            "Breaker",
            "0: the queue is asked. 1: a growing share is. 2: nobody is, answers are degraded at once.",
            [Query("waypost_gateway_breaker_state{NS}", "{{pod}} {{instance}}")],
            "short",
        ),
        Panel(
            "Memory",
            "Of each process. A slope that does not end is a leak: WaypostMemoryGrows says so after six hours.",
            [Query('process_resident_memory_bytes{NS, job=~"waypost-.*"}', "{{job}} {{pod}} {{instance}}")],
            "bytes",
        ),
    ],
)

_KEYS = Row(
    "Keys and certificates",
    [
        Panel(
            "Age of keys",
            f"message: between gateways and workers; api: of callers. Past {KEY_DAYS} days: WaypostKeyOld.",
            [Query("time() - max by (key) (waypost_gateway_key_timestamp_seconds{NS})", "{{key}}")],
            "s",
            width=12,
            thresholds=[(KEY_DAYS * DAY, RED)],
        ),
        Panel(
            "Certificates: time left",
            f"cert-manager renews them by itself; under {CERTIFICATE_DAYS} days it did not: WaypostKeyOld.",
            [
                Query(
                    "min by (name) (certmanager_certificate_expiration_timestamp_seconds"
                    '{NS, name=~"waypost.*"}) - time()',
                    "{{name}}",
                )
            ],
            "s",
            width=12,
            outside="cert-manager",
        ),
    ],
)

DASHBOARD = Dashboard(
    "service",
    "Waypost / Service",
    "What callers of /recommend feel, against yesterday and the release before, by stage.",
    [_NOW, _LATENCY, _TRAFFIC, _KEYS],
    stages={"stage": "waypost_worker_stage_seconds_count", "gateway_stage": "waypost_gateway_stage_seconds_count"},
)

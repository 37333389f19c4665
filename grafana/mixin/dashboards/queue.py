"""Queue and scaling: what waits, how old it is, who works on it, and what KEDA makes of it."""

from __future__ import annotations

from grafana.mixin.panels import RED, YELLOW, Dashboard, Panel, Query, Row

_KEDA_ERRORS = "rate(keda_scaler_detail_errors_total"
_WORKERS = 'horizontalpodautoscaler=~"keda-hpa-.*-worker"'

_NOW = Row(
    "Now",
    [
        Panel(
            "Waiting",
            "Messages that no worker has taken yet. Tens are normal; growing with workers at their maximum is not.",
            [Query('sum(max by (namespace) (waypost_gateway_queue_messages{NS, state="visible"}))')],
            "short",
            "stat",
            4,
            [(500, YELLOW), (5_000, RED)],
        ),
        Panel(
            "Age, p95",
            "How long messages wait for a worker, also those that were too old to be answered. Callers wait 250 ms.",
            [Query("max(waypost:worker_delivery_age_seconds:p95{NS})")],
            "s",
            "stat",
            4,
            [(0.1, YELLOW), (0.25, RED)],
        ),
        Panel(
            "Workers ready",
            "Pods whose Triton answered a golden question rightly a moment ago.",
            [Query("sum(waypost_worker_ready{NS})")],
            "short",
            "stat",
            4,
        ),
        Panel(
            "Answers",
            "Answers of the workers a second.",
            [Query("sum(rate(waypost_worker_answers_total{NS}[5m]))")],
            "reqps",
            "stat",
            4,
        ),
        Panel(
            "Dropped too late",
            "Messages a second whose callers had gone; they cost no inference. Not zero: too few workers.",
            [Query('sum(rate(waypost_worker_messages_total{NS, outcome="expired"}[5m])) or vector(0)')],
            "reqps",
            "stat",
            4,
            [(1, YELLOW), (10, RED)],
        ),
        Panel(
            "Dead letters, 24 hours",
            "Messages given up: by workers, which say their reason, or by the queue itself after three deliveries.",
            [
                Query(
                    "sum(waypost:dead_letter_messages{NS} - min_over_time(waypost:dead_letter_messages{NS}[24h])) > "
                    "sum(increase(waypost_worker_dead_letters_total{NS}[24h])) "
                    "or sum(increase(waypost_worker_dead_letters_total{NS}[24h]))"
                )
            ],
            "short",
            "stat",
            4,
            [(1, RED)],
            decimals=0,
        ),
    ],
)

_QUEUE = Row(
    "Queue",
    [
        Panel(
            "Depth",
            "visible: waiting. in_flight: taken by a worker and not deleted yet. SQS counts approximately.",
            [Query("max by (namespace, state) (waypost_gateway_queue_messages{NS})", "{{state}}")],
            "short",
        ),
        Panel(
            "Age when taken: p50, p95, p99",
            "From the queue's time stamp to a worker's beginning on it or dropping it. Rises first when workers lack.",
            [Query(f"max(waypost:worker_delivery_age_seconds:{q}{{NS}})", q) for q in ("p50", "p95", "p99")],
            "s",
            thresholds=[(0.25, RED)],
        ),
        Panel(
            "Messages by outcome",
            "answered; expired (too late); duplicate (again); released (handed back); rejected, failed: see the logs.",
            [Query("sum by (outcome) (rate(waypost_worker_messages_total{NS}[5m]))", "{{outcome}}")],
            "reqps",
            stacked=True,
        ),
        Panel(
            "Requests in one Triton call",
            "Mean batch. One call for many users is what makes a pod fast; 1 at low traffic is normal.",
            [
                Query(
                    "sum(rate(waypost_worker_batch_requests_sum{NS}[5m])) / "
                    "sum(rate(waypost_worker_batch_requests_count{NS}[5m]))",
                    "mean",
                )
            ],
            "short",
        ),
        Panel(
            "Dropped by reason",
            "Never answered: wrong signature, malformed, too late.",
            [
                Query("sum by (reason) (rate(waypost_worker_rejected_total{NS}[5m]))", "{{reason}}"),
            ],
            "reqps",
        ),
        Panel(
            "Parts that were unavailable",
            "Calls that found Triton, the queue or a gateway away.",
            [
                Query("sum by (part) (rate(waypost_worker_unavailable_total{NS}[5m]))", "{{part}}"),
            ],
            "reqps",
        ),
    ],
)

_SCALING = Row(
    "Scaling",
    [
        Panel(
            "Workers: wanted, there, at most",
            "Wanted above there: look at pending pods (GPUs). There at most: raise maxReplicaCount.",
            [
                Query("kube_horizontalpodautoscaler_status_desired_replicas{NS, " + _WORKERS + "}", "wanted"),
                Query("kube_horizontalpodautoscaler_status_current_replicas{NS, " + _WORKERS + "}", "there"),
                Query("kube_horizontalpodautoscaler_spec_max_replicas{NS, " + _WORKERS + "}", "at most"),
            ],
            "short",
            outside="kube-state-metrics",
        ),
        Panel(
            "Queue as KEDA sees it",
            "What the scaler reads; against `Depth` above it shows whether KEDA looks at the right queue.",
            [
                Query(
                    'keda_scaler_metrics_value{exported_namespace=~"$namespace", scaledObject=~".*-worker"} or '
                    'keda_scaler_metrics_value{NS, exported_namespace="", scaledObject=~".*-worker"}',
                    "{{scaler}}",
                )
            ],
            "short",
            outside="KEDA",
        ),
        Panel(
            "KEDA's errors",
            "Failed reads of the queue. Any for longer than a few minutes: WaypostScalerBlind.",
            [
                Query(
                    "sum by (scaler) ("
                    + _KEDA_ERRORS
                    + '{exported_namespace=~"$namespace", scaledObject=~".*-worker"}[5m]) or '
                    + _KEDA_ERRORS
                    + '{NS, exported_namespace="", scaledObject=~".*-worker"}[5m]))',
                    "{{scaler}}",
                )
            ],
            "short",
            outside="KEDA",
        ),
        Panel(
            "GPU use",
            "Below 30 % with a long queue the worker or the batch is the limit, not the GPU.",
            [Query("avg by (gpu, pod) (DCGM_FI_DEV_GPU_UTIL{NS})", "{{pod}} {{gpu}}")],
            "percent",
            outside="the DCGM exporter",
        ),
        Panel(
            "Triton's own view: time in its queue and in the model",
            "Mean per request. Its queue grows when a pod gets more than it can do.",
            [
                Query(
                    "sum(rate(nv_inference_queue_duration_us{NS}[5m])) / "
                    "sum(rate(nv_inference_request_success{NS}[5m])) / 1e6",
                    "queue",
                ),
                Query(
                    "sum(rate(nv_inference_compute_infer_duration_us{NS}[5m])) / "
                    "sum(rate(nv_inference_request_success{NS}[5m])) / 1e6",
                    "model",
                ),
            ],
            "s",
        ),
        Panel(
            "Worker hours a day",
            "Minutes of ready pods over the last day, counted once a minute: times the price of a GPU hour, the bill.",
            [Query("sum(sum_over_time(waypost:workers_ready{NS}[24h])) / 60", "worker hours")],
            "h",
        ),
        Panel(
            "Cost",
            "What the workers cost a day and a million answers at the price above (1: in worker hours). A rise of the "
            "second at the same traffic: pods that idle, or batches that got smaller.",
            [
                Query("sum(sum_over_time(waypost:workers_ready{NS}[24h])) / 60 * $price", "a day"),
                Query(
                    "sum(sum_over_time(waypost:workers_ready{NS}[1h])) / 60 * $price * 1e6 / "
                    "(sum(rate(waypost_worker_answers_total{NS}[1h])) * 3600)",
                    "a million answers",
                ),
            ],
            "none",
            decimals=2,
        ),
    ],
)

DASHBOARD = Dashboard(
    "queue",
    "Waypost / Queue and scaling",
    "What waits on the queue, how old it is, who works on it, and how KEDA follows.",
    [_NOW, _QUEUE, _SCALING],
    price=True,
)

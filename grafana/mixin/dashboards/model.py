"""Model: which release is served since when, how good its night found it, and what callers get of it."""

from __future__ import annotations

from grafana.mixin.panels import RED, YELLOW, Dashboard, Panel, Query, Row

HOUR = 3_600

_NOW = Row(
    "Now",
    [
        Panel(
            "Release",
            "The newest release that a worker serves.",
            [Query("max(waypost:release_newest{NS})")],
            "none",
            "stat",
            4,
            decimals=0,
        ),
        Panel(
            "Age",
            "Since it was published. Orange after a day and a half: WaypostReleaseStale.",
            [Query("time() - max(waypost_gateway_release_published_timestamp_seconds{NS})")],
            "s",
            "stat",
            4,
            [(36 * HOUR, YELLOW), (72 * HOUR, RED)],
        ),
        Panel(
            "Recall@20 of its night",
            "On the holdout, before it was published. What the gate compared is in the report beside the checkpoint.",
            [Query('max(waypost_worker_release_score{NS, score="recall"})')],
            "none",
            "stat",
            4,
            decimals=4,
        ),
        Panel(
            "Times popularity's recall",
            "The model's Recall@20 over that of a popularity list. Near 1 the model earns nothing.",
            [
                Query(
                    'max(waypost_worker_release_score{NS, score="recall"}) / '
                    'max(waypost_worker_release_score{NS, score="popularity_recall"})'
                )
            ],
            "none",
            "stat",
            4,
            decimals=2,
        ),
        Panel(
            "Popular answers",
            "Share of answers that no model ranked: unknown users who said nothing, and degraded ones.",
            [
                Query(
                    'sum(rate(waypost_gateway_requests_total{NS, code="200", source="popular"}[15m])) / '
                    'sum(rate(waypost_gateway_requests_total{NS, code="200"}[15m])) or vector(0)'
                )
            ],
            "percentunit",
            "stat",
            4,
            [(0.2, YELLOW), (0.5, RED)],
        ),
        Panel(
            "Catalogue shown",
            "Share of all posts that stood in an answer of this pod since its release was loaded.",
            [Query("max(waypost_worker_served_posts{NS} / waypost_worker_catalogue_posts{NS})")],
            "percentunit",
            "stat",
            4,
        ),
    ],
)

_RELEASES = Row(
    "Releases",
    [
        Panel(
            "Served release by pod",
            "One level but for the seconds of a switch. A line that stays behind: that pod refuses the release.",
            [Query("max by (pod, instance) (waypost_worker_release_number{NS})", "{{pod}} {{instance}}")],
            "none",
            width=12,
        ),
        Panel(
            "Tries to serve a release",
            "served; refused (not whole, or not loaded); given up (worse than the one before in its trial).",
            [Query("sum by (outcome) (increase(waypost_worker_release_loads_total{NS}[15m]))", "{{outcome}}")],
            "short",
            width=12,
        ),
        Panel(
            "Switches",
            "Pods whose answers changed release: newer ones after a night; older: rolled back by a person or a trial.",
            [Query("sum by (to) (increase(waypost_worker_release_switches_total{NS}[15m]))", "{{to}}")],
            "short",
            width=12,
        ),
        Panel(
            "How long a switch takes",
            "p95 of fetch, verify, load and golden questions.",
            [
                Query(
                    "histogram_quantile(0.95, sum by (le) (rate(waypost_worker_release_load_seconds_bucket{NS}[1h])))",
                    "p95",
                )
            ],
            "s",
            width=12,
        ),
        Panel(
            "Quality figures of the served release",
            "Of its night's holdout. A fall that the gate let pass shows here over days.",
            [Query("max by (score) (waypost_worker_release_score{NS})", "{{score}}")],
            "none",
            width=12,
        ),
        Panel(
            "Answers by source",
            "graphsage: the model ranked. popular: it had nothing to go by, or the answer was degraded.",
            [Query('sum by (source) (rate(waypost_gateway_requests_total{NS, code="200"}[5m]))', "{{source}}")],
            "reqps",
            width=12,
            stacked=True,
        ),
        Panel(
            "Posts shown since the release was loaded",
            "Against all posts. A curve that flattens early: the model shows everybody the same.",
            [
                Query("max(waypost_worker_served_posts{NS})", "shown"),
                Query("max(waypost_worker_catalogue_posts{NS})", "all"),
            ],
            "short",
            width=12,
        ),
    ],
)

DASHBOARD = Dashboard(
    "model",
    "Waypost / Model",
    "Which release is served since when, its night's figures, and what callers get of it.",
    [_NOW, _RELEASES],
)

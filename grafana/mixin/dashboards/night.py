"""Night: how it ended, what each stage took, what it read, and what the data contract and the gate said.

A night is a job, so its figures are those of the last one: `last_over_time` reaches back over a day.
"""

from __future__ import annotations

from grafana.mixin.panels import RED, YELLOW, Dashboard, Panel, Query, Row

HOUR = 3_600
_REFUSED = ', verdict="refused"'
_BELOW = ', check=~"below-.*"'
_LOOKS = ', check=~"collapsed|same-lists|coverage|leaking"'


def _last(metric: str, more: str = "") -> str:
    return f"last_over_time(waypost_trainer_{metric}{{NS{more}}}[26h])"


_NOW = Row(
    "Last night",
    [
        Panel(
            "Exit code",
            "0 well. 1 failed. 3 refused by the data contract or the gate: the served release stays.",
            [Query("max(waypost:trainer_exit_code{NS})")],
            "none",
            "stat",
            3,
            [(1, RED)],
            decimals=0,
        ),
        Panel(
            "Ended",
            "How long ago. Orange after 26 hours.",
            [Query(f"time() - max({_last('ended_timestamp_seconds')})")],
            "s",
            "stat",
            4,
            [(26 * HOUR, YELLOW), (50 * HOUR, RED)],
        ),
        Panel(
            "Took",
            "All stages together. An ordinary night on two cores takes under 3 minutes at 2 million edges.",
            [Query(f"sum({_last('stage_seconds')})")],
            "s",
            "stat",
            4,
        ),
        Panel(
            "Rows read",
            "Of all sources together; by source below.",
            [Query(f"sum({_last('rows')})")],
            "short",
            "stat",
            4,
        ),
        Panel(
            "From Postgres",
            "Bytes. A night with the cache reads a few percent of a first night.",
            [Query(f"max({_last('postgres_bytes')})")],
            "bytes",
            "stat",
            3,
        ),
        Panel(
            "Contract",
            "Checks of the data contract that refused. Not zero: the night trained nothing.",
            [Query(f"sum({_last('contract_checks', _REFUSED)}) or vector(0)")],
            "short",
            "stat",
            3,
            [(1, RED)],
            decimals=0,
        ),
        Panel(
            "Gate",
            "Checks of the gate that refused the model. Not zero: the served release stays, see the checks below.",
            [Query(f"count({_last('gate_verdict')} == 2) or vector(0)")],
            "short",
            "stat",
            3,
            [(1, RED)],
            decimals=0,
        ),
    ],
)

_GATE = Row(
    "Gate",
    [
        Panel(
            "Verdict by check",
            "0 passed, 1 let pass by an operator (--accept), 2 refused. A check that was not made is not there.",
            [Query(f"max by (check) ({_last('gate_verdict')})", "{{check}}")],
            "none",
            "bargauge",
            8,
            [(1, YELLOW), (2, RED)],
            decimals=0,
        ),
        Panel(
            "Better than what it was compared with",
            "Differences of Recall and NDCG, ours minus theirs. Refused below the bound beside it, not below 0.",
            [
                Query(f"max by (check, measure) ({_last('gate_value', _BELOW)})", "{{check}} {{measure}}"),
                Query(f"max by (check, measure) ({_last('gate_bound', _BELOW)})", "bound of {{check}} {{measure}}"),
            ],
            "none",
            width=8,
            decimals=4,
            negative=True,
        ),
        Panel(
            "What its lists and vectors look like",
            "Spread and coverage must stay above their bounds; the share of equal lists and the leak ratio below.",
            [
                Query(f"max by (check, measure) ({_last('gate_value', _LOOKS)})", "{{check}} {{measure}}"),
                Query(f"max by (check, measure) ({_last('gate_bound', _LOOKS)})", "bound of {{check}}"),
            ],
            "none",
            width=8,
            decimals=3,
        ),
    ],
)

_STAGES = Row(
    "Data and stages",
    [
        Panel(
            "Time by stage",
            "Which part of the night grew.",
            [Query(f"max by (stage) ({_last('stage_seconds')})", "{{stage}}")],
            "s",
            "bargauge",
            12,
        ),
        Panel(
            "Rows by source",
            "What each SELECT of the mapping gave. A fall by a tenth is a warning of the contract, by half a refusal.",
            [Query(f"max by (source) ({_last('rows')})", "{{source}}")],
            "short",
            width=12,
        ),
        Panel(
            "Shares that the contract watches",
            "Orphans, rows without an id, duplicates, times in the future, posts without text or tags.",
            [
                Query(f"max by (source) ({_last('orphan_share')})", "orphans of {{source}}"),
                Query(f"max by (source) ({_last('null_share')})", "no id in {{source}}"),
                Query(f"max({_last('duplicate_share')})", "duplicates"),
                Query(f"max({_last('untimed_share')})", "untimed"),
                Query(f"max({_last('textless_share')})", "posts without text"),
                Query(f"max({_last('untagged_share')})", "posts without a tag"),
            ],
            "percentunit",
            width=12,
        ),
        Panel(
            "Cache in S3",
            "Bytes read and written. Much written on an ordinary night: the cache was not found.",
            [Query(f"max by (direction) ({_last('cache_bytes')})", "{{direction}}")],
            "bytes",
            width=12,
        ),
        Panel(
            "Found what an earlier night kept",
            "1: the graph came from the cache, the weights from the night before. 0: from scratch, which takes longer.",
            [Query(f"max by (cache) ({_last('cache_hit')})", "{{cache}}")],
            "none",
            width=12,
            decimals=0,
        ),
        Panel(
            "Checks of the data contract",
            "0 ok, 1 warning, 2 refused: which check, of which source.",
            [Query(f"max by (check, source) ({_last('contract_verdict')}) > 0 or vector(0)", "{{check}} {{source}}")],
            "none",
            "bargauge",
            12,
            [(1, YELLOW), (2, RED)],
            decimals=0,
        ),
        Panel(
            "Age of the snapshot",
            "How long Postgres had to keep old rows for the night. Minutes are harmless, hours bloat tables.",
            [Query(f"max({_last('snapshot_age_seconds')})", "snapshot")],
            "s",
            width=12,
        ),
        Panel(
            "CronJob: last success and running jobs",
            "Since the last night that ended well.",
            [
                Query(
                    'time() - max(kube_cronjob_status_last_successful_time{NS, cronjob=~".*-trainer"})', "since success"
                ),
            ],
            "s",
            width=12,
            outside="kube-state-metrics",
        ),
    ],
)

DASHBOARD = Dashboard(
    "night",
    "Waypost / Night",
    "How the last night ended, what its stages took, what it read and what was refused.",
    [_NOW, _GATE, _STAGES],
)

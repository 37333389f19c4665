"""The checker: every rule over one history. Pure; `python -m tests.chaos check FILE` judges a saved one again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from tests.chaos import caller_rules, message_rules, metric_rules
from tests.chaos.history import History
from tests.chaos.timeline import Timeline
from tests.chaos.verdict import Verdict, Violation

Rule = Callable[[Timeline, Counter[str]], Iterator[Violation]]
RULES: tuple[Rule, ...] = (
    caller_rules.answered_in_time,
    caller_rules.status_is_allowed,
    caller_rules.answer_is_right,
    caller_rules.model_comes_back,
    message_rules.delete_follows_reply,
    message_rules.nothing_stale_is_inferred,
    message_rules.nothing_is_inferred_twice,
    message_rules.replies_go_to_who_asked,
    message_rules.hostile_messages_are_not_inferred,
    message_rules.repetitions_stay_in_budget,
    message_rules.ends_are_orderly,
    metric_rules.labels_hold_no_id,
    metric_rules.no_reply_is_used_twice,
)


def check(history: History) -> Verdict:
    times, verdict = Timeline(history), Verdict()
    for rule in RULES:
        verdict.violations += rule(times, verdict.counts)
    return verdict

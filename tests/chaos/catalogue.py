"""Every planted bug: who has it, what is done to the cast so that it can show, and which rule must find it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos.schedule import Step

STOPPED = Step(0.5, "stop", "worker-1", 1.5)  # nobody answers for a while
HOSTILE = Step(0.5, "hostile", "queue", 0.1)


@dataclass(frozen=True)
class PlantedBug:
    name: str
    process: str
    rules: tuple[str, ...]  # any of these finds it
    steps: tuple[Step, ...] = ()


BUGS = (
    PlantedBug("worker.delete_before_reply", "worker-1", ("delete before reply",)),
    PlantedBug(
        "worker.no_age_check", "worker-1", ("stale inference",),
        (Step(0.3, "late", "worker-1/sqs", 2.5, share=0.5, delay=2.4),),
    ),
    PlantedBug("worker.reply_address_from_message", "worker-1", ("reply address",), (HOSTILE,)),
    PlantedBug(
        "worker.infers_duplicates", "worker-1", ("inferred twice",),
        (Step(0.3, "duplicate", "worker-1/sqs", 2.5), Step(0.3, "deleted again", "worker-1/sqs", 2.5)),
    ),
    PlantedBug("worker.lost_on_sigterm", "worker-1", ("left in hand",), (Step(2.0, "terminate", "worker-1", 0.1),)),
    PlantedBug("worker.unsigned_accepted", "worker-1", ("hostile inferred", "hostile answered"), (HOSTILE,)),
    PlantedBug("worker.replies_to_another_gateway", "worker-1", ("reply elsewhere",)),
    PlantedBug(
        "worker.answers_mixed_up", "worker-1", ("k", "excluded"),
        (Step(0.3, "delay", "worker-1/triton", 2.5, delay=0.1),),
    ),
    PlantedBug("gateway.user_id_as_label", "gateway-1", ("id in a label",)),
    PlantedBug(
        "gateway.second_reply_accepted", "gateway-1", ("reply used twice",),
        (Step(0.3, "repeat", "gateway-1/replies", 3.0),),
    ),
    PlantedBug(
        "gateway.wrong_users_reply_accepted", "gateway-1", ("another's answer",),
        (Step(0.3, "forge", "gateway-1/replies", 4.0, share=0.5),),
    ),
    PlantedBug("gateway.waits_past_the_deadline", "gateway-1", ("late",), (STOPPED,)),
    PlantedBug("gateway.k_ignored_when_degraded", "gateway-1", ("k",), (STOPPED,)),
    PlantedBug("gateway.error_when_degraded", "gateway-1", ("status",), (STOPPED,)),
    PlantedBug("gateway.degraded_not_marked", "gateway-1", ("marked",), (STOPPED,)),
    PlantedBug(
        "gateway.retries_without_budget", "gateway-1", ("retry budget",),
        (Step(0.3, "error", "gateway-1/sqs", 3.0, share=0.7),),
    ),
    PlantedBug(
        "gateway.dropped_on_sigterm", "gateway-1", ("unanswered",),
        (STOPPED, Step(0.8, "terminate", "gateway-1", 0.1)),
    ),
)  # fmt: skip
TOGETHER = ("worker.delete_before_reply", "gateway.wrong_users_reply_accepted", "gateway.k_ignored_when_degraded")

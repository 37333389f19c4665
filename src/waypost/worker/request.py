"""Request: one verified message on its way through this worker, from its delivery to its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from waypost.questions import Answer
from waypost.queueing.messages import RecommendMessage
from waypost.queueing.protocols import Delivery
from waypost.queueing.replies import Reply
from waypost.stages import StageTimer


@dataclass(slots=True, eq=False)
class Request:
    """Times are monotonic seconds of this process."""

    delivery: Delivery
    message: RecommendMessage
    received: float
    ready: float  # read and verified
    in_queue: float  # seconds from the queue's taking it to its receipt
    span: float  # seconds that its gateway gave it
    expires: float  # nobody waits after this
    handles: list[str] = field(default_factory=list)  # receipt handles of all its deliveries
    begun: float = 0.0  # taken out of the pool to be answered
    extended: float = 0.0  # when its visibility was last extended; 0: never
    batch: int = 0  # requests in the call of the model that answered it, or tried to

    @property
    def id(self) -> str:
        return self.message.request_id

    @property
    def waited(self) -> float:
        """Seconds in queue and pool."""
        return self.in_queue + self.begun - self.ready

    def age(self, now: float) -> float:
        """Seconds since the queue took it."""
        return self.in_queue + now - self.received

    def stages(self, shared: StageTimer, reply: float) -> dict[str, float]:
        """Seconds of each, which add up to all its time here; `shared` with its batch, `reply` after that."""
        apart = {"queue_wait": self.waited, "decode": self.ready - self.received}
        ours = {name: apart.get(name, 0.0) + shared.seconds.get(name, 0.0) for name in (*apart, *shared.seconds)}
        return {**ours, "reply": reply}

    def is_late(self, now: float, needed: float) -> bool:
        """Whether so many seconds are more than its caller still waits.

        What is needed is a guess out of calls that may have met a bad moment: it never takes more than half of the
        time that the request was given, or a slow moment would refuse whatever could show that it is over.
        """
        return self.expires - now <= min(needed, self.span / 2)


@dataclass(slots=True, eq=False)
class Answered:
    request: Request
    answer: Answer

    @property
    def reply(self) -> Reply:
        return Reply(self.request.id, self.request.message.question.user_id, self.answer)


def handles_of(requests: Sequence[Request]) -> list[str]:
    return [handle for request in requests for handle in request.handles]

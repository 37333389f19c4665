"""What the log lines of requests cost, in microseconds of one core: `python -m bench.log_lines`, a few seconds.

A plain success outside the sample is what most requests are; a degraded answer's line is what they all have under
overload. Lines go to /dev/null, by the writer's own thread, whose work is counted too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from waypost.gateway.pending import Cause
from waypost.gateway.recommend import Recommendation
from waypost.gateway.request_lines import GatewayLines
from waypost.logs import begin_request
from waypost.logs.lines import Process, as_json
from waypost.logs.requests import open_request_log
from waypost.logs.writer import LINGER_SECONDS, LogWriter
from waypost.questions import Answer, Question
from waypost.queueing.messages import RecommendMessage
from waypost.queueing.protocols import Delivery
from waypost.stages import StageTimer
from waypost.worker.request import Answered, Request
from waypost.worker.request_lines import WorkerLines

REQUESTS, ROUNDS, BATCH = 1_000, 30, 50
MICROSECONDS = 1e6
ITEMS = tuple((post, 1.0) for post in range(20))
STAGES = {"validate": 0.0001, "enqueue": 0.0052, "wait": 0.0571, "encode": 0.0001}
WORKER_STAGES = {"lookup": 0.001, "tokenize": 0.0004, "infer": 0.012, "encode": 0.0002}


def main() -> None:
    process = Process("gateway", serves=True, model_version=lambda: 7)
    with open(os.devnull, "w") as nowhere:
        writer = LogWriter(lambda line: as_json(line, process), lambda: nowhere)
        log = open_request_log(writer, lambda purpose: purpose.ljust(32, b"."), one_of=1_000, quiet_seconds=1e9)
        gateway, worker = GatewayLines(log), WorkerLines(log)
        good, bad = recommendations(degraded=False), recommendations(degraded=True)
        batch, stages = answered(), StageTimer(7)
        stages.seconds = WORKER_STAGES
        late = [one.request for one in batch]
        tell("gateway, a plain success without a line", lambda: tell_all(gateway, good))
        tell("worker, the same", lambda: [worker.answered(batch, stages, 0.05, 0.06) for _ in range(REQUESTS // BATCH)])
        tell("gateway, a degraded answer's line", lambda: tell_all(gateway, bad))
        tell("worker, an expired request's line", lambda: [worker.expired(late, 0.3) for _ in range(REQUESTS // BATCH)])
        tell("gateway, a request's id", lambda: [begin_request() for _ in range(REQUESTS)])
        writer.close()
        print(f"lines lost: {writer.lost}")


def tell(what: str, work: Callable[[], object]) -> None:
    """The best of some rounds, and what it costs the thread that answers callers."""
    own, whole = [], []
    for _ in range(ROUNDS):
        process, thread = time.process_time(), time.thread_time()
        work()
        own.append(time.thread_time() - thread)
        time.sleep(3 * LINGER_SECONDS)  # the writer gets it out
        whole.append(time.process_time() - process)
    a_request = [MICROSECONDS * min(seconds) / REQUESTS for seconds in (own, whole)]
    print(f"{what}: {a_request[0]:.2f} us of its thread, {a_request[1]:.2f} us of the process")


def tell_all(lines: GatewayLines, found: Sequence[Recommendation]) -> None:
    for one in found:
        lines.answered(one, "app", seconds=0.063, given=0.25, now=1.0)


def recommendations(degraded: bool) -> list[Recommendation]:
    """Of which none is in the sample."""
    answer = Answer(None, "popular", ITEMS) if degraded else Answer(7, "graphsage", ITEMS)
    cause: Cause | None = "timeout" if degraded else None
    return [Recommendation(an_id(user), user, answer, degraded, STAGES, cause) for user in range(REQUESTS)]


def answered() -> list[Answered]:
    return [Answered(a_request(user), Answer(7, "graphsage", ITEMS)) for user in range(BATCH)]


def a_request(user: int) -> Request:
    message = RecommendMessage(Question(user), an_id(user), 0.0, 0.25, "gateway:8090")
    return Request(Delivery(b"{}", {}, "handle", 1, 0.0), message, 0.0, 0.0, 0.0, 0.25, 0.25, ["handle"])


def an_id(user: int) -> str:
    return f"f{user:031x}"


if __name__ == "__main__":
    main()

"""A history: what happened in one chaos run, as typed events in one file that can be judged again.

Times are seconds on the machine's monotonic clock, which all processes of a machine share. A request goes by its
`number`: the load generator hides it in the question (see world.py), so that every part's traffic names it.
Everything else about a message goes by its request id. Nothing here judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import orjson

NO_NUMBER = -1  # a message or an inference that is no request of the load generator
CLIENT = "client"  # in the place of a gateway: waypost.client chose for itself


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as its caller saw it."""

    number: int
    gateway: str  # or CLIENT
    intended: float  # when the schedule wanted it sent
    sent: float
    ended: float
    deadline: float  # seconds from `sent`
    user: int
    k: int
    excluded: tuple[int, ...]
    status: int  # 0: no answer
    trouble: str = ""  # why there is no answer: refused, closed, patience, or what waypost.client said
    lag: float = 0.0  # how late the caller itself was served by the machine meanwhile
    starved: float = 0.0  # how long the gateway was ready to run meanwhile and got no processor
    retry_after: str = ""
    request: str = ""
    answered_user: int = 0
    source: str = ""
    degraded: bool = False
    version: int | None = None
    posts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Sent:
    """A gateway's message on its way to SQS."""

    at: float
    gateway: str
    request: str
    number: int
    user: int
    deadline: float  # on the monotonic clock
    reply_to: str
    taken: str  # yes, no, or unknown to the gateway


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message handed to a worker by SQS or by the proxy in its name."""

    at: float
    worker: str
    request: str
    number: int
    handle: str
    how: str  # plain, duplicate, deleted (after its delete), late
    seen: bool = True  # False: the answer that held it was spoilt on its way


@dataclass(frozen=True, slots=True)
class Deleted:
    at: float  # when the proxy was asked
    worker: str
    request: str
    handle: str


@dataclass(frozen=True, slots=True)
class Released:
    at: float
    worker: str
    request: str
    handle: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Inferred:
    """One row of a call of Triton."""

    at: float
    worker: str
    number: int
    answered: bool  # Triton's answer reached the worker
    lag: float = 0.0  # how late the proxy itself was served by the machine


@dataclass(frozen=True, slots=True)
class Replied:
    at: float  # when the proxy had it whole
    ended: float  # when its sender was told what became of it
    gateway: str  # whose door it came to
    request: str
    user: int
    status: int  # what the sender was told; 0: nothing
    taken: bool  # whether the gateway itself said 204
    origin: str  # worker, or proxy: repeated or forged on purpose


@dataclass(frozen=True, slots=True)
class Process:
    """killed, stopped, continued, asked to stop, ended, started, ready."""

    at: float
    name: str
    what: str
    code: int = 0  # of `ended`


@dataclass(frozen=True, slots=True)
class Fault:
    """Something was done on purpose."""

    at: float
    until: float
    kind: str
    target: str


@dataclass(frozen=True, slots=True)
class Hostile:
    """A message that the run itself put on the queue."""

    at: float
    request: str
    number: int
    kind: str  # unsigned, address, garbage


@dataclass(frozen=True, slots=True)
class Trapped:
    """Somebody called an address that no reply may ever go to."""

    at: float
    first_bytes: str


@dataclass(frozen=True, slots=True)
class Starved:
    """A thread of that process was ready to run and got no processor; seconds, of the unluckiest one."""

    at: float
    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Scrape:
    """One process' metrics."""

    at: float
    name: str
    series: tuple[tuple[str, tuple[tuple[str, str], ...], float], ...]  # name, labels, value


Event = (
    Asked
    | Sent
    | Delivered
    | Deleted
    | Released
    | Inferred
    | Replied
    | Process
    | Fault
    | Hostile
    | Trapped
    | Starved
    | Scrape
)
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        Asked, Sent, Delivered, Deleted, Released, Inferred, Replied, Process, Fault, Hostile, Trapped, Starved, Scrape,
    )
}  # fmt: skip
E = TypeVar("E")


@dataclass
class History:
    """`about`: seed, sizes and whatever else a reader needs to understand the run."""

    about: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def add(self, event: Event) -> None:
        """From any thread: one append is atomic."""
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        """The events of that kind in the order of their times."""
        found = [event for event in self.events if isinstance(event, kind)]
        return sorted(found, key=_time)

    def save(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\n".join([orjson.dumps(self.about), *map(encode, self.events)]) + b"\n")
        return path


def encode(event: Event) -> bytes:
    return orjson.dumps({"event": type(event).__name__, **asdict(event)})


def decode(line: bytes) -> Event:
    content = orjson.loads(line)
    kind = _KINDS[content.pop("event")]
    event: Event = kind(**{name: _frozen(value) for name, value in content.items()})
    return event


def load(path: Path) -> History:
    first, *rest = path.read_bytes().splitlines()
    return History(orjson.loads(first), [decode(line) for line in rest])


def read_events(path: Path) -> Iterator[Event]:
    """Of a file without a first line about the run; a last line that was cut off is left out."""
    for line in path.read_bytes().splitlines():
        try:
            yield decode(line)
        except orjson.JSONDecodeError:
            return


def _time(event: Any) -> float:
    names = {one.name for one in fields(event)}
    return float(event.at if "at" in names else event.sent)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def spans(events: Sequence[Process], name: str, begin: Iterable[str], end: Iterable[str]) -> list[tuple[float, float]]:
    """From each first `begin` of a process to the next `end`, or for ever."""
    begins, ends = set(begin), set(end)
    found: list[tuple[float, float]] = []
    since: float | None = None
    for event in events:
        if event.name != name:
            continue
        if event.what in begins and since is None:
            since = event.at
        elif event.what in ends and since is not None:
            found.append((since, event.at))
            since = None
    return [*found, (since, float("inf"))] if since is not None else found


def overlaps(periods: Sequence[tuple[float, float]], begin: float, end: float) -> bool:
    return any(since <= end and begin <= until for since, until in periods)

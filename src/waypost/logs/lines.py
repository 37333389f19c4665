"""What a line looks like: which process of which version it comes from, the release then served, and what happened.

The exceptions of a process that serves are told by their classes and places. What such an exception says of itself is
left out unless it is our own or the system's: it may quote the request (pydantic's does), and so a user's id.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import orjson

from waypost import __version__
from waypost.errors import WaypostError
from waypost.logs.context import request_id

_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
Fields = Mapping[str, object]


def _no_release() -> int | None:
    return None


@dataclass
class Process:
    """What all its lines share."""

    name: str = ""  # the verb
    serves: bool = False  # requests of callers: what an exception quotes may be theirs
    model_version: Callable[[], int | None] = _no_release  # of the release it serves now


@dataclass(frozen=True, slots=True)
class Line:
    time: float  # seconds since the epoch
    level: int  # logging's
    logger: str
    event: str  # a fixed sentence
    fields: Fields


def line_of(record: logging.LogRecord, process: Process) -> Line:
    fields = {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
    if (asked := request_id()) is not None:
        fields = {"request_id": asked, **fields}
    if record.exc_info and record.exc_info[1] is not None:
        fields["exception"] = told(record.exc_info[1], quoting=not process.serves)
    return Line(record.created, record.levelno, record.name, record.getMessage(), fields)


def as_json(line: Line, process: Process) -> str:
    """One JSON object; `model_version` is the line's own where it has one."""
    content: dict[str, object] = {
        "time": f"{_second(int(line.time))}.{int(line.time % 1 * 1_000):03d}Z",
        "level": _level(line.level),
        "process": process.name,
        "version": __version__,
        "model_version": None,
        "logger": line.logger,
        "event": line.event,
        **line.fields,
    }
    if "model_version" not in line.fields:
        content["model_version"] = process.model_version()
    try:
        return orjson.dumps(content, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # half a surrogate pair, an integer beyond 64 bits
        return orjson.dumps({name: ascii(value) for name, value in content.items()}).decode()


def as_text(line: Line, process: Process) -> str:
    """`05:14:03 snapshot read  nodes=3 edges=4`, for people at a terminal."""
    clock = time.strftime("%H:%M:%S", time.localtime(line.time))
    mark = "" if line.level < logging.WARNING else f"{_level(line.level)}: "
    fields = " ".join(f"{name}={short(value)}" for name, value in line.fields.items() if name != "exception")
    whole = f"{clock} {mark}{line.event}" + (f"  {fields}" if fields else "")
    return f"{whole}\n{line.fields['exception']}" if "exception" in line.fields else whole


class LineFormatter(logging.Formatter):
    """A record of Python's own logging as one of our lines."""

    def __init__(self, style: Callable[[Line, Process], str], process: Process) -> None:
        super().__init__()
        self.style, self.process = style, process

    def format(self, record: logging.LogRecord) -> str:
        return self.style(line_of(record, self.process), self.process)


def told(error: BaseException, quoting: bool) -> str:
    """The exception and those behind it, the first one first; `quoting`: with all that they say."""
    if quoting:
        return "".join(traceback.format_exception(error)).rstrip()
    return "\n".join(_without_quotes(one) for one in reversed(list(_and_behind(error))))


def cause_of(error: BaseException) -> str:
    """What it says where that is ours to say, else the name of its class: see above."""
    return str(error) if isinstance(error, WaypostError) else type(error).__name__


def _and_behind(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _without_quotes(error: BaseException) -> str:
    places = "".join(traceback.format_tb(error.__traceback__))
    said = str(error) if isinstance(error, WaypostError) else _said_by_the_system(error)
    module = "" if type(error).__module__ == "builtins" else f"{type(error).__module__}."
    return f"{places}{module}{type(error).__qualname__}" + (f": {said}" if said else "")


def _said_by_the_system(error: BaseException) -> str:
    return error.strerror or "" if isinstance(error, OSError) else ""


def short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@lru_cache(maxsize=8)
def _level(level: int) -> str:
    return logging.getLevelName(level).lower()


@lru_cache(maxsize=2)
def _second(epoch: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(epoch))

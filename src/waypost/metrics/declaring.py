"""A process's metrics as data: declared in the body of its class, made when the class is, each for one registry.

    class GatewayMetrics(ProcessMetrics):
        ready = gauge("waypost_gateway_ready", "Whether it takes traffic.")

`GatewayMetrics().ready` is then a Gauge of that object's own registry. Known values of a label begin at zero, so that a
first event is an increase, which a series that begins with it would not show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import choose_encoder

from waypost import __version__

M = TypeVar("M")  # Counter, Gauge or Histogram

disable_created_metrics()  # type: ignore[no-untyped-call]  # a timestamp per series that nobody reads


class Declared(Generic[M]):
    """A metric that every object of the class has; it lies in the object's own dictionary, where it is found first."""

    def __init__(self, make: Callable[[CollectorRegistry], M]) -> None:
        self.make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name

    def __get__(self, made_in: object, owner: type) -> M:
        raise AttributeError(f"{owner.__name__}.{self.attribute} is only declared; an object of the class has it")


def counter(name: str, what: str, *labels: str, zeros: Sequence[str | tuple[str, ...]] = ()) -> Declared[Counter]:
    """`zeros`: values of the label, or of all labels, that are there before anything has happened."""

    def make(registry: CollectorRegistry) -> Counter:
        made = Counter(name, what, labels, registry=registry)
        for values in zeros:
            made.labels(*([values] if isinstance(values, str) else values))
        return made

    return Declared(make)


def gauge(name: str, what: str, *labels: str, first: float = 0.0) -> Declared[Gauge]:
    """`first`: its value until somebody knows better, where it has no label."""

    def make(registry: CollectorRegistry) -> Gauge:
        made = Gauge(name, what, labels, registry=registry)
        if not labels:
            made.set(first)
        return made

    return Declared(make)


def histogram(name: str, what: str, buckets: Sequence[float]) -> Declared[Histogram]:
    return Declared(lambda registry: Histogram(name, what, buckets=buckets, registry=registry))


class ProcessMetrics:
    """The declared metrics, the version of the code, and what the kernel says: memory, processor time, open files."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        build = Gauge("waypost_build_info", "The version of the code that runs.", ["version"], registry=registry)
        build.labels(__version__).set(1)
        ProcessCollector(registry=registry)
        for declared in vars(type(self)).values():
            if isinstance(declared, Declared):
                vars(self)[declared.attribute] = declared.make(registry)


def exposition(registry: CollectorRegistry) -> bytes:
    """The text that Prometheus scrapes."""
    return generate_latest(registry)


def negotiated(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """The metrics in the format that an Accept header asks for, and its content type.

    OpenMetrics, which has exemplars, for who names it first; else Prometheus' own text, which has none.
    """
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type

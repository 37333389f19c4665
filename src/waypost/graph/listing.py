"""The cached nights as an operator reads them: a line each, or all as JSON, newest first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from waypost.errors import CorruptObject
from waypost.graph.encoding import EDGES
from waypost.graph.mapping import Mapping as SchemaMapping
from waypost.graph.store import PREFIX, Night, list_nights, load_night
from waypost.objects.protocols import ObjectStore


@dataclass(frozen=True)
class ListedNight:
    fingerprint: str
    is_next: bool  # the one that the next night with this mapping starts from, if Postgres' major version is the same
    made_at: str  # ISO 8601, UTC; when its snapshot was taken
    deltas: int  # on its base; 0: it is a base itself
    own_bytes: int  # that it wrote
    needed_bytes: int  # that it is put together from, own ones included
    rows: Mapping[str, int]  # by source
    bits_per_interaction: float | None  # of a base's file of edges, times, kinds and tags included; None for a delta
    mapping: str  # its identity
    server: int  # Postgres' major version
    problem: str = ""  # why the manifest cannot be read; then nothing else is known

    def __str__(self) -> str:
        if self.problem:
            return f"  {self.fingerprint}  unreadable: {self.problem}"
        made_of = f"base + {self.deltas} deltas" if self.deltas else "base"
        bits = f"  {self.bits_per_interaction:.1f} bits an interaction" if self.bits_per_interaction else ""
        rows = " ".join(f"{source}={count}" for source, count in self.rows.items())
        return (
            f"{'*' if self.is_next else ' '} {self.fingerprint}  {self.made_at}  {made_of:16}"
            f"  own {_megabytes(self.own_bytes)}  needs {_megabytes(self.needed_bytes)}"
            f"  mapping {self.mapping}  postgres {self.server}  {rows}{bits}"
        )


def read_listing(store: ObjectStore, mapping: SchemaMapping) -> list[ListedNight]:
    """Every night with a manifest. Raises StoreUnavailable."""
    listed: list[ListedNight] = []
    for fingerprint in list_nights(store):
        night = _read(store, fingerprint)
        if isinstance(night, Night):
            is_next = night.mapping == mapping and not any(earlier.is_next for earlier in listed)
            listed.append(to_listed(night, is_next))
        elif night is not None:
            listed.append(ListedNight(fingerprint, False, "", 0, 0, 0, {}, None, "", 0, str(night)))
    return listed


def to_listed(night: Night, is_next: bool) -> ListedNight:
    own = sum(entry.size for entry in night.objects if entry.key.startswith(f"{PREFIX}/{night.fingerprint}/"))
    return ListedNight(
        fingerprint=night.fingerprint,
        is_next=is_next,
        made_at=datetime.fromtimestamp(night.made_at, UTC).isoformat(timespec="seconds"),
        deltas=len(night.deltas),
        own_bytes=own,
        needed_bytes=sum(entry.size for entry in night.objects),
        rows=night.counts,
        bits_per_interaction=_bits_per_interaction(night),
        mapping=night.mapping.identity,
        server=night.server,
    )


def list_lines(nights: Sequence[ListedNight]) -> Iterator[str]:
    """`*` marks the night that the next one starts from."""
    return (str(night) for night in nights) if nights else iter(["the cache is empty"])


def list_json(nights: Sequence[ListedNight]) -> str:
    return json.dumps({"nights": [asdict(night) for night in nights]})


def _bits_per_interaction(night: Night) -> float | None:
    if night.deltas:
        return None
    sources = [source.name for source in night.mapping.sources if source.role == "interactions"]
    interactions = sum(night.counts[name] for name in sources)
    edges = sum(entry.size for entry in night.objects if entry.part == EDGES)
    return round(8 * edges / interactions, 2) if interactions else None


def _read(store: ObjectStore, fingerprint: str) -> Night | CorruptObject | None:
    """None: it went since it was listed."""
    try:
        return load_night(store, fingerprint)
    except CorruptObject as error:
        return error


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"

"""Mapping: where the graph stands in the app's own tables: one SELECT per node type and edge type, with named columns.

The file is TOML; without one the schema of deploy/postgres/schema.sql is meant. Pure: text in, Mapping out. Whether the
tables and columns are really there is for graph/schema.py to ask Postgres.

    [users]              SELECT … AS user_id
    [posts]              SELECT … AS post_id  (author_id, created_at, title, body where the app has them)
    [tags], [post_tags]  SELECT … AS tag_id, … AS name   and   SELECT … AS post_id, … AS tag_id; both or neither
    [interactions.NAME]  SELECT … AS user_id, … AS post_id  (created_at; kind, or `kind = "like"` beside the SELECT)
    [weights]            what an interaction of a kind says about taste, where it is not 1"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator
from collections.abc import Mapping as MappingType
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from waypost.errors import SettingsError
from waypost.graph.tensors import KeyType

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Role = Literal["users", "posts", "tags", "post_tags", "interactions"]
REMEDY = "see docs/mapping.md"
MAX_WEIGHT = 1_000.0


@dataclass(frozen=True)
class Source:
    """One SELECT of the app's."""

    name: str  # users, posts, tags, post_tags, or the interactions' own
    role: Role
    select: str
    kind: str | None = None  # of every interaction, where the SELECT has no column `kind`


@dataclass(frozen=True)
class Mapping:
    sources: tuple[Source, ...]  # users, posts, then those that name them
    user_key: KeyType = "integer"
    post_key: KeyType = "integer"
    tag_key: KeyType = "integer"
    weights: tuple[tuple[str, float], ...] = ()  # by kind; 1 where a kind is not named

    def weight(self, kind: str) -> float:
        return dict(self.weights).get(kind, 1.0)

    def named(self, name: str) -> Source:
        return next(source for source in self.sources if source.name == name)

    @property
    def identity(self) -> str:
        """16 hexadecimal digits: equal mappings have the same."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


_Select = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _Edges(_Strict):
    select: _Select


class _Nodes(_Edges):
    key: KeyType = "integer"


class _Interactions(_Edges):
    kind: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None


class _File(_Strict):
    users: _Nodes
    posts: _Nodes
    tags: _Nodes | None = None
    post_tags: _Edges | None = None
    interactions: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")], _Interactions] = Field(
        min_length=1
    )
    weights: dict[str, Annotated[float, Field(ge=0, le=MAX_WEIGHT, allow_inf_nan=False)]] = {}


DEFAULT = Mapping(
    (
        Source("users", "users", "SELECT user_id FROM users"),
        Source("posts", "posts", "SELECT post_id, author_id, created_at, title, body FROM posts"),
        Source("tags", "tags", "SELECT tag_id, name FROM tags"),
        Source("post_tags", "post_tags", "SELECT post_id, tag_id FROM post_tags"),
        Source("interactions", "interactions", "SELECT user_id, post_id, kind, created_at FROM interactions"),
    )
)


def read_mapping(path: Path | None) -> Mapping:
    """The mapping of that file; the default schema's without one. Raises SettingsError naming all that is wrong."""
    if path is None:
        return DEFAULT
    try:
        return parse_mapping(path.read_text("utf-8-sig"), str(path))  # some editors begin a file with a mark
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingsError(f"mapping file {path}: {reason}", "correct WAYPOST_MAPPING_FILE") from None


def parse_mapping(text: str, where: str = "mapping") -> Mapping:
    """Raises SettingsError naming all that is wrong."""
    try:
        file = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where} is no TOML: {error}", REMEDY) from None
    except ValidationError as error:
        raise SettingsError(f"{where}: {'; '.join(map(_problem, error.errors()))}", REMEDY) from None
    if problems := list(_contradictions(file)):
        raise SettingsError(f"{where}: {'; '.join(problems)}", REMEDY)
    return Mapping(
        sources=_sources(file),
        user_key=file.users.key,
        post_key=file.posts.key,
        tag_key=file.tags.key if file.tags else "integer",
        weights=tuple(sorted(file.weights.items())),
    )


def mapping_from(content: Any) -> Mapping:
    """The inverse of dataclasses.asdict, by way of JSON. Raises KeyError, TypeError or ValueError."""
    return Mapping(
        sources=tuple(Source(**source) for source in content["sources"]),
        user_key=content["user_key"],
        post_key=content["post_key"],
        tag_key=content["tag_key"],
        weights=tuple((str(kind), float(weight)) for kind, weight in content["weights"]),
    )


def kind_weights(mapping: Mapping, kinds: tuple[str, ...]) -> tuple[float, ...]:
    return tuple(mapping.weight(kind) for kind in kinds)


def _problem(error: ErrorDetails) -> str:
    """What pydantic found, in words for the person who writes the file."""
    where = ".".join(str(part) for part in error["loc"] if part != "[key]")
    if error["type"] == "missing":
        return f"{where} is missing"
    if error["type"] == "extra_forbidden":
        return f"{where} is not known"
    if error["type"] == "string_pattern_mismatch":
        return f"{where}: a source's name begins with a letter and has up to 40 of a-z, 0-9 and _"
    if error["type"] == "model_type" and error["loc"][0] == "interactions":
        return f"{where}: interactions stand in tables with names of their own, [interactions.NAME]"
    return f"{where}: {error['msg'].replace('Input should', 'should').replace('String should', 'should')}"


def _contradictions(file: _File) -> Iterator[str]:
    """What no field says alone."""
    if (file.tags is None) != (file.post_tags is None):
        yield "tags and post_tags come together"
    for name in sorted(set(file.interactions) & set(get_args(Role))):
        if name != "interactions":
            yield f"interactions.{name} has the name of another source"
    givers: dict[str, list[str]] = {}
    for name, given in sorted(file.interactions.items()):
        if given.kind is not None:
            givers.setdefault(given.kind, []).append(f"interactions.{name}")
    for kind, names in givers.items():
        if len(names) > 1:
            yield f"{' and '.join(names)} are both of the kind {kind!r}; make one SELECT of them with UNION ALL"


def _sources(file: _File) -> tuple[Source, ...]:
    nodes_and_edges: MappingType[Role, _Edges | None] = {
        "users": file.users, "posts": file.posts, "tags": file.tags, "post_tags": file.post_tags,
    }  # fmt: skip
    plain = [Source(role, role, _statement(given.select)) for role, given in nodes_and_edges.items() if given]
    edges = [
        Source(name, "interactions", _statement(given.select), given.kind)
        for name, given in sorted(file.interactions.items())
    ]
    return (*plain, *edges)


def _statement(select: str) -> str:
    return select.rstrip("; \n\t")

"""The night's role in the app's Postgres: it must read what the mapping names, and had better not write anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from waypost.doctor.clocks import Clocks
from waypost.doctor.findings import Finding, bad, ok, warn
from waypost.doctor.looking import Look, Part
from waypost.graph.mapping import read_mapping
from waypost.graph.postgres import SessionLimits, SnapshotConnection, open_snapshot
from waypost.graph.schema import describe

DATABASE = "database"
STATEMENT_SECONDS = 2.0  # nothing is counted: the catalogue answers, whatever the size of the tables
FIX = "check WAYPOST_POSTGRES_DSN, the network and the server"
GRANT = "compare with `waypost schema check`; the night's role needs SELECT on the mapped columns (docs/mapping.md)"
SHOWN_TABLES = 3
WRITABLE = """
    SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
        AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
    ORDER BY 1
"""


def database_look(dsn: str, mapping_file: Path | None, clocks: Clocks) -> Look:
    def find() -> Iterator[Finding]:
        mapping = read_mapping(mapping_file)
        asked_at = clocks.now()
        with open_snapshot(dsn, SessionLimits(1, statement_timeout_seconds=STATEMENT_SECONDS)) as sessions:
            clocks.compare("Postgres", sessions.taken_at, asked_at)
            problems = [problem for source in describe(sessions.first, mapping) for problem in source.problems]
            if problems:
                yield bad(DATABASE, f"cannot be read as the night does: {'; '.join(problems)}", GRANT)
            else:
                yield ok(DATABASE, f"gives the night's role all {len(mapping.sources)} sources of the mapping")
            yield from _writable(sessions.first)

    return Look((Part(DATABASE, 2 * STATEMENT_SECONDS, FIX),), find)


def _writable(connection: SnapshotConnection) -> Iterator[Finding]:
    tables = [str(name) for (name,) in connection.fetch(WRITABLE)]
    if tables:
        more = f" and {len(tables) - SHOWN_TABLES} more" if len(tables) > SHOWN_TABLES else ""
        said = f"lets the night's role write to {', '.join(tables[:SHOWN_TABLES])}{more}"
        yield warn(DATABASE, said, "name a role in WAYPOST_POSTGRES_DSN that has SELECT and nothing else")

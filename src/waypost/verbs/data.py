"""The app's data: `waypost load` and `waypost schema check`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from waypost.settings import LoadSettings, TrainerSettings, read_settings
from waypost.verbs.opening import read_parts, read_schema_mapping, say
from waypost.verbs.parsing import SettingsOf, Verb, Verbs, a_parser


def add_to(verbs: Verbs) -> None:
    load = a_parser(
        verbs,
        "load",
        "Load a graph directory into Postgres, whole or not at all.",
        """
        users.tsv posts.tsv interactions.tsv, and where there are some tags.tsv post_tags.tsv; plain, .gz or .xz, with a
        header, in Postgres' COPY text format. Known ids are updated, equal rows are added once. Uses the owner's role:
        WAYPOST_LOAD_POSTGRES_DSN, else WAYPOST_POSTGRES_DSN, else the embedded one. It fills the default schema only,
        whatever WAYPOST_MAPPING_FILE says: an app with tables of its own needs no loading.
        """,
        LoadSettings,
    )
    load.add_argument("directory", type=Path, metavar="DIR", help="the graph directory")
    load.set_defaults(verb="load")
    schema = a_parser(verbs, "schema", "The app's own tables, as the mapping of WAYPOST_MAPPING_FILE reads them.", "")
    kinds = schema.add_subparsers(title="verbs", metavar="VERB", required=True)
    check = a_parser(
        kinds,
        "check",
        "Explain what a night would read: columns, counts, NULLs, orphans, kinds and weights, and what it would cost.",
        """
        Asks Postgres in one snapshot and changes nothing; counting passes over each table a few times. The night's role
        suffices: SELECT on the mapped columns. Without WAYPOST_MAPPING_FILE it explains the default schema. The limits
        on connections and statements are the night's (WAYPOST_TRAINER_STATEMENT_TIMEOUT_SECONDS and its neighbours).
        Exits 1 when a night could not read it, after all that can be explained. docs/mapping.md has the file's format.
        """,
    )
    check.add_argument("--json", action="store_true", help="one JSON object instead of text")
    check.set_defaults(verb="schema check")


def _load(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.graph.loading import load_directory

    given = read_settings(LoadSettings, environ).postgres_dsn
    dsn = given or read_parts(environ, ["postgres"]).postgres_owner_dsn
    load_directory(dsn, options.directory)
    return 0


def _schema_check(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.graph.explaining import explain
    from waypost.graph.explanation import to_json, to_text
    from waypost.graph.postgres import SessionLimits

    settings, mapping = read_settings(TrainerSettings, environ), read_schema_mapping(environ)
    limits = SessionLimits(settings.connections, settings.server_workers, settings.statement_timeout_seconds)
    explanation = explain(read_parts(environ, ["postgres"]).postgres_dsn, mapping, limits)
    say(to_json(explanation) if options.json else to_text(explanation))
    explanation.require_readable()
    return 0


VERBS: dict[str, Verb] = {
    "load": _load,
    "schema check": _schema_check,
}
SETTINGS: SettingsOf = {
    "load": (LoadSettings,),
    "schema check": (TrainerSettings,),
}

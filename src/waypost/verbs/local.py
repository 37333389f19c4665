"""The embedded stack's verbs: `waypost local …`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path

from waypost import logs
from waypost.settings import (
    CacheSettings,
    ExporterSettings,
    GatewaySettings,
    LoadSettings,
    LocalSettings,
    TrainerSettings,
    WorkerSettings,
    read_shared,
)
from waypost.verbs.night import run_night
from waypost.verbs.opening import read_schema_mapping
from waypost.verbs.parsing import SettingsOf, Verb, Verbs, a_parser, positive

logger = logging.getLogger("waypost")


def add_to(verbs: Verbs) -> None:
    local = a_parser(
        verbs, "local", "The embedded stack: Postgres, S3 and SQS, Triton, gateway and worker on this machine.", ""
    )
    kinds = local.add_subparsers(title="verbs", metavar="VERB", required=True)
    up = a_parser(
        kinds,
        "up",
        "Start the embedded stack in the background.",
        """
        Loopback only, free ports, data in $WAYPOST_LOCAL_DIR (default .waypost). Started again, it uses the same
        data; what a killed run left behind is cleaned up. A part whose switch is set is not started. What runs stays,
        but for a gateway or a worker whose own settings changed; a gateway that is started again keeps its port.
        """,
        LocalSettings,
    )
    up.set_defaults(verb="local up")
    down = a_parser(kinds, "down", "Stop the embedded stack; its data stays.", "")
    down.set_defaults(verb="local down")
    status = a_parser(
        kinds,
        "status",
        "Say which parts are up, and where.",
        """
        up: it answers as it should. waiting: the gateway or the worker lives and has no release to serve yet.
        starting, then unhealthy: it runs and does not answer. down: it does not run.

        Exits 0 when all parts are up, and before the first release when all are up or waiting for it, so that
        `waypost local up && waypost local status && …` goes on to the first night; else 1.
        """,
    )
    status.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    status.set_defaults(verb="local status")
    run = a_parser(
        kinds,
        "run",
        "Everything in the foreground, up to the first recommendation, until Ctrl-C.",
        """
        An empty database gets a generated travel world (WAYPOST_LOCAL_INTERACTIONS, default 60,000), or the graph
        directory of --load; with WAYPOST_MAPPING_FILE the app's own tables are read as they are and nothing is
        generated. Without a release a short night is run (WAYPOST_TRAINER_EPOCHS, default 8 here); `waypost night`
        trains in full. Then standard output gets the line `ready <url>` and a
        sample answer as one line of JSON.
        """,
    )
    run.add_argument("--once", action="store_true", help="stop everything and exit after the sample answer")
    run.add_argument("--load", type=Path, metavar="DIR", help="load this graph directory when the database is empty")
    run.set_defaults(verb="local run")
    generate = a_parser(
        kinds,
        "generate",
        "Write a synthetic travel world as a graph directory.",
        """
        Users with tastes over places and themes, posts with titles and bodies that fit their tags, popularity of Zipf's
        kind, drift, and new posts and users at the end. The same seed gives the same bytes.
        """,
    )
    generate.add_argument("directory", type=Path, metavar="DIR", help="where to write it")
    generate.add_argument("--interactions", type=positive, required=True, metavar="N", help="rows of interactions.tsv")
    generate.add_argument("--seed", type=int, default=1, metavar="S", help="another seed, another world (default: 1)")
    generate.set_defaults(verb="local generate")


QUICK_EPOCHS = "8"  # of the first night here: who tries Waypost wants an answer within the minute


def _local_up(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.local.run import start

    start(environ)
    return 0


def _local_down(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.local.stack import down

    down(read_shared(environ).local_dir)
    return 0


def _local_status(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.local.telling import tell_status

    return tell_status(read_shared(environ), environ.get("AWS_REGION"), as_json=options.json)


def _local_run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.local.run import run

    read_schema_mapping(environ)  # a mistake in it is told now, not after everything has started
    quick = {"WAYPOST_TRAINER_EPOCHS": QUICK_EPOCHS, **environ}
    return run(environ, lambda: run_night(options, quick), once=options.once, load=options.load)


def _local_generate(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.local.world import write_world

    with logs.stage(logger, "world written"):
        write_world(options.directory, options.interactions, options.seed)
    return 0


VERBS: dict[str, Verb] = {
    "local up": _local_up,
    "local down": _local_down,
    "local status": _local_status,
    "local run": _local_run,
    "local generate": _local_generate,
}
SETTINGS: SettingsOf = {
    "local up": (LocalSettings, GatewaySettings, WorkerSettings),
    "local run": (
        LocalSettings,
        LoadSettings,
        TrainerSettings,
        CacheSettings,
        ExporterSettings,
        GatewaySettings,
        WorkerSettings,
    ),
}

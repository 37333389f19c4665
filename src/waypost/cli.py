"""The door: one verb's arguments to its exit code. What each verb does and what its help says stands in `verbs/`. Verbs
import what they need when they are called, so that the gateway's image needs no torch to say `waypost gateway`.

A verb's result goes to standard output, everything else to standard error; an error a user can cause is one line.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from waypost import __version__, logs
from waypost.ending import Ending
from waypost.errors import WaypostError
from waypost.extras import not_installed
from waypost.settings import SharedSettings, check_settings, read_shared, service_links
from waypost.verbs import SETTINGS, TELL_SETTINGS, VERBS, add_all
from waypost.verbs.parsing import a_parser

SERVING = frozenset({"gateway", "worker"})  # nobody sits before their standard error: a collector reads it
logger = logging.getLogger("waypost")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code (0 done, 1 failure, 2 usage, 3 refused, 4 findings, 78 settings).

    Without arguments it is the process' own verb, and nothing keeps the process after it.
    """
    if arguments is not None:
        return _run(arguments)
    ending = Ending()
    ending.arm()
    return ending.done(_run(None))


def _run(arguments: Sequence[str] | None) -> int:
    options = build_parser().parse_args(arguments)
    environ = dict(os.environ)
    tell = _teller(options.verb, environ)
    try:
        if options.verb in TELL_SETTINGS:
            return _call(options, environ)
        check_settings([SharedSettings, *SETTINGS.get(options.verb, ())], environ)
        shared = read_shared(environ)
        logs.configure(shared.log_level, shared.log_style, options.verb)
        _warn_of_service_links(environ)
        return _call(options, environ)
    except WaypostError as error:
        return tell(str(error), error.exit_code)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a file or folder that a user named
        where = f": {error.filename}" if error.filename else ""
        return tell(f"{error.strerror or type(error).__name__}{where}; make it readable and writable", 1)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _call(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    try:
        return VERBS[options.verb](options, environ)
    except ModuleNotFoundError as error:
        raise not_installed(options.verb, error) from None


def build_parser() -> argparse.ArgumentParser:
    parser = a_parser(
        None,
        "waypost",
        "From an app's own Postgres to recommendations that are served, scaled and watched.",
        """
        A first recommendation on this machine, with nothing else installed:
          waypost local run

        The same, step by step:
          waypost local up                         Postgres, S3, SQS, Triton, gateway and worker in the background
          waypost local generate world --interactions 60000 --seed 1
          waypost load world                       the graph directory into Postgres
          waypost night                            train, export, prove and publish a release
          curl 'http://127.0.0.1:8080/recommend?user_id=42&k=5'

        In production each process gets its parts by setting: WAYPOST_POSTGRES_DSN, WAYPOST_BUCKET,
        WAYPOST_REQUEST_QUEUE_URL, WAYPOST_TRITON_URL. A part whose setting is absent is the embedded one of
        $WAYPOST_LOCAL_DIR (default .waypost).

        Exit codes: 0 done, 1 failure, 2 usage, 3 refused by the quality gate or the data contract,
        4 preflight findings, 78 settings.
        """,
        SharedSettings,
    )
    parser.add_argument("--version", action="version", version=f"waypost {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    add_all(verbs)
    return parser


def _tell(line: str, exit_code: int) -> int:
    print(f"waypost: {line}", file=sys.stderr)  # noqa: T201
    return exit_code


def _teller(verb: str, environ: Mapping[str, str]) -> Callable[[str, int], int]:
    """How its end is told; takes the line and the exit code, which it returns."""
    is_read_by_machine = verb in SERVING and environ.get("WAYPOST_LOG_STYLE") == "json"
    return partial(_log_end, verb) if is_read_by_machine else _tell


def _log_end(verb: str, line: str, exit_code: int) -> int:
    """A process whose every line is an object ends with one; its settings may be what is wrong."""
    logs.configure("ERROR", "json", verb)
    logger.error("the process cannot go on", extra={"cause": line, "exit_code": exit_code})
    return exit_code


def _warn_of_service_links(environ: Mapping[str, str]) -> None:
    if links := service_links(environ):
        logger.warning("ignored variables that Kubernetes injected", extra={"names": ",".join(links)})


if __name__ == "__main__":
    sys.exit(main())

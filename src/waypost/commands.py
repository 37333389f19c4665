"""The command line as people read it: every verb, its options and its help. What a verb does stands in cli.py."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from textwrap import dedent
from typing import Any

from waypost import __version__
from waypost.settings import (
    CacheSettings,
    ExporterSettings,
    GatewaySettings,
    LoadSettings,
    LocalSettings,
    Settings,
    SharedSettings,
    TrainerSettings,
    WorkerSettings,
)

_Verbs = Any  # argparse gives the type of add_subparsers() no public name


def build_parser() -> argparse.ArgumentParser:
    parser = _parser(
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
    _add_local(verbs)
    _add_data(verbs)
    _add_night(verbs)
    _add_serving(verbs)
    _add_release(verbs)
    _add_cache(verbs)
    _add_lists(verbs)
    return parser


def _add_local(verbs: _Verbs) -> None:
    local = _parser(
        verbs, "local", "The embedded stack: Postgres, S3 and SQS, Triton, gateway and worker on this machine.", ""
    )
    kinds = local.add_subparsers(title="verbs", metavar="VERB", required=True)
    up = _parser(
        kinds,
        "up",
        "Start the embedded stack in the background.",
        """
        Loopback only, free ports, data in $WAYPOST_LOCAL_DIR (default .waypost). Started again, it uses the same
        data; what a killed run left behind is cleaned up. A part whose switch is set is not started.
        """,
        LocalSettings,
    )
    up.set_defaults(verb="local up")
    down = _parser(kinds, "down", "Stop the embedded stack; its data stays.", "")
    down.set_defaults(verb="local down")
    status = _parser(kinds, "status", "Say which parts are up, and where; exits 1 unless all are.", "")
    status.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    status.set_defaults(verb="local status")
    run = _parser(
        kinds,
        "run",
        "Everything in the foreground, up to the first recommendation, until Ctrl-C.",
        """
        An empty database gets a generated travel world (WAYPOST_LOCAL_INTERACTIONS, default 60,000), or the graph
        directory of --load; with WAYPOST_MAPPING_FILE the app's own tables are read as they are and nothing is
        generated. Without a release a night is run. Then standard output gets the line `ready <url>` and a
        sample answer as one line of JSON.
        """,
    )
    run.add_argument("--once", action="store_true", help="stop everything and exit after the sample answer")
    run.add_argument("--load", type=Path, metavar="DIR", help="load this graph directory when the database is empty")
    run.set_defaults(verb="local run")
    generate = _parser(
        kinds,
        "generate",
        "Write a synthetic travel world as a graph directory.",
        """
        Users with tastes over places and themes, posts with titles and bodies that fit their tags, popularity of Zipf's
        kind, drift, and new posts and users at the end. The same seed gives the same bytes.
        """,
    )
    generate.add_argument("directory", type=Path, metavar="DIR", help="where to write it")
    generate.add_argument("--interactions", type=_positive, required=True, metavar="N", help="rows of interactions.tsv")
    generate.add_argument("--seed", type=int, default=1, metavar="S", help="another seed, another world (default: 1)")
    generate.set_defaults(verb="local generate")


def _add_data(verbs: _Verbs) -> None:
    load = _parser(
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
    schema = _parser(verbs, "schema", "The app's own tables, as the mapping of WAYPOST_MAPPING_FILE reads them.", "")
    kinds = schema.add_subparsers(title="verbs", metavar="VERB", required=True)
    check = _parser(
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


def _add_night(verbs: _Verbs) -> None:
    night = _parser(
        verbs, "night", "A whole night: trainer, then exporter.", "See `waypost trainer` and `waypost exporter`."
    )
    trainer = _parser(
        verbs,
        "trainer",
        "Read the graph, train GraphSAGE, measure it on a holdout, keep a checkpoint if the gate lets it pass.",
        """
        Prints the checkpoint's name. The graph is read in one snapshot and its tensors are kept in S3 under their
        fingerprint: an unchanged graph is not read again. Exits 3 when the gate refuses the model.
        """,
        TrainerSettings,
    )
    for parser in (night, trainer):
        parser.add_argument(
            "--evaluation",
            type=Path,
            metavar="DIR",
            help="also write train.txt, test.txt and recs.tsv of the holdout there",
        )
    exporter = _parser(
        verbs,
        "exporter",
        "Turn a checkpoint into a release: export, prove it on a real Triton, publish, move the pointer.",
        """
        Prints the release's id. Exits 4 when the preflight finds anything, 0 when a newer release was published
        meanwhile.
        """,
        ExporterSettings,
    )
    exporter.add_argument("--checkpoint", metavar="RUN", help="the checkpoint's name; the newest when absent")
    for parser in (night, exporter):
        parser.add_argument(
            "--repository",
            type=Path,
            metavar="DIR",
            help="also write the Triton model repository there, for any other Triton",
        )
        parser.add_argument(
            "--target-device",
            choices=("gpu", "cpu"),
            default="gpu",
            help="for --repository: what that Triton runs on (default: gpu)",
        )
    night.set_defaults(verb="night")
    trainer.set_defaults(verb="trainer")
    exporter.set_defaults(verb="exporter")


def _add_serving(verbs: _Verbs) -> None:
    gateway = _parser(
        verbs,
        "gateway",
        "Serve POST /recommend: queue a request, wait for the worker's reply, answer before the deadline either way.",
        "Where the model cannot in time it answers by popularity, marked degraded. Without API keys: loopback only.",
        GatewaySettings,
    )
    gateway.set_defaults(verb="gateway")
    worker = _parser(
        verbs,
        "worker",
        "Take requests from the queue, ask Triton, reply to the gateway that asked; follow the release pointer.",
        "Serves nothing before a verified release answers its golden questions in this pod's Triton.",
        WorkerSettings,
    )
    worker.set_defaults(verb="worker")


def _add_release(verbs: _Verbs) -> None:
    preflight = _parser(
        verbs,
        "preflight",
        "Would this release folder, or Triton model repository, load and answer rightly?",
        "Exits 4 when there are findings. docs/preflight.md lists the codes.",
    )
    preflight.add_argument("directory", type=Path, metavar="DIR", help="release folder or model repository")
    preflight.add_argument("--static", action="store_true", help="read the files only; do not load them in a Triton")
    preflight.add_argument("--target", default=None, metavar="YY.MM", help="the Triton release it must load on")
    preflight.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    preflight.add_argument(
        "--serves-here", action="store_true", help="this machine is to serve: has it the GPUs that config.pbtxt names?"
    )
    preflight.add_argument(
        "--s3-address", default=None, metavar="s3://…", help="where another Triton loads it from: can it read that?"
    )
    preflight.set_defaults(verb="preflight")
    release = _parser(
        verbs,
        "release",
        "The published releases and the pointer that says which is served.",
        """
        When a release is bad:
          waypost release diff                     what changed with it
          waypost release rollback                 serve the one before; every pod does within seconds
          waypost release pin --reason "why"       and let no night change that
          waypost release log                      who moved the pointer, when and why
          waypost release unpin                    when the next night may be served again
        """,
    )
    kinds = release.add_subparsers(title="verbs", metavar="VERB", required=True)
    _add_release_looks(kinds)
    _add_release_moves(kinds)


def _add_release_looks(kinds: _Verbs) -> None:
    listing = _parser(
        kinds,
        "list",
        "Every release by ascending version.",
        """
        `*` marks the served one; `pinned` says that nights publish and do not change it. `unsigned` has no signature;
        `signature refused` has one that no key of WAYPOST_RELEASE_KEYS_FILE fits: no pod with that file serves either.
        `signature unchecked` says that this verb was given no keys.
        """,
    )
    listing.set_defaults(verb="release list")
    show = _parser(
        kinds,
        "show",
        "One release's manifest as JSON, and the pointer where it is the served one.",
        "Files with size and sha256, sizes of the graph, scores, what it was made for and from, whether it is signed.",
    )
    show.add_argument("release", nargs="?", metavar="ID", help="its id or its version; the served one when absent")
    show.set_defaults(verb="release show")
    diff = _parser(
        kinds,
        "diff",
        "What changed from release A to release B: scores, sizes, files, users and posts that came and went.",
        """
        Without A and B: from the one that a rollback would serve to the served one. With A alone: from A to the served
        one. Fetches the lookups of both, and verifies them.
        """,
    )
    diff.add_argument("first", nargs="?", metavar="A", help="id or version")
    diff.add_argument("second", nargs="?", metavar="B", help="id or version")
    diff.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    diff.set_defaults(verb="release diff")
    log = _parser(
        kinds,
        "log",
        "Every move of the pointer, newest first: number, when, how, who, from and to, why.",
        """
        how: publish by a night, rollback, pin and unpin by an operator, retreat by a pod that gave a canary up.
        The lines are objects in S3, releases/audit/, written once.
        """,
    )
    log.add_argument("--limit", type=_positive, default=20, metavar="N", help="so many lines (default: 20)")
    log.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    log.set_defaults(verb="release log")


def _add_release_moves(kinds: _Verbs) -> None:
    rollback = _parser(
        kinds,
        "rollback",
        "Serve an older release: move the pointer back.",
        """
        Pods switch at once, without a canary. The next night publishes and is served again, unless the pointer is
        pinned: then, or with --pin, nights publish and do not point. A rollback never lifts a pin. With an ID it also
        mends a pointer that is damaged or was deleted.
        """,
    )
    rollback.add_argument(
        "release", nargs="?", metavar="ID", help="its id or version; the one served before when absent"
    )
    rollback.add_argument("--pin", action="store_true", help="and let no night change that until `release unpin`")
    pin = _parser(
        kinds,
        "pin",
        "Serve this release whatever nights publish, until `waypost release unpin`.",
        "Nights go on publishing, say so, and exit 0; their releases can be served by `pin ID` or `rollback ID`.",
    )
    pin.add_argument("release", nargs="?", metavar="ID", help="its id or version; the served one when absent")
    unpin = _parser(
        kinds,
        "unpin",
        "Let the next night's release be served again.",
        "What is served stays until then; `waypost release rollback ID` serves another one now.",
    )
    for parser, verb in ((rollback, "rolled back"), (pin, "pinned"), (unpin, "unpinned")):
        required = parser is pin
        parser.add_argument(
            "--reason",
            required=required,
            default=None if required else f"{verb} by operator",
            metavar="WHY",
            help="kept in the pointer and in the audit",
        )
    rollback.set_defaults(verb="release rollback")
    pin.set_defaults(verb="release pin")
    unpin.set_defaults(verb="release unpin")


def _add_cache(verbs: _Verbs) -> None:
    cache = _parser(
        verbs, "cache", "The nights' graphs that are kept in S3: see them, check them, remove old ones.", ""
    )
    kinds = cache.add_subparsers(title="verbs", metavar="VERB", required=True)
    listing = _parser(
        kinds,
        "ls",
        "Every kept night, newest first; the one that the next night starts from is marked.",
        "docs/cache.md explains the columns.",
    )
    verify = _parser(
        kinds,
        "verify",
        "Fetch every object of every night, compare it with its sha256 and decode it.",
        "Exits 1 when there are findings; docs/cache.md lists the codes.",
    )
    verify.add_argument("--newest", action="store_true", help="only what the newest night is made of")
    for parser in (listing, verify):
        parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    gc = _parser(
        kinds,
        "gc",
        "Remove nights that are neither young nor among the newest, and what no night names.",
        """
        Every night does this at its end. Nothing that a kept night or one of the newest checkpoints needs is removed,
        nor anything younger than a day.
        """,
        CacheSettings,
    )
    gc.add_argument("--keep-nights", type=_positive, metavar="N", help="instead of WAYPOST_CACHE_KEEP_NIGHTS")
    gc.add_argument("--keep-days", type=_days, metavar="D", help="instead of WAYPOST_CACHE_KEEP_DAYS")
    gc.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    listing.set_defaults(verb="cache ls")
    verify.set_defaults(verb="cache verify")
    gc.set_defaults(verb="cache gc")


def _add_lists(verbs: _Verbs) -> None:
    recommend = _parser(
        verbs,
        "recommend",
        "Lists for all users, offline, from the served release's own model file.",
        """
        One line a user: user<TAB>post post …, best first: the lists they would get over HTTP. A text key is written as
        one word: a backslash doubled, white space and control characters as \\x and two hexadecimal digits for each
        byte.
        """,
    )
    recommend.add_argument("--all-users", action="store_true", required=True, help="everybody whom the release knows")
    recommend.add_argument("--k", type=_positive, default=20, help="posts in a list, at most 100 (default: 20)")
    recommend.add_argument("--output", type=Path, required=True, metavar="FILE", help="appears whole or not at all")
    recommend.add_argument("--include-seen", action="store_true", help="do not leave out the posts a user has seen")
    recommend.set_defaults(verb="recommend")
    evaluate = _parser(
        verbs,
        "evaluate",
        "Recall, NDCG, coverage and more of lists against a test set.",
        """
        --train and --test: `user item item …` a line, or with --format pairs `user<TAB>item` a line; plain, .gz or .xz.
        --recs: `user<TAB>item item …`, best first, as `waypost recommend` writes them.
        """,
    )
    for name, what in (("train", "what users had"), ("test", "what they came to have"), ("recs", "the lists to judge")):
        evaluate.add_argument(f"--{name}", type=Path, required=True, metavar="FILE", help=what)
    evaluate.add_argument("--k", type=_positive, default=20, help="length of the judged lists (default: 20)")
    evaluate.add_argument("--format", choices=("lists", "pairs"), default="lists", help="of --train and --test")
    evaluate.add_argument(
        "--missing",
        choices=("zero", "skip", "error"),
        default="zero",
        help="a test user without a list (default: zero)",
    )
    evaluate.add_argument(
        "--seen",
        choices=("error", "strip", "keep"),
        default="error",
        help="a list that names a train item (default: error)",
    )
    evaluate.add_argument("--drop-seen", action="store_true", help="drop test pairs that are in train too")
    evaluate.add_argument("--n-items", type=_positive, metavar="N", help="size of the catalogue, for coverage")
    evaluate.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    evaluate.set_defaults(verb="evaluate")


def _parser(
    verbs: _Verbs | None, name: str, summary: str, details: str, settings: type[Settings] | None = None
) -> argparse.ArgumentParser:
    epilog = dedent(details).strip()
    if settings is not None:
        epilog += "\n\nsettings (environment):\n" + "\n".join(f"  {line}" for line in settings.lines())
    facts: dict[str, Any] = {
        "description": summary,
        "epilog": epilog,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
    if verbs is None:
        return argparse.ArgumentParser(name, **facts)
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=summary, **facts)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _days(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return number

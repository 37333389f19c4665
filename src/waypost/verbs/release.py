"""The published releases and their pointer: `waypost release …`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from waypost.settings import read_shared
from waypost.verbs.clusters import add_namespace, open_cluster
from waypost.verbs.opening import open_mover, open_releases, open_store, say
from waypost.verbs.parsing import SettingsOf, Verb, Verbs, a_parser, positive

if TYPE_CHECKING:
    from waypost.release.pointer import Pointer


def add_to(verbs: Verbs) -> None:
    release = a_parser(
        verbs,
        "release",
        "The published releases and the pointer that says which is served.",
        """
        When a release is bad:
          waypost release status                   which pod serves which release, now
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


def _add_release_looks(kinds: Verbs) -> None:
    listing = a_parser(
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
    status = a_parser(
        kinds,
        "status",
        "Which worker pod of a Kubernetes cluster serves which release.",
        """
        Read from the pods, where each worker writes what it serves; by your kubeconfig (KUBECONFIG, else
        ~/.kube/config), which needs `list` on pods. With WAYPOST_BUCKET set the pods are compared with the pointer.
        """,
    )
    add_namespace(status)
    status.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    status.set_defaults(verb="release status")
    show = a_parser(
        kinds,
        "show",
        "One release's manifest as JSON, and the pointer where it is the served one.",
        "Files with size and sha256, sizes of the graph, scores, what it was made for and from, whether it is signed.",
    )
    show.add_argument("release", nargs="?", metavar="ID", help="its id or its version; the served one when absent")
    show.set_defaults(verb="release show")
    diff = a_parser(
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
    log = a_parser(
        kinds,
        "log",
        "Every move of the pointer, newest first: number, when, how, who, from and to, why.",
        """
        how: publish by a night, rollback, pin and unpin by an operator, retreat by a pod that gave a canary up.
        The lines are objects in S3, releases/audit/, written once.
        """,
    )
    log.add_argument("--limit", type=positive, default=20, metavar="N", help="so many lines (default: 20)")
    log.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    log.set_defaults(verb="release log")


def _add_release_moves(kinds: Verbs) -> None:
    rollback = a_parser(
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
    pin = a_parser(
        kinds,
        "pin",
        "Serve this release whatever nights publish, until `waypost release unpin`.",
        "Nights go on publishing, say so, and exit 0; their releases can be served by `pin ID` or `rollback ID`.",
    )
    pin.add_argument("release", nargs="?", metavar="ID", help="its id or version; the served one when absent")
    unpin = a_parser(
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


def _release_list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.release.listing import list_lines

    for line in list_lines(*open_releases(environ)):
        say(line)
    return 0


def _release_status(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.kubernetes.serving import pods_serving, status_json, status_lines
    from waypost.release.pointer import read_pointer

    cluster, namespace = open_cluster(options, environ)
    pods = pods_serving(cluster, namespace)
    held = read_pointer(open_store(environ)) if read_shared(environ).bucket else None
    pointed_to = held.pointer.release if held else None
    for line in [status_json(pods, pointed_to)] if options.json else status_lines(pods, pointed_to):
        say(line)
    return 0


def _release_show(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.release.listing import show_json

    store, trusted = open_releases(environ)
    say(show_json(store, options.release, trusted))
    return 0


def _release_diff(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.release.comparing import compare_releases

    store, trusted = open_releases(environ)
    difference = compare_releases(store, options.first, options.second, trusted)
    for line in [difference.to_json()] if options.json else difference.lines():
        say(line)
    return 0


def _release_rollback(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.release.moves import roll_back

    store, trusted, by, clock = open_mover(environ)
    return _tell_served(roll_back(store, options.release, options.reason, by, clock, pin=options.pin, trusted=trusted))


def _release_pin(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.release.moves import pin

    store, trusted, by, clock = open_mover(environ)
    return _tell_served(pin(store, options.release, options.reason, by, clock, trusted=trusted))


def _release_unpin(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.release.moves import unpin

    store, _, by, clock = open_mover(environ)
    return _tell_served(unpin(store, options.reason, by, clock))


def _release_log(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.release.listing import log_json, log_lines, read_log

    lines = read_log(open_store(environ), options.limit)
    for line in [log_json(lines)] if options.json else log_lines(lines):
        say(line)
    return 0


def _tell_served(pointer: Pointer) -> int:
    say(f"serving {pointer.release}, version {pointer.version}{', pinned' if pointer.pinned else ''}")
    return 0


VERBS: dict[str, Verb] = {
    "release list": _release_list,
    "release status": _release_status,
    "release show": _release_show,
    "release diff": _release_diff,
    "release rollback": _release_rollback,
    "release pin": _release_pin,
    "release unpin": _release_unpin,
    "release log": _release_log,
}
SETTINGS: SettingsOf = {}

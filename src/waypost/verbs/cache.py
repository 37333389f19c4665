"""The nights kept in S3: `waypost cache …`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from waypost.settings import CacheSettings, read_settings
from waypost.verbs.opening import open_store, read_schema_mapping, say
from waypost.verbs.parsing import SettingsOf, Verb, Verbs, a_parser, days, positive


def add_to(verbs: Verbs) -> None:
    cache = a_parser(
        verbs, "cache", "The nights' graphs that are kept in S3: see them, check them, remove old ones.", ""
    )
    kinds = cache.add_subparsers(title="verbs", metavar="VERB", required=True)
    listing = a_parser(
        kinds,
        "ls",
        "Every kept night, newest first; the one that the next night starts from is marked.",
        "docs/cache.md explains the columns.",
    )
    verify = a_parser(
        kinds,
        "verify",
        "Fetch every object of every night, compare it with its sha256 and decode it.",
        "Exits 1 when there are findings; docs/cache.md lists the codes.",
    )
    verify.add_argument("--newest", action="store_true", help="only what the newest night is made of")
    for parser in (listing, verify):
        parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    gc = a_parser(
        kinds,
        "gc",
        "Remove nights that are neither young nor among the newest, and what no night names.",
        """
        Every night does this at its end. Nothing that a kept night or one of the newest checkpoints needs is removed,
        nor anything younger than a day.
        """,
        CacheSettings,
    )
    gc.add_argument("--keep-nights", type=positive, metavar="N", help="instead of WAYPOST_CACHE_KEEP_NIGHTS")
    gc.add_argument("--keep-days", type=days, metavar="D", help="instead of WAYPOST_CACHE_KEEP_DAYS")
    gc.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    listing.set_defaults(verb="cache ls")
    verify.set_defaults(verb="cache verify")
    gc.set_defaults(verb="cache gc")


def _cache_ls(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.graph.listing import list_json, list_lines, read_listing

    nights = read_listing(open_store(environ), read_schema_mapping(environ))
    for line in [list_json(nights)] if options.json else list_lines(nights):
        say(line)
    return 0


def _cache_verify(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.graph.verifying import verify

    found = verify(open_store(environ), options.newest)
    for line in [found.to_json()] if options.json else found.lines():
        say(line)
    return 1 if found.findings else 0


def _cache_gc(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.clock import SystemClock
    from waypost.graph.retention import read_plan, remove_expired

    settings = read_settings(CacheSettings, environ)
    given = {"keep_nights": options.keep_nights, "keep_days": options.keep_days}
    settings = settings.model_copy(update={name: value for name, value in given.items() if value is not None})
    remove = read_plan if options.dry_run else remove_expired
    going = remove(open_store(environ), settings, SystemClock().now())
    for removal in going:
        say(str(removal))
    total = sum(removal.size for removal in going)
    say(f"{'would remove' if options.dry_run else 'removed'} {len(going)} objects, {total:,} bytes")
    return 0


VERBS: dict[str, Verb] = {
    "cache ls": _cache_ls,
    "cache verify": _cache_verify,
    "cache gc": _cache_gc,
}
SETTINGS: SettingsOf = {
    "cache ls": (CacheSettings,),
    "cache verify": (CacheSettings,),
    "cache gc": (CacheSettings,),
}

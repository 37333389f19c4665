"""Lists in files: `waypost recommend` and `waypost evaluate`."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from waypost.verbs.opening import read_parts, say, store_of
from waypost.verbs.parsing import SettingsOf, Verb, Verbs, a_parser, positive

logger = logging.getLogger("waypost")


def add_to(verbs: Verbs) -> None:
    recommend = a_parser(
        verbs,
        "recommend",
        "Lists for all users, offline, from the served release's own model file.",
        """
        One line a user: user<TAB>post post …, best first: the lists they would get over HTTP. A text key is written as
        one word: a backslash doubled, white space and control characters as \\x and two hexadecimal digits for each
        byte.

        --posts FILE ranks only the posts that the file names, one key a line as in the lists: the new ones, or those of
        a category. A post that the release does not know is an error.
        """,
    )
    recommend.add_argument("--all-users", action="store_true", required=True, help="everybody whom the release knows")
    recommend.add_argument("--k", type=positive, default=20, help="posts in a list, at most 100 (default: 20)")
    recommend.add_argument("--output", type=Path, required=True, metavar="FILE", help="appears whole or not at all")
    recommend.add_argument("--posts", type=Path, metavar="FILE", help="rank only these posts (default: all)")
    recommend.add_argument("--include-seen", action="store_true", help="do not leave out the posts a user has seen")
    recommend.set_defaults(verb="recommend")
    evaluate = a_parser(
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
    evaluate.add_argument("--k", type=positive, default=20, help="length of the judged lists (default: 20)")
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
    evaluate.add_argument("--n-items", type=positive, metavar="N", help="size of the catalogue, for coverage")
    evaluate.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    evaluate.set_defaults(verb="evaluate")


def _recommend(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.release.chosen_posts import load_chosen_posts
    from waypost.release.offline import load_answerer, recommend_all_users, write_lists
    from waypost.release.signing import trusted_keys

    parts = read_parts(environ, ["s3"])
    answerer = load_answerer(store_of(parts), trusted_keys(parts))
    if options.posts:
        answerer = replace(answerer, only_posts=load_chosen_posts(options.posts, answerer.lookups))
    lists = recommend_all_users(answerer, options.k, exclude_seen=not options.include_seen)
    lines = write_lists(options.output, lists)
    logger.info("lists written", extra={"users": lines, "model_version": answerer.model_version})
    return 0


def _evaluate(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.model.judge import JudgeOptions, evaluate_files

    judging = JudgeOptions(
        k=options.k,
        missing=options.missing,
        seen=options.seen,
        drop_seen=options.drop_seen,
        format=options.format,
        num_posts=options.n_items,
    )
    figures = evaluate_files(options.train, options.test, options.recs, judging)
    if options.json:
        say(json.dumps(figures))
    else:
        for name, value in figures.items():
            say(f"{name:26} {value:.5f}" if isinstance(value, float) else f"{name:26} {value}")
    return 0


VERBS: dict[str, Verb] = {
    "recommend": _recommend,
    "evaluate": _evaluate,
}
SETTINGS: SettingsOf = {}

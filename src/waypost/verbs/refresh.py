"""`waypost refresh`: between nights, the served weights on the graph of this moment, published as a release."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping

from waypost import logs
from waypost.settings import ExporterSettings, TrainerSettings, read_settings
from waypost.verbs.night import end_on_sigterm, prepare_for_bulk_work
from waypost.verbs.opening import read_parts, read_schema_mapping, say
from waypost.verbs.parsing import SettingsOf, Verb, Verbs, a_parser

logger = logging.getLogger("waypost")


def add_to(verbs: Verbs) -> None:
    refresh = a_parser(
        verbs,
        "refresh",
        "Give new posts and users their vectors without training: the served weights on the graph of this moment.",
        """
        Meant to run every few minutes between nights. Reads what changed since the last read, as a night does; new and
        changed posts, users and tags are told by the encoder that the served release was trained with, in its own
        tokens; then export, proof on a real Triton and pointer, as `waypost exporter` does. Prints the release's id.

        When nothing is new, or operators have pinned a release, it says so, publishes nothing and exits 0; so it does
        when a newer release was published meanwhile. Scores are carried over from the night that trained the weights.
        Exits 3 when the data contract refuses the graph or the vectors are not sane, 4 when the preflight finds
        anything. The served release stays whenever a refresh fails.

        It reads the settings of `waypost trainer` and `waypost exporter`; those of the training do not matter.
        """,
    )
    refresh.set_defaults(verb="refresh")


def _refresh(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    end_on_sigterm()
    trainer, exporter = read_settings(TrainerSettings, environ), read_settings(ExporterSettings, environ)
    parts = read_parts(environ, ["postgres", "s3", "triton"])
    mapping = read_schema_mapping(environ)
    from waypost.release.signing import signing_key

    signing_key(exporter.signing_key_file, parts)  # its want is told before the work, not after it
    prepare_for_bulk_work()
    from waypost.exporter.proving import require_target, scratch_triton
    from waypost.exporter.run import run as run_exporter
    from waypost.trainer.refreshing import run as run_refresh

    require_target(exporter.target)
    scratch_triton(exporter, parts)
    with logs.stage(logger, "refresh done"):
        made = run_refresh(trainer, parts, mapping)
        if made is None:
            return 0
        release = run_exporter(exporter, parts, made.checkpoint, None, instead_of=made.release)
    say(release)
    return 0


VERBS: dict[str, Verb] = {"refresh": _refresh}
SETTINGS: SettingsOf = {"refresh": (TrainerSettings, ExporterSettings)}

"""`waypost preflight DIR`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from waypost.settings import ExporterSettings, LocalSettings, read_settings, read_shared
from waypost.verbs.opening import read_parts, say
from waypost.verbs.parsing import SettingsOf, Verb, Verbs, a_parser


def add_to(verbs: Verbs) -> None:
    preflight = a_parser(
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


def _preflight(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.exporter.proving import preflight_directory
    from waypost.release.preflight import check_s3_address, read_node, report_json
    from waypost.release.signing import NO_KEYS, load_trusted_keys

    settings = read_settings(ExporterSettings, environ)
    parts = None if options.static else read_parts(environ, ["triton"])
    keys = parts.release_keys_file if parts else read_shared(environ).release_keys_file
    findings = check_s3_address(options.s3_address) if options.s3_address else []
    findings += preflight_directory(
        options.directory,
        options.target or settings.target,
        settings,
        parts,
        load_trusted_keys(keys) if keys else NO_KEYS,
        read_node(read_settings(LocalSettings, environ).triton_home, options.serves_here),
    )
    say(report_json(findings) if options.json else "\n".join(str(finding) for finding in findings) or "no findings")
    return 4 if findings else 0


VERBS: dict[str, Verb] = {
    "preflight": _preflight,
}
SETTINGS: SettingsOf = {
    "preflight": (ExporterSettings,),
}

"""The processes of the day: `waypost gateway` and `waypost worker`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from waypost.settings import GatewaySettings, WorkerSettings, read_settings, read_shared
from waypost.verbs.opening import read_parts
from waypost.verbs.parsing import SettingsOf, Verb, Verbs, a_parser


def add_to(verbs: Verbs) -> None:
    gateway = a_parser(
        verbs,
        "gateway",
        "Serve POST /recommend: queue a request, wait for the worker's reply, answer before the deadline either way.",
        "Where the model cannot in time it answers by popularity, marked degraded. Without API keys: loopback only.",
        GatewaySettings,
    )
    gateway.set_defaults(verb="gateway")
    worker = a_parser(
        verbs,
        "worker",
        "Take requests from the queue, ask Triton, reply to the gateway that asked; follow the release pointer.",
        "Serves nothing before a verified release answers its golden questions in this pod's Triton.",
        WorkerSettings,
    )
    worker.set_defaults(verb="worker")


def _gateway(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.gateway.run import run

    settings = read_settings(GatewaySettings, environ)
    return run(settings, read_shared(environ), read_parts(environ, ["s3", "sqs"]))


def _worker(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.worker.run import run

    settings = read_settings(WorkerSettings, environ)
    return run(settings, read_shared(environ), read_parts(environ, ["s3", "sqs", "triton"]))


VERBS: dict[str, Verb] = {
    "gateway": _gateway,
    "worker": _worker,
}
SETTINGS: SettingsOf = {
    "gateway": (GatewaySettings,),
    "worker": (WorkerSettings,),
}

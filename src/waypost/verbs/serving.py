"""The processes of the day: `waypost gateway` and `waypost worker`; and a gateway's keys."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from waypost.errors import UsageError
from waypost.settings import GatewaySettings, WorkerSettings, read_settings, read_shared
from waypost.verbs.opening import read_parts
from waypost.verbs.parsing import SettingsOf, Verb, Verbs, a_parser, above_zero, positive


def add_to(verbs: Verbs) -> None:
    gateway = a_parser(
        verbs,
        "gateway",
        "Serve POST /recommend: queue a request, wait for the worker's reply, answer before the deadline either way.",
        "Where the model cannot in time it answers by popularity, marked degraded. Without API keys: loopback only.",
        GatewaySettings,
    )
    gateway.set_defaults(verb="gateway")
    _add_key_to(gateway.add_subparsers(title="verbs", metavar="VERB"))
    worker = a_parser(
        verbs,
        "worker",
        "Take requests from the queue, ask Triton, reply to the gateway that asked; follow the release pointer.",
        "Serves nothing before a verified release answers its golden questions in this pod's Triton.",
        WorkerSettings,
    )
    worker.set_defaults(verb="worker")


def _add_key_to(verbs: Verbs) -> None:
    key = a_parser(
        verbs,
        "key",
        "Make an API key: print it once, add its hash to the keys file.",
        """
        A first key, and the gateway that asks for it:
          export WAYPOST_GATEWAY_API_KEYS_FILE=keys.json
          waypost gateway key --id app > app.key
          waypost local up                                the embedded gateway starts anew, on the port it had
          curl -H "Authorization: Bearer $(cat app.key)" 'http://127.0.0.1:8080/recommend?user_id=42'

        A rotation, without a restart and without a refused request:
          waypost gateway key --id app-2 --tenant app     both keys count within a second, with one quota
          give the new key to every caller, then take the entry "app" out of the file

        A quota is the tenant's, whatever key he shows, and each gateway process counts for itself: with three of
        them he may ask three times as much.

        The file holds hashes only: a key that is lost is made anew. A gateway older than the `waypost` that wrote the
        file keeps the keys it has, where it finds fields that it does not know: update gateways first. In Kubernetes
        make the file here and put it into the Secret of keys.apiKeys.existingSecret as api-keys.json; the running
        pods read it again by themselves.
        """,
    )
    key.add_argument("--id", required=True, metavar="NAME", help="what the file calls it; never shown to callers")
    key.add_argument("--tenant", metavar="NAME", help="whose quota it counts against (default: its own id)")
    key.add_argument("--requests-per-second", type=above_zero, metavar="N", help="the tenant's rate (default: any)")
    key.add_argument("--burst", type=positive, metavar="N", help="at once after a pause (default: one second's worth)")
    key.add_argument("--concurrency", type=positive, metavar="N", help="the tenant's requests in flight")
    key.add_argument(
        "--file", type=Path, metavar="FILE", help="the keys file (default: $WAYPOST_GATEWAY_API_KEYS_FILE)"
    )
    key.set_defaults(verb="gateway key")


def _gateway_key(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.gateway.key_making import make_key
    from waypost.gateway.quotas import Quota

    file = options.file or read_settings(GatewaySettings, environ).api_keys_file
    if file is None:
        raise UsageError("no keys file is named", "give --file FILE or set WAYPOST_GATEWAY_API_KEYS_FILE")
    quota = Quota(options.requests_per_second, options.burst, options.concurrency)
    key = make_key(file, options.id, options.tenant, quota)
    print(key)  # noqa: T201
    print(f"its hash is in {file}; this is the only time it is shown", file=sys.stderr)  # noqa: T201
    return 0


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
    "gateway key": _gateway_key,
    "worker": _worker,
}
SETTINGS: SettingsOf = {
    "gateway": (GatewaySettings,),
    "gateway key": (GatewaySettings,),
    "worker": (WorkerSettings,),
}

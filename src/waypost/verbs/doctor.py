"""`waypost doctor`: everything a person on call would look at, at once."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from waypost import logs
from waypost.clock import Clock, SystemClock
from waypost.errors import SettingsError
from waypost.settings import (
    CacheSettings,
    EmbeddedStack,
    ExporterSettings,
    GatewaySettings,
    LoadSettings,
    LocalSettings,
    Part,
    Parts,
    Settings,
    SharedSettings,
    TrainerSettings,
    WorkerSettings,
    read_settings,
    read_shared,
    resolve_parts,
    unknown_names,
)
from waypost.verbs.clusters import add_namespace, open_cluster
from waypost.verbs.opening import read_stack_if_needed, say
from waypost.verbs.parsing import SettingsOf, Verb, Verbs, a_parser

if TYPE_CHECKING:
    from waypost.doctor.findings import Finding
    from waypost.doctor.looks import Process

KINDS: tuple[type[Settings], ...] = (
    SharedSettings, LoadSettings, TrainerSettings, CacheSettings, ExporterSettings, GatewaySettings, WorkerSettings,
    LocalSettings,
)  # fmt: skip
PARTS: tuple[Part, ...] = ("postgres", "s3", "sqs", "triton")
S = TypeVar("S", bound=Settings)


def add_to(verbs: Verbs) -> None:
    doctor = a_parser(
        verbs,
        "doctor",
        "Look at every part at once and say what is wrong and what to do, worst first.",
        """
        A line for each part:
          BAD queue SQS cannot be reached for GetQueueAttributes: ConnectionRefusedError: check AWS_ENDPOINT_URL, …
          WARN dead letters are 3: requests that could not be processed: read one's attribute `reason` …
          skipped keda because no cluster is known: set KUBECONFIG to a kubeconfig
          ok model version 7 answers all 16 golden questions rightly

        Begin with the first line: what stands higher is the cause of what stands lower, where both are BAD.

        What is looked at:
          settings          of every process, as it would read them here; files of keys
          database          can the night's role read what the mapping names, and does it write to nothing
          bucket, pointer   and the release it points to: every file's digest, and who signed it
          queue             its depth, and that of its dead letters
          triton, model     does the served model answer the release's golden questions (READY proves nothing)
          worker, gateway   /readyz and /metrics of the embedded stack's; in a cluster their own probes ask them
          keda              what the ScaledObject says of itself, by your kubeconfig: `list` on scaledobjects
          clock             this machine's against S3, SQS and Postgres

        Without settings it looks at the embedded stack ($WAYPOST_LOCAL_DIR), with them at the real parts; a part that
        is neither is skipped and says so. It changes nothing, and every look ends by itself: a few seconds in all,
        less than ten when every part hangs. No secrets and no ids of users are printed.
        In a cluster: kubectl exec deploy/waypost-worker -c worker -- waypost doctor

        Exits 0 when nothing is BAD, else 1.
        """,
    )
    doctor.add_argument("--json", action="store_true", help='one object instead: {"ok", "findings": [{"part", …}]}')
    add_namespace(doctor)
    doctor.set_defaults(verb="doctor")


def _doctor(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.doctor.findings import is_well, to_json

    findings = look(options, environ, SystemClock())
    for line in [to_json(findings)] if options.json else [finding.line() for finding in findings]:
        say(line)
    return 0 if is_well(findings) else 1


def look(options: argparse.Namespace, environ: Mapping[str, str], clock: Clock) -> Sequence[Finding]:
    """Everything that this environment leads to, worst first; `clock` is what others' clocks are compared with."""
    from waypost.doctor.findings import bad
    from waypost.doctor.looks import Subject, look_at
    from waypost.gateway.keys import load_api_keys

    readable = _without(unknown_names(environ), environ)  # the look at the settings tells those
    try:
        shared = read_shared(readable)
        logs.configure("ERROR", shared.log_style)  # what is to be known is in the findings
        stack = read_stack_if_needed(shared, PARTS)
        parts = _known_parts(shared, stack, environ)
    except SettingsError as error:
        return [bad("settings", error.cause, error.remedy)]
    subject = Subject(
        environ=environ,
        kinds=KINDS,
        shared=shared,
        gateway=_read_or_default(GatewaySettings, readable),
        worker=_read_or_default(WorkerSettings, readable),
        parts=parts,
        load_api_keys=load_api_keys,
        open_cluster=lambda: open_cluster(options, environ),
        clock=clock,
        processes=_processes(shared) if stack else {},
    )
    return look_at(subject)


def _without(problems: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    named = {problem.partition(":")[0] for problem in problems}
    return {name: value for name, value in environ.items() if name not in named}


def _known_parts(shared: SharedSettings, stack: EmbeddedStack | None, environ: Mapping[str, str]) -> Parts:
    """What is set or embedded; the rest is empty. Raises SettingsError where nothing is either."""
    known = resolve_parts(shared, (), stack, environ.get("AWS_REGION"))
    if not any((known.postgres_dsn, known.bucket, known.request_queue_url, known.triton_url)):
        resolve_parts(shared, PARTS, stack)
    return known


def _read_or_default(kind: type[S], environ: Mapping[str, str]) -> S:
    """Mistakes in it are the process' own; the look at the settings tells them."""
    try:
        return read_settings(kind, environ)
    except SettingsError:
        return kind()


def _processes(shared: SharedSettings) -> dict[str, Process]:
    from waypost.doctor.looks import Process
    from waypost.local.layout import PROCESS_PARTS, Layout
    from waypost.local.serving import read_published
    from waypost.local.stack import read_died

    died = read_died(shared.local_dir)
    found = {}
    for name in PROCESS_PARTS:
        published = read_published(Layout.of(shared.local_dir), name)
        url = (published.url or published.metrics_url.removesuffix("/metrics")) if published else None
        found[name] = Process(url, published.metrics_url if published else None, name in died)
    return found


VERBS: dict[str, Verb] = {"doctor": _doctor}
SETTINGS: SettingsOf = {}

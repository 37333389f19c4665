"""The door: every verb, its help, its exit code. Verbs import what they need when they are called, so that the
gateway's image needs no torch to say `waypost gateway`.

A verb's result goes to standard output, everything else to standard error; an error a user can cause is one line.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from waypost import logs
from waypost.commands import build_parser
from waypost.errors import WaypostError
from waypost.memory import share_one_heap
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
    absent_parts,
    check_settings,
    read_settings,
    read_shared,
    resolve_parts,
    service_links,
)

if TYPE_CHECKING:
    from waypost.clock import Clock
    from waypost.graph.mapping import Mapping as SchemaMapping
    from waypost.objects.protocols import ObjectStore
    from waypost.release.pointer import Pointer
    from waypost.release.signing import TrustedKeys

logger = logging.getLogger("waypost")
Verb = Callable[[argparse.Namespace, Mapping[str, str]], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code (0 done, 1 failure, 2 usage, 3 refused, 4 findings, 78 settings)."""
    options = build_parser().parse_args(arguments)
    environ = dict(os.environ)
    try:
        check_settings([SharedSettings, *SETTINGS.get(options.verb, ())], environ)
        shared = read_shared(environ)
        logs.configure(shared.log_level, shared.log_style)
        _warn_of_service_links(environ)
        return VERBS[options.verb](options, environ)
    except WaypostError as error:
        return _tell(str(error), error.exit_code)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a file or folder that a user named
        where = f": {error.filename}" if error.filename else ""
        return _tell(f"{error.strerror or type(error).__name__}{where}; make it readable and writable", 1)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _tell(line: str, exit_code: int) -> int:
    print(f"waypost: {line}", file=sys.stderr)  # noqa: T201
    return exit_code


def _local_up(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.local.run import start

    start(environ)
    return 0


def _local_down(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.local.stack import down

    down(read_shared(environ).local_dir)
    return 0


def _local_status(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.local.run import print_status

    return print_status(read_shared(environ).local_dir, as_json=options.json)


def _local_run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.local.run import run

    _read_mapping(environ)  # a mistake in it is told now, not after everything has started
    return run(environ, lambda: _run_night(options, environ), once=options.once, load=options.load)


def _local_generate(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.local.world import write_world

    with logs.stage(logger, "world written"):
        write_world(options.directory, options.interactions, options.seed)
    return 0


def _load(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.graph.loading import load_directory

    given = read_settings(LoadSettings, environ).postgres_dsn
    dsn = given or read_parts(environ, ["postgres"]).postgres_owner_dsn
    load_directory(dsn, options.directory)
    return 0


def _schema_check(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.graph.explaining import explain
    from waypost.graph.explanation import to_json, to_text
    from waypost.graph.postgres import SessionLimits

    settings, mapping = read_settings(TrainerSettings, environ), _read_mapping(environ)
    limits = SessionLimits(settings.connections, settings.server_workers, settings.statement_timeout_seconds)
    explanation = explain(read_parts(environ, ["postgres"]).postgres_dsn, mapping, limits)
    _say(to_json(explanation) if options.json else to_text(explanation))
    explanation.require_readable()
    return 0


def _trainer(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(TrainerSettings, environ)
    parts = read_parts(environ, ["postgres", "s3"])
    _prepare_for_bulk_work()
    mapping = _read_mapping(environ)
    from waypost.trainer.run import run  # torch takes seconds: what is missing was said before

    _say(run(settings, read_settings(CacheSettings, environ), parts, mapping, options.evaluation))
    return 0


def _exporter(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(ExporterSettings, environ)
    parts = read_parts(environ, ["s3", "triton"])
    _prepare_for_bulk_work()
    from waypost.exporter.run import RepositoryWish, run

    wish = RepositoryWish(options.repository, options.target_device) if options.repository else None
    _say(run(settings, parts, options.checkpoint, wish))
    return 0


def _night(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    _say(_run_night(options, environ))
    return 0


def _run_night(options: argparse.Namespace, environ: Mapping[str, str]) -> str:
    trainer, exporter = read_settings(TrainerSettings, environ), read_settings(ExporterSettings, environ)
    parts = read_parts(environ, ["postgres", "s3", "triton"])
    mapping = _read_mapping(environ)
    from waypost.release.signing import signing_key

    signing_key(exporter.signing_key_file, parts)  # its want is told before the night, not after it
    _prepare_for_bulk_work()
    from waypost.exporter.proving import require_target, scratch_triton
    from waypost.exporter.run import RepositoryWish
    from waypost.exporter.run import run as run_exporter
    from waypost.trainer.run import run as run_trainer

    require_target(exporter.target)
    scratch_triton(exporter, parts)  # refused now, where its folder is not named, and not after the training

    repository = getattr(options, "repository", None)  # `local run` has neither option
    if repository:
        repository.mkdir(parents=True, exist_ok=True)  # before the night, not after it
    wish = RepositoryWish(repository, options.target_device) if repository else None
    with logs.stage(logger, "night done"):
        checkpoint = run_trainer(
            trainer, read_settings(CacheSettings, environ), parts, mapping, getattr(options, "evaluation", None)
        )
        return run_exporter(exporter, parts, checkpoint, wish)


def _read_mapping(environ: Mapping[str, str]) -> SchemaMapping:
    from waypost.graph.mapping import read_mapping

    return read_mapping(read_shared(environ).mapping_file)


def _prepare_for_bulk_work() -> None:
    """Before torch is imported and threads start.

    OpenMP's threads wait by spinning unless told otherwise. Beside one other busy process on two cores a training step
    then takes many times as long; sleeping costs a quarter on a machine of its own (docs/experiments.md).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    share_one_heap()


def _gateway(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.gateway.run import run

    settings = read_settings(GatewaySettings, environ)
    return run(settings, read_shared(environ), read_parts(environ, ["s3", "sqs"]))


def _worker(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.worker.run import run

    settings = read_settings(WorkerSettings, environ)
    return run(settings, read_shared(environ), read_parts(environ, ["s3", "sqs", "triton"]))


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
    _say(report_json(findings) if options.json else "\n".join(str(finding) for finding in findings) or "no findings")
    return 4 if findings else 0


def _release_list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.release.listing import list_lines

    for line in list_lines(*_open_releases(environ)):
        _say(line)
    return 0


def _release_show(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.release.listing import show_json

    store, trusted = _open_releases(environ)
    _say(show_json(store, options.release, trusted))
    return 0


def _release_diff(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.release.comparing import compare_releases

    store, trusted = _open_releases(environ)
    difference = compare_releases(store, options.first, options.second, trusted)
    for line in [difference.to_json()] if options.json else difference.lines():
        _say(line)
    return 0


def _release_rollback(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.release.moves import roll_back

    store, trusted, by, clock = _open_mover(environ)
    return _tell_served(roll_back(store, options.release, options.reason, by, clock, pin=options.pin, trusted=trusted))


def _release_pin(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.release.moves import pin

    store, trusted, by, clock = _open_mover(environ)
    return _tell_served(pin(store, options.release, options.reason, by, clock, trusted=trusted))


def _release_unpin(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.release.moves import unpin

    store, _, by, clock = _open_mover(environ)
    return _tell_served(unpin(store, options.reason, by, clock))


def _tell_served(pointer: Pointer) -> int:
    _say(f"serving {pointer.release}, version {pointer.version}{', pinned' if pointer.pinned else ''}")
    return 0


def _release_log(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.release.listing import log_json, log_lines, read_log

    lines = read_log(_open_store(environ), options.limit)
    for line in [log_json(lines)] if options.json else log_lines(lines):
        _say(line)
    return 0


def _cache_ls(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.graph.listing import list_json, list_lines, read_listing

    nights = read_listing(_open_store(environ), _read_mapping(environ))
    for line in [list_json(nights)] if options.json else list_lines(nights):
        _say(line)
    return 0


def _cache_verify(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.graph.verifying import verify

    found = verify(_open_store(environ), options.newest)
    for line in [found.to_json()] if options.json else found.lines():
        _say(line)
    return 1 if found.findings else 0


def _cache_gc(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.clock import SystemClock
    from waypost.graph.retention import read_plan, remove_expired

    settings = read_settings(CacheSettings, environ)
    given = {"keep_nights": options.keep_nights, "keep_days": options.keep_days}
    settings = settings.model_copy(update={name: value for name, value in given.items() if value is not None})
    remove = read_plan if options.dry_run else remove_expired
    going = remove(_open_store(environ), settings, SystemClock().now())
    for removal in going:
        _say(str(removal))
    total = sum(removal.size for removal in going)
    _say(f"{'would remove' if options.dry_run else 'removed'} {len(going)} objects, {total:,} bytes")
    return 0


def _recommend(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.release.offline import load_answerer, recommend_all_users, write_lists
    from waypost.release.signing import trusted_keys

    parts = read_parts(environ, ["s3"])
    answerer = load_answerer(_store_of(parts), trusted_keys(parts))
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
        _say(json.dumps(figures))
    else:
        for name, value in figures.items():
            _say(f"{name:26} {value:.5f}" if isinstance(value, float) else f"{name:26} {value}")
    return 0


def read_parts(environ: Mapping[str, str], needed: Iterable[Part]) -> Parts:
    """Where the needed parts are; says so when some of them are embedded."""
    shared = read_shared(environ)
    needed = tuple(needed)
    parts = resolve_parts(shared, needed, _read_stack_if_needed(shared, needed), environ.get("AWS_REGION"))
    if parts.embedded:
        logger.info("using embedded parts", extra={"parts": ",".join(parts.embedded), "folder": str(shared.local_dir)})
    return parts


def _read_stack_if_needed(shared: SharedSettings, needed: Sequence[Part]) -> EmbeddedStack | None:
    """The embedded stack's description, unless every needed part is given: images carry no local stack."""
    if shared.embedded == "never" or not absent_parts(shared, needed):
        return None
    from waypost.local.stack import read_stack

    return read_stack(shared.local_dir)


def _open_store(environ: Mapping[str, str]) -> ObjectStore:
    return _store_of(read_parts(environ, ["s3"]))


def _store_of(parts: Parts) -> ObjectStore:
    from waypost.objects.s3 import S3ObjectStore, s3_client

    return S3ObjectStore(s3_client(parts.s3), parts.bucket)


def _open_releases(environ: Mapping[str, str]) -> tuple[ObjectStore, TrustedKeys]:
    """The store and whatever keys there are: to look at releases none are needed."""
    from waypost.release.signing import NO_KEYS, load_trusted_keys

    parts = read_parts(environ, ["s3"])
    return _store_of(parts), load_trusted_keys(parts.release_keys_file) if parts.release_keys_file else NO_KEYS


def _open_mover(environ: Mapping[str, str]) -> tuple[ObjectStore, TrustedKeys, str, Clock]:
    """What it takes to move the pointer: the store, whom its readers trust, and who and when for the audit."""
    from waypost.clock import SystemClock
    from waypost.release.audit import whoami

    return *_open_releases(environ), whoami(), SystemClock()


def _warn_of_service_links(environ: Mapping[str, str]) -> None:
    if links := service_links(environ):
        logger.warning("ignored variables that Kubernetes injected", extra={"names": ",".join(links)})


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


SETTINGS: dict[str, tuple[type[Settings], ...]] = {
    "local up": (LocalSettings, GatewaySettings, WorkerSettings),
    "local run": (
        LocalSettings,
        LoadSettings,
        TrainerSettings,
        CacheSettings,
        ExporterSettings,
        GatewaySettings,
        WorkerSettings,
    ),
    "load": (LoadSettings,),
    "schema check": (TrainerSettings,),
    "night": (TrainerSettings, CacheSettings, ExporterSettings),
    "trainer": (TrainerSettings, CacheSettings),
    "cache ls": (CacheSettings,),
    "cache verify": (CacheSettings,),
    "cache gc": (CacheSettings,),
    "exporter": (ExporterSettings,),
    "preflight": (ExporterSettings,),
    "gateway": (GatewaySettings,),
    "worker": (WorkerSettings,),
}
VERBS: dict[str, Verb] = {
    "local up": _local_up,
    "local down": _local_down,
    "local status": _local_status,
    "local run": _local_run,
    "local generate": _local_generate,
    "load": _load,
    "schema check": _schema_check,
    "night": _night,
    "trainer": _trainer,
    "exporter": _exporter,
    "gateway": _gateway,
    "worker": _worker,
    "preflight": _preflight,
    "release list": _release_list,
    "release show": _release_show,
    "release diff": _release_diff,
    "release rollback": _release_rollback,
    "release pin": _release_pin,
    "release unpin": _release_unpin,
    "release log": _release_log,
    "cache ls": _cache_ls,
    "cache verify": _cache_verify,
    "cache gc": _cache_gc,
    "recommend": _recommend,
    "evaluate": _evaluate,
}


if __name__ == "__main__":
    sys.exit(main())

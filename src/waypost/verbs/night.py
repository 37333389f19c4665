"""The night's verbs: `waypost trainer`, `waypost exporter`, and `waypost night`, which is both."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from waypost import logs
from waypost.errors import UsageError
from waypost.memory import share_one_heap
from waypost.settings import CacheSettings, ExporterSettings, TrainerSettings, read_settings
from waypost.verbs.clusters import add_namespace, open_cluster
from waypost.verbs.opening import read_parts, read_schema_mapping, say
from waypost.verbs.parsing import SettingsOf, Verb, Verbs, a_parser

if TYPE_CHECKING:
    from waypost.trainer.wishes import NightWish

logger = logging.getLogger("waypost")
INIT = 1


def add_to(verbs: Verbs) -> None:
    _add_night(verbs)
    _add_trainer(verbs)
    _add_exporter(verbs)


def _add_night(verbs: Verbs) -> None:
    night = a_parser(
        verbs,
        "night",
        "A whole night: trainer, then exporter.",
        """
        See `waypost trainer` and `waypost exporter`. With --now it runs in the Kubernetes cluster of your kubeconfig
        (KUBECONFIG, else ~/.kube/config) as a Job made of the chart's CronJob, and its log is shown here.
        Needs `get` on cronjobs, pods/log and jobs, `create` on jobs, `list` on pods.
        """,
    )
    night.add_argument("--now", action="store_true", help="in the cluster, out of its turn")
    night.add_argument(
        "--cron-job", default="waypost-trainer", metavar="NAME", help="for --now (default: waypost-trainer)"
    )
    add_namespace(night)
    _add_judging(night)
    _add_repository(night)
    night.set_defaults(verb="night")


def _add_trainer(verbs: Verbs) -> None:
    trainer = a_parser(
        verbs,
        "trainer",
        "Read the graph, train GraphSAGE, measure it on a holdout, keep a checkpoint if the gate lets it pass.",
        """
        Prints the checkpoint's name. The graph is read in one snapshot and its tensors are kept in S3 under their
        fingerprint: an unchanged graph is not read again. Exits 3 when the gate refuses the model; it says by which
        checks and by how much, docs/gate.md explains them. With --dry-run it prints the report and exits 0 or 3.
        """,
        TrainerSettings,
    )
    trainer.add_argument(
        "--dry-run",
        action="store_true",
        help="up to the gate's decision, printed with the report; nothing is published",
    )
    _add_judging(trainer)
    trainer.set_defaults(verb="trainer")


def _add_exporter(verbs: Verbs) -> None:
    exporter = a_parser(
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
    _add_repository(exporter)
    exporter.set_defaults(verb="exporter")


def _add_repository(parser: argparse.ArgumentParser) -> None:
    """Where a night's or an exporter's release also lies as a Triton model repository."""
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


def _add_judging(parser: argparse.ArgumentParser) -> None:
    """What a night that judges a model can be asked for beside it."""
    parser.add_argument(
        "--evaluation",
        type=Path,
        metavar="DIR",
        help="also write train.txt, test.txt and recs.tsv of the holdout there",
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="also write the report page there (HTML), refused or not"
    )
    parser.add_argument(
        "--accept",
        nargs="+",
        default=[],
        metavar="CHECK",
        help="let these checks of the gate pass tonight, by the names that its refusal gives them",
    )
    parser.add_argument(
        "--reason", metavar="WHY", help="for --accept: kept with your name in the checkpoint and in the release"
    )


def _trainer(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    end_on_sigterm()
    settings = read_settings(TrainerSettings, environ)
    parts = read_parts(environ, ["postgres", "s3"])
    prepare_for_bulk_work()
    mapping = read_schema_mapping(environ)
    wish = _night_wish(options)
    from waypost.trainer.run import run  # torch takes seconds: what is missing was said before

    name = run(settings, read_settings(CacheSettings, environ), parts, mapping, wish)
    if name is not None:
        say(name)
    return 0


def _night_wish(options: argparse.Namespace) -> NightWish:
    """Raises UsageError for a check that there is not, for want of a reason, and for a file nobody could write."""
    from waypost.release.audit import whoami
    from waypost.trainer.checks import to_override
    from waypost.trainer.wishes import NightWish, require_writable

    asked = vars(options)  # `local run` has none of these options
    report = asked.get("report")
    if report is not None:
        require_writable(report)
    override = to_override(asked.get("accept", []), asked.get("reason"), whoami())
    return NightWish(asked.get("evaluation"), report, asked.get("dry_run", False), override)


def _exporter(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    end_on_sigterm()
    settings = read_settings(ExporterSettings, environ)
    parts = read_parts(environ, ["s3", "triton"])
    prepare_for_bulk_work()
    from waypost.exporter.run import RepositoryWish, run

    wish = RepositoryWish(options.repository, options.target_device) if options.repository else None
    say(run(settings, parts, options.checkpoint, wish))
    return 0


def _night_in_cluster(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from waypost.clock import SystemClock
    from waypost.kubernetes.nights import NightLog, start_night

    cluster, namespace = open_cluster(options, environ)
    job = start_night(cluster, namespace, options.cron_job, _arguments_of_the_job(options))
    logger.info("the night was started, to stop following does not stop it", extra={"job": job})
    return NightLog(cluster, namespace, job, say, SystemClock()).follow()


def _arguments_of_the_job(options: argparse.Namespace) -> list[str]:
    """Raises UsageError for what would be written where nobody finds it, and for an override without its reason."""
    for name in ("evaluation", "report", "repository"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} names a place of this machine, and --now runs in the cluster", "leave it out")
    if bool(options.accept) != bool(options.reason):
        raise UsageError("--accept needs --reason, and it needs --accept", "say which checks may pass, and why")
    return ["--accept", *options.accept, "--reason", options.reason] if options.accept else []


def _night(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    if options.now:
        return _night_in_cluster(options, environ)
    end_on_sigterm()
    say(run_night(options, environ))
    return 0


def run_night(options: argparse.Namespace, environ: Mapping[str, str]) -> str:
    trainer, exporter = read_settings(TrainerSettings, environ), read_settings(ExporterSettings, environ)
    parts = read_parts(environ, ["postgres", "s3", "triton"])
    mapping = read_schema_mapping(environ)
    from waypost.release.signing import signing_key

    signing_key(exporter.signing_key_file, parts)  # its want is told before the night, not after it
    prepare_for_bulk_work()
    from waypost.exporter.proving import require_target, scratch_triton
    from waypost.exporter.run import RepositoryWish
    from waypost.exporter.run import run as run_exporter
    from waypost.trainer.run import run as run_trainer

    wanted = _night_wish(options)
    require_target(exporter.target)
    scratch_triton(exporter, parts)  # refused now, where its folder is not named, and not after the training

    repository = getattr(options, "repository", None)  # `local run` has neither option
    if repository:
        repository.mkdir(parents=True, exist_ok=True)  # before the night, not after it
    wish = RepositoryWish(repository, options.target_device) if repository else None
    with logs.stage(logger, "night done"):
        checkpoint = run_trainer(trainer, read_settings(CacheSettings, environ), parts, mapping, wanted)
        return run_exporter(exporter, parts, checkpoint, wish)


def end_on_sigterm(init: int = INIT) -> None:
    """Let SIGTERM end a container's first process, as it ends every other one: the kernel asks that one for a handler.

    At once and from a thread of its own: the main one may be in a product of torch's or in a long SELECT, where no
    handler of Python's comes. A night that is tried again goes on where it stopped. Needs the main thread.
    """
    if os.getpid() != init:
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # without it the wake-up below does not come
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def leave() -> None:
        while os.read(reading, 1) != bytes([signal.SIGTERM]):
            pass
        logger.warning("ended by SIGTERM")
        logging.shutdown()
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=leave, name="sigterm", daemon=True).start()


def prepare_for_bulk_work() -> None:
    """Before torch is imported and threads start.

    OpenMP's threads wait by spinning unless told otherwise. Beside one other busy process on two cores a training step
    then takes many times as long; sleeping costs a quarter on a machine of its own (docs/experiments.md).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    share_one_heap()


VERBS: dict[str, Verb] = {
    "night": _night,
    "trainer": _trainer,
    "exporter": _exporter,
}
SETTINGS: SettingsOf = {
    "night": (TrainerSettings, CacheSettings, ExporterSettings),
    "trainer": (TrainerSettings, CacheSettings),
    "exporter": (ExporterSettings,),
}

"""How a night's metrics get out: a file for the node exporter's textfile collector, and /metrics while it runs.

A job is gone before Prometheus has scraped how it ended, so alerts are made of the file, which is replaced whole when
the night ends, well or not, or of the port, which stays open for a few scrapes after that while the exporter goes on.
Neither door may cost the night: what cannot be opened is told before it starts, what fails at its end is logged.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import start_http_server, write_to_textfile

from waypost.errors import SettingsError, WaypostError
from waypost.metrics import TrainerMetrics
from waypost.settings import TrainerSettings

logger = logging.getLogger(__name__)
SUFFIX = ".prom"  # the textfile collector reads no other
UNEXPECTED = 1  # exit code of an error that is none of ours


@contextmanager
def published(metrics: TrainerMetrics, settings: TrainerSettings) -> Iterator[str | None]:
    """Yields the URL of /metrics, or None. Raises SettingsError before the block begins, and whatever it raises."""
    if settings.metrics_file is not None:
        check_writable(settings.metrics_file)
    with _served(metrics, settings) as url:
        exit_code = UNEXPECTED
        try:
            yield url
            exit_code = 0
        except WaypostError as error:
            exit_code = error.exit_code
            raise
        finally:
            metrics.exit_code.set(exit_code)
            metrics.ended.set(time.time())
            if settings.metrics_file is not None:
                write_metrics(settings.metrics_file, metrics)


def check_writable(path: Path) -> None:
    """Raises SettingsError for a file that could not be written when the night ends, or that nobody would read."""
    if path.suffix != SUFFIX:
        raise SettingsError(f"WAYPOST_TRAINER_METRICS_FILE={path} does not end in {SUFFIX}", "name it so")
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise SettingsError(
            f"WAYPOST_TRAINER_METRICS_FILE={path} cannot be written", "name a file in a folder that can be written to"
        )


def write_metrics(path: Path, metrics: TrainerMetrics) -> None:
    """Replace the file whole, by a rename inside its folder; a failure is logged and no more."""
    try:
        write_to_textfile(str(path), metrics.registry)
    except OSError as error:
        logger.error("metrics file not written", extra={"path": str(path), "cause": str(error.strerror)})


@contextmanager
def _served(metrics: TrainerMetrics, settings: TrainerSettings) -> Iterator[str | None]:
    if settings.metrics_port is None:
        yield None
        return
    host, port = settings.metrics_host, settings.metrics_port
    try:
        server, thread = start_http_server(port, host, metrics.registry)
    except OSError as error:
        raise SettingsError(
            f"{host}:{port} cannot be bound: {error.strerror}", "set WAYPOST_TRAINER_METRICS_PORT to a free one"
        ) from None
    url = f"http://{host}:{server.server_port}/metrics"
    logger.info("metrics served", extra={"url": url})
    try:
        yield url
    finally:

        def close() -> None:
            time.sleep(settings.metrics_linger_seconds)  # what the end says is scraped only now
            server.shutdown()
            server.server_close()
            thread.join()

        if settings.metrics_linger_seconds:
            threading.Thread(target=close, name="metrics", daemon=False).start()  # the process ends after it
        else:
            close()

"""A real Prometheus on a stack under load: every expression of every panel says something, and the stages add up."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.grafana.monitoring import Prometheus, prometheus
from tests.soak.load import Load
from tests.test_end_to_end import Waypost, a_served_world, known_users

DASHBOARDS = sorted((Path(__file__).parents[2] / "grafana" / "dashboards").glob("*.json"))
OUTSIDE = re.compile(r"\b(?:kube|keda|DCGM|certmanager)_")  # parts that this machine does not have
LOAD_SECONDS = 100  # some rules are evaluated once a minute
SCRAPE_SECONDS = 2
STAGES_OFF_BY = 0.05  # of the whole, at most
SCRAPE_BUDGET_SECONDS = 0.05
SERIES_BUDGET = 500

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def watched(stack_folders: Path, need_package: Callable[[str], None]) -> Iterator[tuple[Prometheus, Waypost]]:
    if shutil.which("prometheus") is None:
        need_package("prometheus")
    folder = stack_folders / "live"
    with (
        a_served_world(folder, WAYPOST_TRAINER_METRICS_FILE=str(folder / "night.prom")) as waypost,
        files_of(folder) as files,
        prometheus(folder / "prometheus", lambda: targets(waypost, files), SCRAPE_SECONDS) as found,
        Load(waypost.part_url, known_users(waypost)[:200], callers=4),
    ):
        time.sleep(LOAD_SECONDS)
        yield found, waypost


def targets(waypost: Waypost, files: str) -> Mapping[str, str]:
    """The night's file stands where the node exporter's textfile collector would."""
    urls = {part: waypost.part(part)["metrics_url"] for part in ("gateway", "worker", "triton")}
    return {**{part: urlsplit(url).netloc for part, url in urls.items()}, "night": files}


@functools.cache
def _served(folder: Path) -> type[http.server.BaseHTTPRequestHandler]:
    class Textfile(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (folder / "night.prom").read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the name is the base class'
            pass

    return Textfile


class files_of:  # noqa: N801  # reads as a verb where it is used
    """host:port of a server of the night's metrics file."""

    def __init__(self, folder: Path) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _served(folder))

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def expressions() -> list[tuple[str, str]]:
    """(panel, expression with every variable set to all) of what this machine's parts can answer."""
    found = []
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                expression = target["expr"]
                for name in ("namespace", "release", "gateway_stage", "stage"):
                    expression = expression.replace(f"${name}", ".*")
                expression = expression.replace("$price", "1")
                if not OUTSIDE.search(expression):
                    found.append((f"{path.stem}: {panel['title']}", expression))
    return found


def test_every_expression_of_every_panel_says_something(watched: tuple[Prometheus, Waypost]) -> None:
    found, _ = watched
    silent = [
        (panel, expression)
        for panel, expression in expressions()
        if "offset 1d" not in expression and not found.query(expression)
    ]
    assert not silent


def test_yesterdays_line_is_asked_of_a_series_that_is_recorded_today(watched: tuple[Prometheus, Waypost]) -> None:
    found, _ = watched
    of_yesterday = [expression for _, expression in expressions() if "offset 1d" in expression]
    assert of_yesterday
    for expression in of_yesterday:
        assert found.query(expression.replace(" offset 1d", "")), expression


def test_the_means_of_the_stages_add_up_to_the_mean_of_the_whole(watched: tuple[Prometheus, Waypost]) -> None:
    found, _ = watched
    for process in ("gateway", "worker"):
        stages = found.value(f"sum(waypost_{process}_stage_seconds_sum)")
        whole = found.value(f"sum(waypost_{process}_request_seconds_sum)")
        assert stages is not None
        assert whole is not None
        assert stages == pytest.approx(whole, rel=STAGES_OFF_BY), process


def test_a_scrape_is_quick_and_its_series_are_few(watched: tuple[Prometheus, Waypost]) -> None:
    found, _ = watched
    for process in ("gateway", "worker"):
        scraped = f'{{job="waypost-{process}"}}'
        series = found.value(f"scrape_samples_scraped{scraped}")
        seconds = found.value(f"quantile_over_time(0.5, scrape_duration_seconds{scraped}[1m])")
        assert series is not None
        assert series <= SERIES_BUDGET
        assert seconds is not None
        assert seconds < SCRAPE_BUDGET_SECONDS


@pytest.mark.parametrize("process", ["gateway", "worker"])
def test_a_slow_bucket_leads_to_a_request(watched: tuple[Prometheus, Waypost], process: str) -> None:
    """From a point on the p99 panel to the request id that the logs bear."""
    found, _ = watched
    for name in ("request", "stage"):
        series = found.exemplars(f"waypost_{process}_{name}_seconds_bucket", LOAD_SECONDS)
        told = [exemplar for one in series for exemplar in one["exemplars"]]
        assert told
        assert all(re.fullmatch("[0-9a-f]{32}", exemplar["labels"]["request_id"]) for exemplar in told)
        assert not [one for one in series if "request_id" in one["seriesLabels"]]


def test_the_release_is_told_with_its_age_and_its_nights_figures(watched: tuple[Prometheus, Waypost]) -> None:
    found, waypost = watched
    shown = json.loads(waypost("release", "show"))
    made = datetime.fromisoformat(shown["made_at"]).timestamp()
    assert found.value("max(waypost:release_newest)") == shown["version"]
    assert found.value("max(waypost_gateway_release_published_timestamp_seconds)") == made
    recall = found.value('max(waypost_worker_release_score{score="recall"})')
    assert recall == pytest.approx(shown["scores"]["recall"])
    assert timedelta(seconds=found.value("time() - max(waypost_trainer_ended_timestamp_seconds)") or 1e9) < timedelta(
        hours=1
    )


def test_nothing_fires_on_a_stack_that_is_well(watched: tuple[Prometheus, Waypost]) -> None:
    found, _ = watched
    assert found.query('ALERTS{alertstate="firing"}') == []

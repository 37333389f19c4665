"""Stage: everything that one run plays on: servers, gateways and workers, and a proxy on every way between them.

SQS and S3 are two emulators, so that one can die without the other. Gateways and workers get their settings from the
environment alone and start as their operator starts them, bugs planted on purpose aside.
"""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.children import Child, Children
from tests.chaos.history import History, Scrape
from tests.chaos.http_link import HttpLink
from tests.chaos.parts import ServerPart, ensure_all
from tests.chaos.postbox import Postbox
from tests.chaos.proxies import Proxies
from tests.chaos.reply_link import ReplyLink
from tests.chaos.sqs_link import SqsLink
from tests.chaos.triton_link import TritonLink
from tests.chaos.world import HOSTILE_NUMBER, tensors
from tests.factories import release_of, some_tables
from tests.soak.breakage import Publisher
from waypost.local.ports import choose_ports
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.queueing.signing import Keyring, load_keyring
from waypost.release.signing import load_signing_key
from waypost.settings import AwsAccess, EmbeddedStack, Settings, WorkerSettings

LOOPBACK, REPLY_HOST = "127.0.0.1", "127.0.0.2"  # where a gateway's reply door is meant to be, and where it is
NUMBERS_EACH = 60_000  # for the requests of one cast; a message left over must not be taken for one of the next
Bugs = dict[str, tuple[str, ...]]  # by process


@dataclass(frozen=True)
class Sizes:
    gateways: int = 2
    workers: int = 1
    postgres: bool = False


@dataclass
class Stage:
    """Servers stay up between runs; `cast` brings gateways, workers and proxies for one run."""

    folder: Path
    sizes: Sizes
    parts: dict[str, ServerPart] = field(default_factory=dict)
    casts: int = 0

    def __post_init__(self) -> None:
        kinds = {"sqs": "sqs", "s3": "s3"} | {f"triton-{i + 1}": "triton" for i in range(self.sizes.workers)}
        if self.sizes.postgres:
            kinds["postgres"] = "postgres"
        for name, kind in kinds.items():
            self.parts[name] = ServerPart(name, kind, self.folder / f"chaos-{name}")  # type: ignore[arg-type]

    def up(self) -> None:
        """The servers, and a release in the store."""
        ensure_all(list(self.parts.values()))
        store = S3ObjectStore(s3_client(self.stack.aws()), self.stack.bucket)
        world = tensors()
        publisher = Publisher(store, load_signing_key(Path(self.stack.signing_key_file)))
        publisher.publish(1, *release_of(world, some_tables(world), 1))

    def down(self) -> None:
        for part in self.parts.values():
            part.down()

    @property
    def stack(self) -> EmbeddedStack:
        """The one whose keys sign."""
        return self.parts["s3"].at

    @property
    def keyring(self) -> Keyring:
        return load_keyring(Path(self.stack.message_keys_file))

    @contextmanager
    def cast(self, seed: int, history: History, bugs: Bugs | None = None) -> Iterator[Cast]:
        """Gateways and workers, ready; an empty queue, and numbers that no cast of before has used."""
        sqs = self.parts["sqs"].at
        purge(sqs.aws(), sqs.request_queue_url)
        first, self.casts = self.casts * NUMBERS_EACH % HOSTILE_NUMBER, self.casts + 1
        with ExitStack() as running:
            proxies = running.enter_context(Proxies(history))
            children = running.enter_context(Children(history))
            cast = Cast(self, proxies, children, history, seed, bugs or {}, first)
            cast.wire()
            for name in children.by_name:
                children.start(name)
            children.wait_ready(*children.by_name)
            yield cast


@dataclass
class Cast:
    """Gateways and workers on a stage, and the proxies between them."""

    stage: Stage
    proxies: Proxies
    children: Children
    history: History
    seed: int
    bugs: Bugs
    first_number: int  # of its requests
    gateway_ports: dict[str, int] = field(default_factory=dict)

    def wire(self) -> None:
        sqs = self.stage.parts["sqs"].at
        self.box = Postbox(sqs.request_queue_url.rpartition("/")[2])
        for i in range(self.stage.sizes.gateways):
            self._add_gateway(f"gateway-{i + 1}")
        for i in range(self.stage.sizes.workers):
            self._add_worker(f"worker-{i + 1}", self.stage.parts[f"triton-{i + 1}"])

    @property
    def gateways(self) -> list[str]:
        return [name for name in self.children.by_name if name.startswith("gateway")]

    @property
    def gateway_reply_address(self) -> str:
        """As a message of the first gateway gives it."""
        return f"gateway:{self.children.by_name[self.gateways[0]].environ['WAYPOST_GATEWAY_REPLY_PORT']}"

    @property
    def workers(self) -> list[str]:
        return [name for name in self.children.by_name if name.startswith("worker")]

    def scrape(self) -> None:
        """The metrics of all that run, into the history."""
        for child in self.children.by_name.values():
            if child.ready:
                self.history.add(_scrape(child.name, child.environ["CHAOS_METRICS_URL"]))

    def _add_gateway(self, name: str) -> None:
        ports = choose_ports(("public", "metrics", "replies"), {}, {}, ())
        self.gateway_ports[name] = ports["public"]
        reply = ReplyLink(
            name, (LOOPBACK, ports["replies"]), (REPLY_HOST, ports["replies"]), self.seed, self.stage.keyring,
            self.history,
        )  # fmt: skip
        self.proxies.open(reply)
        environ = {
            **self._environ(name),
            "WAYPOST_GATEWAY_PORT": str(ports["public"]),
            "WAYPOST_GATEWAY_METRICS_PORT": str(ports["metrics"]),
            "WAYPOST_GATEWAY_REPLY_HOST": REPLY_HOST,
            "WAYPOST_GATEWAY_REPLY_PORT": str(ports["replies"]),
            "CHAOS_METRICS_URL": f"http://{LOOPBACK}:{ports['metrics']}/metrics",
        }
        self._add(name, "gateway", environ, f"http://{LOOPBACK}:{ports['public']}/readyz")

    def _add_worker(self, name: str, triton: ServerPart) -> None:
        ports = choose_ports(("metrics", "triton"), {}, {}, ())
        link = TritonLink(name, ports["triton"], triton.at.triton_url, self.seed, self.history, self.proxies.lag.since)
        self.proxies.open(link)
        health = f"http://{LOOPBACK}:{ports['metrics']}"
        environ = {
            **self._environ(name),
            "WAYPOST_TRITON_URL": f"{LOOPBACK}:{ports['triton']}",
            "WAYPOST_WORKER_METRICS_PORT": str(ports["metrics"]),
            "WAYPOST_WORKER_REPOSITORY": triton.at.triton_repository,
            "WAYPOST_WORKER_TRITON_BACKEND": "python",
            "WAYPOST_WORKER_TRITON_DEVICE": "cpu",
            "WAYPOST_WORKER_CANARY_SHARE": "0",  # a release on trial is asked what another one answers
            "WAYPOST_WORKER_KEPT_RELEASE": str(self.stage.folder / f"kept-{name}"),
            "CHAOS_METRICS_URL": f"{health}/metrics",
        }
        self._add(name, "worker", environ | self._dead_letters(WorkerSettings), f"{health}/readyz")

    def _dead_letters(self, kind: type[Settings]) -> dict[str, str]:
        variable = "WAYPOST_WORKER_DEAD_LETTER_QUEUE_URL"
        url = self.stage.parts["sqs"].at.request_queue_url + "-dead"
        return {variable: url} if variable in kind.variables() else {}

    def _add(self, name: str, verb: str, environ: dict[str, str], ready_url: str) -> None:
        log = self.stage.folder / f"chaos-{name}.log"
        self.children.by_name[name] = Child(name, verb, environ, ready_url, log, self.bugs.get(name, ()))

    def _environ(self, name: str) -> dict[str, str]:
        """What every process needs: nothing of the caller's settings, all parts given, SQS and S3 through proxies."""
        stack, sqs = self.stage.stack, self.stage.parts["sqs"].at
        ports = choose_ports(("sqs", "s3"), {}, {}, ())
        box, history, seed = self.box, self.history, self.seed
        self.proxies.open(SqsLink(name, (LOOPBACK, ports["sqs"]), _address(sqs), seed, box, history))
        self.proxies.open(HttpLink(f"{name}/s3", (LOOPBACK, ports["s3"]), _address(stack), seed))
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("WAYPOST_", "AWS_"))}
        queue_path = urlsplit(sqs.request_queue_url).path
        return {
            **inherited,
            "WAYPOST_EMBEDDED": "never",
            "WAYPOST_LOCAL_DIR": str(self.stage.folder / f"local-{name}"),
            "WAYPOST_LOG_STYLE": "json",
            "WAYPOST_BUCKET": stack.bucket,
            "WAYPOST_REQUEST_QUEUE_URL": f"http://{LOOPBACK}:{ports['sqs']}{queue_path}",
            "WAYPOST_MESSAGE_KEYS_FILE": stack.message_keys_file,
            "WAYPOST_RELEASE_KEYS_FILE": stack.release_keys_file,
            "AWS_ENDPOINT_URL_SQS": f"http://{LOOPBACK}:{ports['sqs']}",
            "AWS_ENDPOINT_URL_S3": f"http://{LOOPBACK}:{ports['s3']}",
            "AWS_REGION": stack.aws_region,
            "AWS_ACCESS_KEY_ID": stack.aws_access_key_id,
            "AWS_SECRET_ACCESS_KEY": stack.aws_secret_access_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def purge(access: AwsAccess, queue_url: str) -> None:
    client = boto3.client(
        "sqs", endpoint_url=access.endpoint_url, region_name=access.region,
        aws_access_key_id=access.access_key_id, aws_secret_access_key=access.secret_access_key,
    )  # fmt: skip
    client.purge_queue(QueueUrl=queue_url)
    client.close()


def _address(stack: EmbeddedStack) -> tuple[str, int]:
    url = urlsplit(stack.aws_endpoint_url)
    return url.hostname or LOOPBACK, url.port or 80


def _scrape(name: str, url: str) -> Scrape:
    with urllib.request.urlopen(url, timeout=5) as answer:
        text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    series = tuple((one.name, tuple(sorted(one.labels.items())), float(one.value)) for one in samples)
    return Scrape(time.monotonic(), name, series)

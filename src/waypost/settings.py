"""Settings: read once at start from the environment into one frozen object per process, all problems told together.

A variable is `WAYPOST_<PROCESS>_<NAME>`; the four part switches and a few shared names carry no process. A part whose
switch is absent is the embedded one that `waypost local up` described in `$WAYPOST_LOCAL_DIR/stack.json`. This module
knows that file's format and nothing of how the parts are started."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from waypost.errors import SettingsError

Part = Literal["postgres", "s3", "sqs", "triton"]
SWITCHES: dict[Part, str] = {
    "postgres": "WAYPOST_POSTGRES_DSN",
    "s3": "WAYPOST_BUCKET",
    "sqs": "WAYPOST_REQUEST_QUEUE_URL",
    "triton": "WAYPOST_TRITON_URL",
}
# Kubernetes injects these for every Service of the namespace; one called waypost-gateway makes WAYPOST_GATEWAY_PORT.
_SERVICE_LINK_NAME = re.compile(r".*(_SERVICE_HOST|_SERVICE_PORT.*|_PORT_\d+_.*)$")

_BASELINES = "popularity, item-knn, implicit-als, content, gf-cf, ease"
_BASELINE = "({})".format(_BASELINES.replace(", ", "|"))
_BASELINE_LIST = rf"^{_BASELINE}(,{_BASELINE})*$"


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    prefix: ClassVar[str] = "WAYPOST_"

    @classmethod
    def variables(cls) -> dict[str, str]:
        """Environment variable -> field."""
        return {cls.prefix + _spelled(name): name for name in cls.model_fields}

    @classmethod
    def lines(cls) -> list[str]:
        """`WAYPOST_TRAINER_SEED=1`, a line each, with what there is to say about it."""
        described = []
        for variable, name in cls.variables().items():
            field = cls.model_fields[name]
            default = "" if field.default is None else field.default
            described.append(f"{variable}={default}" + (f"  ({field.description})" if field.description else ""))
        return described


def _spelled(field: str) -> str:
    """As in the environment; a field called like a word of Python's ends with an underscore here."""
    return field.rstrip("_").upper()


class SharedSettings(Settings):
    """What every process reads."""

    local_dir: Path = Field(Path(".waypost"), description="folder of the embedded stack")
    embedded: Literal["auto", "never"] = Field("auto", description="never: an absent switch is an error")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_style: Literal["auto", "json", "text"] = Field("auto", description="auto: text on a terminal, else JSON")
    postgres_dsn: str | None = Field(None, description="the app's Postgres, read by the night")
    bucket: str | None = Field(None, description="S3; AWS_REGION and AWS's credential chain apply")
    request_queue_url: str | None = Field(None, description="SQS")
    triton_url: str | None = Field(None, pattern=r"^[^/\s]+:\d+$", description="gRPC host:port")
    message_keys_file: Path | None = Field(None, description="keys that sign messages and replies")
    release_keys_file: Path | None = Field(None, description="public keys (PEM): only releases they signed are served")
    mapping_file: Path | None = Field(None, description="TOML: where the graph stands in the app's own tables")
    faults: str | None = Field(None, pattern=r"^\w+:\d+:[\w.]+$", description="stage:milliseconds:version")
    faults_allowed: Literal["yes", "no"] = "no"
    kubernetes: Literal["auto", "never"] = Field("auto", description="never: tell the cluster nothing")
    pod_name: str | None = Field(None, description="of the pod that this process runs in; set by the chart")
    namespace: str | None = Field(None, description="of that pod; set by the chart")


class LoadSettings(Settings):
    prefix: ClassVar[str] = "WAYPOST_LOAD_"
    postgres_dsn: str | None = None  # the owner's; WAYPOST_POSTGRES_DSN when absent


class TrainerSettings(Settings):
    prefix: ClassVar[str] = "WAYPOST_TRAINER_"
    seed: int = Field(1, ge=0, description="one seed and one thread give the same model, bit by bit")
    threads: int = Field(0, ge=0, description="0: all cores")
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$")
    dim: int = Field(128, ge=8, le=512, description="width of every vector")
    layers: int = Field(3, ge=1, le=6, description="hops over the graph")
    epochs: int | None = Field(None, ge=1, description="absent: chosen from the number of edges")
    continue_: Literal["auto", "never"] = Field(
        "auto", description="auto: begin with the last checkpoint's weights where little changed; never: from scratch"
    )
    holdout_share: float = Field(0.1, gt=0, lt=0.5, description="of the interactions, the last by time")
    holdout_users: int = Field(5_000, ge=1, description="at most this many holdout users are scored")
    baselines: str = Field(
        "popularity,item-knn,content",
        pattern=_BASELINE_LIST,
        description=f"judged beside the model, comma list of {_BASELINES}",
    )
    gating_baselines: str = Field(
        "popularity", pattern=_BASELINE_LIST, description="a model below one of these is refused; they are judged too"
    )
    gate_min_coverage: float = Field(
        0.02, ge=0, le=1, description="a model whose lists show less of what they could of the catalogue is refused"
    )
    statement_timeout_seconds: float = Field(600, gt=0)
    connections: int = Field(2, ge=1, le=16, description="to Postgres at a time, sharing one snapshot")
    server_workers: int = Field(1, ge=0, le=16, description="parallel workers of Postgres for one query of ours")
    contract: Literal["stop", "report"] = Field(
        "stop", description="report: a broken data contract is told and does not stop the night"
    )
    contract_max_drop: float = Field(
        0.9, gt=0, le=1, description="a source with this share of its rows gone since the last nights stops the night"
    )
    contract_max_jump: float = Field(
        10, gt=1, description="a source of so many times the rows of the last nights stops the night"
    )
    contract_max_null_share: float = Field(0.9, ge=0, le=1, description="rows of a source without an id; more stops")
    contract_max_orphan_share: float = Field(
        0.9, ge=0, le=1, description="rows of a source that name what is not there; more stops"
    )
    contract_max_duplicate_share: float = Field(
        0.5, ge=0, le=1, description="interactions equal to another, time included; more warns"
    )
    contract_max_user_share: float = Field(0.1, ge=0, le=1, description="interactions of one user; more warns")
    contract_max_post_share: float = Field(0.3, ge=0, le=1, description="interactions with one post; more warns")
    contract_max_future_share: float = Field(
        0.1, ge=0, le=1, description="times in the future; more interactions stop, more posts warn"
    )
    contract_max_tag_drift: float = Field(
        0.9, ge=0, le=1, description="tag names not shared with the last night's; more stops"
    )
    contract_max_textless_share: float = Field(1, ge=0, le=1, description="posts without text; more stops")
    contract_max_textless_rise: float = Field(
        0.5, ge=0, le=1, description="posts that have lost their text since the last nights; more stops"
    )
    metrics_file: Path | None = Field(
        None, description="FILE.prom for the node exporter's textfile collector, written when the night ends"
    )
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="/metrics while the night runs; 0: a free one; absent: none"
    )
    metrics_linger_seconds: float = Field(
        0, ge=0, le=600, description="how long /metrics goes on after the training: two scrapes or three"
    )


class CacheSettings(Settings):
    prefix: ClassVar[str] = "WAYPOST_CACHE_"
    keep_nights: int = Field(7, ge=1, description="so many of the newest nights' tensors stay in S3")
    keep_days: float = Field(14, ge=0, description="and those of every night that is younger")


class ExporterSettings(Settings):
    prefix: ClassVar[str] = "WAYPOST_EXPORTER_"
    signing_key_file: Path | None = Field(None, description="private Ed25519 key (PEM) that signs releases")
    target: str = Field("26.07", pattern=r"^\d\d\.\d\d$", description="the Triton release that the model must load on")
    preflight_timeout_seconds: float = Field(60, gt=0)
    golden_seconds: float = Field(2.0, gt=0, description="what the golden questions may take in the preflight's Triton")
    repository: Path | None = Field(None, description="the folder that WAYPOST_TRITON_URL's Triton loads models from")
    triton_backend: Literal["onnxruntime", "python"] = "onnxruntime"  # the embedded Triton has the python backend only
    triton_device: Literal["gpu", "cpu"] = "gpu"


class GatewaySettings(Settings):
    prefix: ClassVar[str] = "WAYPOST_GATEWAY_"
    host: str = "127.0.0.1"
    port: int | None = Field(None, ge=0, le=65535, description="absent: 8080, or a free one when 8080 is taken")
    metrics_port: int = Field(0, ge=0, le=65535, description="0: a free one")
    reply_host: str = "127.0.0.1"
    reply_port: int = Field(0, ge=0, le=65535, description="0: a free one")
    reply_address: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="this pod's name in the reply domain, or its IP address, which the cluster's DNS knows by dashes",
    )
    api_keys_file: Path | None = None
    concurrency: int = Field(512, ge=1, description="requests in flight before 429")
    tenant_concurrency: int | None = Field(
        None, ge=1, description="of one tenant, where its key says nothing; absent: no such cap"
    )
    requests_per_second: float | None = Field(
        None, gt=0, description="of one tenant, where its key says nothing; absent: no such limit"
    )
    burst: int | None = Field(None, ge=1, description="of one tenant after a pause; absent: one second's worth")
    connections: int = Field(
        4096, ge=16, description="open at a time; beyond, those go that have waited longest for their caller"
    )
    head_seconds: float = Field(5.0, gt=0, description="a request's headers; slower is 408")
    body_seconds: float = Field(10.0, gt=0, description="a request's body; slower is 408")
    drain_seconds: float | None = Field(
        None, ge=0, le=300, description="after SIGTERM: not ready, still answering; absent: 5, on loopback 0.5"
    )
    log_sample: int = Field(
        1_000, ge=0, description="a log line for one of so many plain successes; 0: none. All else has its line"
    )
    log_quiet_seconds: float = Field(10.0, gt=0, description="after so long without one the next success has a line")
    metrics: Literal["on", "off"] = Field("on", description="off only to measure what observing costs")
    status_page: Literal["on", "off"] = Field("off", description="on: a page for people at /; the local stack's is on")
    pointer_seconds: float = Field(2.0, gt=0, description="how often the pointer is read")
    reply_way: Literal["direct", "queue"] = Field(
        "direct", description="queue: replies come over an SQS queue of this gateway's own; workers need the same"
    )
    dead_letter_queue_url: str | None = Field(
        None, description="SQS; its depth is shown as a metric; absent: the embedded one's, where it is used, else none"
    )
    kept_popular: Path | None = Field(
        None, description="folder of the popularity list kept for a start without S3; absent: in WAYPOST_LOCAL_DIR"
    )

    @field_validator("reply_address", mode="before")
    @classmethod
    def _label(cls, value: object) -> object:
        """10.0.3.7 and fd00::7 are, as names in a headless Service, 10-0-3-7 and fd00--7."""
        try:
            return re.sub(r"[.:]", "-", str(ipaddress.ip_address(str(value))))
        except ValueError:
            return value


class WorkerSettings(Settings):
    prefix: ClassVar[str] = "WAYPOST_WORKER_"
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(0, ge=0, le=65535, description="/metrics, /healthz and /readyz; 0: a free one")
    repository: Path | None = Field(None, description="the folder Triton loads models from; absent: the embedded one")
    triton_backend: Literal["onnxruntime", "python"] = "onnxruntime"  # the embedded Triton has the python backend only
    triton_device: Literal["gpu", "cpu"] = "gpu"
    kept_release: Path | None = Field(None, description="folder of the release kept for a start without S3")
    reply_domain: str = Field("localhost", pattern=r"^[a-z0-9][a-z0-9.-]*$")
    reply_way: Literal["direct", "queue"] = Field("direct", description="as WAYPOST_GATEWAY_REPLY_WAY")
    batch: int = Field(64, ge=1, le=256, description="requests in one Triton call at most")
    calls: int = Field(2, ge=1, le=8, description="Triton calls at a time; a second one only when it is a full batch")
    receivers: int = Field(6, ge=1, le=16, description="long polls at a time, each of them two seconds long")
    max_requests_per_second: float | None = Field(
        None, gt=0, description="answered at most, to protect a shared GPU and for measurements; absent: no limit"
    )
    visibility_seconds: int = Field(
        30,
        ge=2,
        le=43_200,
        description="the request queue's visibility timeout; work slower than half of it extends it",
    )
    dead_letter_queue_url: str | None = Field(
        None, description="SQS; messages that can never be answered go there with their reason; absent: deleted"
    )
    log_sample: int = Field(
        1_000, ge=0, description="as WAYPOST_GATEWAY_LOG_SAMPLE; the same number chooses the same requests"
    )
    log_quiet_seconds: float = Field(10.0, gt=0, description="as WAYPOST_GATEWAY_LOG_QUIET_SECONDS")
    metrics: Literal["on", "off"] = Field("on", description="off only to measure what observing costs")
    pointer_seconds: float = Field(2.0, gt=0)
    triton_timeout_seconds: float = Field(5.0, gt=0)
    load_timeout_seconds: float = Field(60.0, gt=0)
    canary_share: float = Field(
        0.1, ge=0, le=0.9, description="of the requests a new release answers before it answers all; 0: no trial"
    )
    canary_seconds: float = Field(10.0, gt=0, description="longest trial of a new release")
    canary_answers: int = Field(500, ge=1, description="after so many answers a trial need not go on")
    canary_max_slower_ms: float = Field(50.0, ge=0, description="its p99 over the old release's; more gives it up")
    canary_max_error_share: float = Field(0.01, ge=0, le=1, description="requests it failed; more gives it up")
    canary_max_empty_share: float = Field(
        0.02, ge=0, le=1, description="empty lists, over the old release's share; more gives it up"
    )
    canary_min_overlap: float = Field(
        0.02, ge=0, le=1, description="posts its lists share with the old release's; less gives it up"
    )
    hold_seconds: float = Field(300.0, ge=0, description="the release before stays loaded, for a rollback at once")
    scaled_object: str | None = Field(
        None, description="KEDA's ScaledObject whose scale-in waits while a release is switched; set by the chart"
    )


class LocalSettings(Settings):
    prefix: ClassVar[str] = "WAYPOST_LOCAL_"
    interactions: int = Field(
        60_000, ge=1, description="size of the graph that `local run` generates for an empty database"
    )
    postgres_port: int = Field(0, ge=0, le=65535)
    aws_port: int = Field(0, ge=0, le=65535)
    triton_grpc_port: int = Field(0, ge=0, le=65535)
    triton_http_port: int = Field(0, ge=0, le=65535)
    triton_metrics_port: int = Field(0, ge=0, le=65535)
    triton_home: Path | None = Field(None, description="virtual environment with nvidia-pytriton; absent: .venv/triton")


_ALL: tuple[type[Settings], ...] = (
    SharedSettings, LoadSettings, TrainerSettings, CacheSettings, ExporterSettings, GatewaySettings, WorkerSettings,
    LocalSettings,
)  # fmt: skip
S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class AwsAccess:
    """How to reach one AWS service; every None leaves it to AWS's own variables and credential chain."""

    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None


@dataclass(frozen=True)
class EmbeddedStack:
    """What `waypost local up` wrote to `stack.json`: where the embedded parts are. URLs are loopback only."""

    postgres_dsn: str  # the owner's
    postgres_reader_dsn: str  # SELECT on the mapped columns, nothing else
    aws_endpoint_url: str
    aws_region: str
    aws_access_key_id: str
    aws_secret_access_key: str
    bucket: str
    request_queue_url: str
    triton_url: str  # gRPC host:port
    triton_http_url: str
    triton_metrics_url: str
    triton_repository: str  # the folder that the embedded Triton loads models from
    message_keys_file: str
    signing_key_file: str
    release_keys_file: str

    @property
    def dead_letter_queue_url(self) -> str:
        return f"{self.request_queue_url}-dead"

    def aws(self) -> AwsAccess:
        return AwsAccess(self.aws_endpoint_url, self.aws_region, self.aws_access_key_id, self.aws_secret_access_key)

    @classmethod
    def parse(cls, content: Mapping[str, object]) -> EmbeddedStack:
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if not isinstance(content.get(name), str)]
        if missing:
            raise SettingsError(
                f"stack.json lacks {', '.join(missing)}: another version of Waypost wrote it",
                "run `waypost local up`, which adds them and keeps the data",
            )
        return cls(**{name: str(content[name]) for name in names})


@dataclass(frozen=True)
class Parts:
    """Where the real parts are: given by their switch, else embedded. None: this verb did not ask for it."""

    postgres_dsn: str = ""
    postgres_owner_dsn: str = ""
    s3: AwsAccess = AwsAccess()
    bucket: str = ""
    sqs: AwsAccess = AwsAccess()
    request_queue_url: str = ""
    dead_letter_queue_url: str = ""  # the embedded one; a set one is a setting of gateway and worker
    triton_url: str = ""
    triton_repository: Path | None = None
    message_keys_file: Path | None = None
    signing_key_file: Path | None = None  # the embedded one; a set one is the exporter's own setting
    release_keys_file: Path | None = None
    unsigned_allowed: bool = True  # where no key is set or embedded; never in production
    embedded: tuple[Part, ...] = ()


def check_settings(kinds: Iterable[type[Settings]], environ: Mapping[str, str]) -> None:
    """Raises SettingsError naming every problem of all these kinds at once, unknown names included."""
    problems = unknown_names(environ)
    for kind in kinds:
        problems += _problems(kind, environ)
    if problems:
        raise _refusal(problems)


def read_settings(kind: type[S], environ: Mapping[str, str]) -> S:
    """The settings of one process; raises SettingsError naming every problem of that process at once."""
    check_settings([kind], environ)
    return kind.model_validate(_given(kind, environ))


def _problems(kind: type[Settings], environ: Mapping[str, str]) -> list[str]:
    try:
        kind.model_validate(_given(kind, environ))
    except ValidationError as error:
        return [f"{kind.prefix}{_spelled(str(e['loc'][0]))}: {e['msg']}" for e in error.errors()]
    return []


def _given(kind: type[Settings], environ: Mapping[str, str]) -> dict[str, str]:
    return {field: environ[name] for name, field in kind.variables().items() if _is_given(name, environ)}


def read_shared(environ: Mapping[str, str]) -> SharedSettings:
    """The shared settings, with the faults switch checked against its permission."""
    shared = read_settings(SharedSettings, environ)
    if shared.faults and shared.faults_allowed != "yes":
        raise SettingsError("WAYPOST_FAULTS is set", "set WAYPOST_FAULTS_ALLOWED=yes too, in drills only")
    return shared


def unknown_names(environ: Mapping[str, str]) -> list[str]:
    """One problem per WAYPOST_ variable that nobody reads and that Kubernetes did not inject."""
    known = {name for kind in _ALL for name in kind.variables()}
    return [
        f"{name}: unknown setting"
        for name in sorted(environ)
        if name.startswith("WAYPOST_") and name not in known and not is_service_link(name, environ[name])
    ]


def service_links(environ: Mapping[str, str]) -> list[str]:
    """The WAYPOST_ variables that Kubernetes injected; they are ignored, with one warning."""
    return [name for name in sorted(environ) if name.startswith("WAYPOST_") and is_service_link(name, environ[name])]


def is_service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK_NAME.match(name)) or value.startswith("tcp://")


def _is_given(name: str, environ: Mapping[str, str]) -> bool:
    return environ.get(name, "") != "" and not is_service_link(name, environ[name])


def _refusal(problems: Iterable[str]) -> SettingsError:
    return SettingsError("settings refused: " + "; ".join(problems), "see the verb's --help for the names")


def absent_parts(shared: SharedSettings, needed: Iterable[Part]) -> tuple[Part, ...]:
    """The needed parts whose switch is not set: they are the embedded ones."""
    given: dict[Part, str | None] = {
        "postgres": shared.postgres_dsn,
        "s3": shared.bucket,
        "sqs": shared.request_queue_url,
        "triton": shared.triton_url,
    }
    return tuple(part for part in needed if not given[part])


def resolve_parts(
    shared: SharedSettings, needed: Iterable[Part], stack: EmbeddedStack | None, region: str | None = None
) -> Parts:
    """Where each needed part is; `region` is AWS_REGION, which boto3 itself does not read.

    Raises SettingsError naming every part that is neither given nor embedded.
    """
    absent = absent_parts(shared, needed)
    if absent and (shared.embedded == "never" or stack is None):
        names = ", ".join(SWITCHES[part] for part in absent)
        if shared.embedded == "never":
            raise SettingsError(f"{names} not set and WAYPOST_EMBEDDED=never", "set them")
        raise SettingsError(
            f"{names} not set and no embedded stack is up in {shared.local_dir}", "run `waypost local up` or set them"
        )
    given_aws, aws = AwsAccess(region=region), stack.aws() if stack else AwsAccess(region=region)
    releases = None if shared.bucket else stack  # keys of releases go with the bucket that holds them
    keys_file = shared.message_keys_file or (Path(stack.message_keys_file) if stack else None)
    return Parts(
        postgres_dsn=shared.postgres_dsn or (stack.postgres_reader_dsn if stack else ""),
        postgres_owner_dsn=shared.postgres_dsn or (stack.postgres_dsn if stack else ""),
        s3=given_aws if shared.bucket else aws,
        bucket=shared.bucket or (stack.bucket if stack else ""),
        sqs=given_aws if shared.request_queue_url else aws,
        request_queue_url=shared.request_queue_url or (stack.request_queue_url if stack else ""),
        dead_letter_queue_url=stack.dead_letter_queue_url if stack and not shared.request_queue_url else "",
        triton_url=shared.triton_url or (stack.triton_url if stack else ""),
        triton_repository=Path(stack.triton_repository) if stack and not shared.triton_url else None,
        message_keys_file=keys_file,
        signing_key_file=Path(releases.signing_key_file) if releases else None,
        release_keys_file=shared.release_keys_file or (Path(releases.release_keys_file) if releases else None),
        unsigned_allowed=shared.embedded != "never",
        embedded=absent,
    )

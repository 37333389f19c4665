"""A Triton of a test's own, without keeper and without any check before it: it may hang, and is then killed whole."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from waypost.errors import TritonHung, TritonUnavailable
from waypost.local.asking import answers_ok
from waypost.local.layout import Layout
from waypost.local.ports import LOOPBACK, choose_ports
from waypost.local.processes import keep_child, kill_holders, wait_until
from waypost.local.triton import PORT_NAMES, SHARED_MEMORY, TritonHome, find_triton, save_backends, triton_environment
from waypost.model.signature import MODEL_NAME
from waypost.release.triton import TritonModel

START_SECONDS = 20.0
LOAD_SECONDS = 10.0
HUNG_SECONDS = 3.0  # a right model of this size loads in half a second
HUNG = "hangs"


@dataclass(frozen=True)
class OwnTriton:
    models: Path
    url: str
    http_url: str
    log: Path

    @property
    def model(self) -> Path:
        return self.models / MODEL_NAME

    def is_live(self) -> bool:
        return answers_ok(f"{self.http_url}/v2/health/live")

    def says_ready(self) -> bool:
        """What Triton itself says of the model."""
        return answers_ok(f"{self.http_url}/v2/models/{MODEL_NAME}/ready")

    def asked(self, seconds: float = LOAD_SECONDS) -> TritonModel:
        return TritonModel(self.url, seconds, seconds)

    def load(self, seconds: float = LOAD_SECONDS) -> str:
        """Empty when Triton says that it has loaded the model, else its message, or HUNG."""
        model = self.asked(seconds)
        try:
            model.load()
        except TritonHung:
            return HUNG
        except TritonUnavailable as error:
            return error.cause
        finally:
            model.close()
        return ""

    def forget(self) -> None:
        """Unload the model and remove it."""
        model = self.asked()
        with suppress(TritonUnavailable):
            model.unload()
        model.close()
        shutil.rmtree(self.model, ignore_errors=True)


@contextmanager
def own_triton(
    folder: Path,
    *options: str,
    repository: str = "",
    site_packages: Path | None = None,
    environment: Mapping[str, str] | None = None,
    wait_seconds: float = START_SECONDS,
) -> Iterator[OwnTriton]:
    """A server in a session of its own; it may not be live after `wait_seconds`. Nothing of it is left."""
    home, layout = find_triton(None), Layout.of(folder)
    layout.root.mkdir(parents=True, exist_ok=True)
    models = layout.root / "models"
    models.mkdir(exist_ok=True)
    save_backends(home, layout.triton_backends)
    ports = choose_ports(PORT_NAMES, {}, {}, ())
    triton = OwnTriton(
        models, f"{LOOPBACK}:{ports['triton_grpc']}", f"http://{LOOPBACK}:{ports['triton_http']}", layout.root / "log"
    )
    regions, lock = f"waypost-own-{uuid.uuid4().hex[:12]}-", layout.root / "lock"
    command = _command(home, layout, ports, repository or str(models), regions)
    given = {**triton_environment(layout, home), **(environment or {})}
    try:
        with lock.open("a") as held, triton.log.open("ab") as output:
            child = subprocess.Popen(
                (*command, *options), env=given, cwd=site_packages or home.site_packages, pass_fds=(held.fileno(),),
                start_new_session=True, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        keep_child(child)
        wait_until(lambda: triton.is_live() or child.poll() is not None, wait_seconds)
        yield triton
    finally:
        assert kill_holders(lock)
        for region in SHARED_MEMORY.glob(f"{regions}*"):
            region.unlink()


def _command(home: TritonHome, layout: Layout, ports: Mapping[str, int], repository: str, regions: str) -> list[str]:
    listen = [
        option
        for name in ("http", "grpc", "metrics")
        for option in (f"--{name}-address={LOOPBACK}", f"--{name}-port={ports[f'triton_{name}']}")
    ]
    return [
        str(home.server / "bin" / "tritonserver"), *listen, f"--model-repository={repository}",
        f"--backend-directory={layout.triton_backends}", f"--backend-config=python,shm-region-prefix-name={regions}",
        "--model-control-mode=explicit", "--strict-readiness=false", "--allow-gpu-metrics=false",
    ]  # fmt: skip

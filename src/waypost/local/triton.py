"""The embedded Triton: the tritonserver of the nvidia-pytriton wheel, from an environment of its own, run by the
keeper that runs it in a pod too.

That server carries the python backend only, which runs each model in a stub process with an embedded interpreter. The
stub ignores PYTHONPATH and imports from its working directory first, so the server's working directory is the
environment's site-packages: numpy below 2 is found there before any other (with numpy 2 every output is empty and
nothing complains).
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import waypost
from waypost.errors import LocalStackError
from waypost.local.asking import answers_ok
from waypost.local.layout import Layout
from waypost.local.ports import LOOPBACK
from waypost.local.supervisor import PartSpec, private_environment

KEEPER = Path(waypost.__file__).parent / "worker" / "triton_keeper.py"  # a script, not a module of this process
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # where the server and its stubs exchange tensors
MIN_SHARED_MEMORY_BYTES = 32 * 2**20  # a stub begins with 1 MiB and grows with the largest batch in flight
STUB_CHECK_SECONDS = 10.0
EXIT_SECONDS = 5  # for requests in flight; the server's own default is 30
PORT_NAMES = ("triton_grpc", "triton_http", "triton_metrics")
_MISSING_LIBRARY = "error while loading shared libraries: "


@dataclass(frozen=True)
class TritonHome:
    """A virtual environment with nvidia-pytriton, numpy below 2 and onnxruntime."""

    site_packages: Path
    python_version: str  # "3.11": the stub and the wheels are built for it
    base_python: Path  # the bin folder of the Python that made the environment

    @property
    def server(self) -> Path:
        return self.site_packages / "pytriton" / "tritonserver"


def find_triton(home: Path | None) -> TritonHome:
    """The environment at `home`, else the one inside ours."""
    home = home or Path(sys.prefix) / "triton"
    for site_packages in sorted(home.glob("lib/python3.*/site-packages")):
        found = TritonHome(site_packages, site_packages.parent.name.removeprefix("python"), _base_python(home))
        if (found.server / "bin" / "tritonserver").exists():
            return found
    raise LocalStackError(
        f"no tritonserver in {home}", "run `make setup`, or name its environment in WAYPOST_LOCAL_TRITON_HOME"
    )


def _base_python(home: Path) -> Path:
    try:
        lines = (home / "pyvenv.cfg").read_text().splitlines()
    except OSError:
        lines = []
    pairs = dict(line.split("=", 1) for line in lines if "=" in line)
    return Path({name.strip(): value.strip() for name, value in pairs.items()}.get("home", "/usr/bin"))


def save_backends(home: TritonHome, folder: Path) -> Path:
    """Lay out the python backend as the server wants it: library, utilities and stub in one folder; the stub's path."""
    target = folder / "python"
    target.mkdir(parents=True, exist_ok=True)
    stub = home.server / "python_backend_stubs" / home.python_version / "triton_python_backend_stub"
    if not stub.exists():
        raise LocalStackError(f"tritonserver has no python stub for Python {home.python_version}", "run `make setup`")
    for source in (*(home.server / "backends" / "python").iterdir(), stub):
        _copy_if_changed(source, target / source.name)
    return target / stub.name


def _copy_if_changed(source: Path, target: Path) -> None:
    now = source.stat()
    if target.exists() and (target.stat().st_size, target.stat().st_mtime_ns) == (now.st_size, now.st_mtime_ns):
        return
    draft = target.with_name(f"{target.name}.new")
    shutil.copy2(source, draft)
    draft.replace(target)


def triton_environment(layout: Layout, home: TritonHome) -> dict[str, str]:
    """The environment's own interpreter where it has a shared library, else the machine's of the same version."""
    libraries = [home.site_packages / "nvidia_pytriton.libs"]
    path = "/usr/bin:/bin"
    own = home.base_python.parent / "lib"
    if (own / f"libpython{home.python_version}.so.1.0").exists():
        libraries.append(own)
        path = f"{home.base_python}:{path}"  # the stub finds its standard library beside the first python3
    return private_environment(
        layout.root,
        LD_LIBRARY_PATH=":".join(map(str, libraries)), PATH=path, PYTHONDONTWRITEBYTECODE="1",
        OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1",  # models are copies side by side already
    )  # fmt: skip


def check_stub(stub: Path, environment: dict[str, str], python_version: str) -> None:
    """Run the stub without arguments: it complains about those, unless a library is missing."""
    try:
        run = _run_stub(stub, environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LocalStackError(f"Triton's python stub does not run: {error}", "run `make setup`") from None
    if _MISSING_LIBRARY in run.stderr:
        library = run.stderr.partition(_MISSING_LIBRARY)[2].partition(":")[0]
        package = f"libpython{python_version}" if library.startswith("libpython") else f"the package that has {library}"
        raise LocalStackError(f"Triton's python stub lacks the library {library}", f"apt-get install {package}")


def _run_stub(stub: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The copied stub, once it can be run: a process that another thread forked while the copy was written holds it
    open for writing until its own exec, and a file open for writing is "busy"."""
    deadline = time.monotonic() + STUB_CHECK_SECONDS
    while True:
        try:
            return subprocess.run(
                [stub], env=environment, capture_output=True, text=True, timeout=STUB_CHECK_SECONDS, check=False
            )
        except OSError as error:
            if error.errno != errno.ETXTBSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def check_shared_memory(folder: Path = SHARED_MEMORY, needed: int = MIN_SHARED_MEMORY_BYTES) -> None:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        raise LocalStackError(
            f"{folder} is missing, Triton's python backend needs it", f"mount a tmpfs on {folder}"
        ) from None
    if free < needed:
        raise LocalStackError(
            f"{folder} has {free // 2**20} MiB free, Triton needs {needed // 2**20} MiB",
            "free it or mount a larger one (docker run --shm-size 256m)",
        )


def region_prefix(layout: Layout) -> str:
    """How the stack's shared-memory regions are called, and no other stack's."""
    return f"waypost-{hashlib.sha256(str(layout.root).encode()).hexdigest()[:12]}-"


def remove_regions(layout: Layout, folder: Path = SHARED_MEMORY) -> None:
    """Remove what a killed server left behind; only while none of this stack runs."""
    for region in folder.glob(f"{region_prefix(layout)}*"):
        region.unlink(missing_ok=True)


def triton_spec(layout: Layout, home: TritonHome, ports: Mapping[str, int]) -> PartSpec:
    """The keeper, which runs the server, starts it again when it ends, and ends it."""
    listen = [
        option
        for name in ("http", "grpc", "metrics")
        for option in (f"--{name}-address={LOOPBACK}", f"--{name}-port={ports[f'triton_{name}']}")
    ]
    return PartSpec(
        name="triton",
        command=(
            sys.executable, "-IS", str(KEEPER), f"--repository={layout.triton_models}",
            f"--region-prefix={region_prefix(layout)}", f"--stop-seconds={2 * EXIT_SECONDS}", "--",
            str(home.server / "bin" / "tritonserver"), *listen,
            f"--model-repository={layout.triton_models}", "--model-control-mode=explicit",
            f"--backend-directory={layout.triton_backends}",
            "--strict-readiness=false", "--allow-gpu-metrics=false", f"--exit-timeout-secs={EXIT_SECONDS}",
        ),
        environment=triton_environment(layout, home),
        working_dir=home.site_packages,
        is_ready=lambda: answers_ok(f"{http_url(ports)}/v2/health/live"),
        identity=(hashlib.sha256(KEEPER.read_bytes()).hexdigest(),),
        before_start=lambda: _make_ready_to_start(layout, home),
        start_failed=lambda: _read_server(layout).deaths > 0,
    )  # fmt: skip


def _make_ready_to_start(layout: Layout, home: TritonHome) -> None:
    _server_file(layout).unlink(missing_ok=True)
    stub = save_backends(home, layout.triton_backends)
    check_stub(stub, triton_environment(layout, home), home.python_version)
    remove_regions(layout)
    check_shared_memory()


def read_server_pid(layout: Layout) -> int | None:
    """The server that the running keeper has started; None while it is between two."""
    return _read_server(layout).pid


@dataclass(frozen=True)
class _Server:
    """What the keeper says of its server."""

    pid: int | None = None
    deaths: int = 0  # in a row, each but the first soon after its start


def _read_server(layout: Layout) -> _Server:
    try:
        said = json.loads(_server_file(layout).read_text())
        return _Server(said["pid"], said["deaths"])
    except (OSError, ValueError, KeyError, TypeError):  # the keeper has not said anything yet
        return _Server()


def _server_file(layout: Layout) -> Path:
    return layout.triton_models / ".keeper" / "server.json"


def http_url(ports: Mapping[str, int]) -> str:
    return f"http://{LOOPBACK}:{ports['triton_http']}"

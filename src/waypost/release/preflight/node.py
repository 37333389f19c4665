"""The node that is to serve: its GPUs, its /dev/shm, and the Python that Triton's stub runs in.

The python backend's Triton runs on the machine where preflight is asked, so its node is always looked at; GPUs only
where the caller says that this machine is the one."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonclient.grpc import model_config_pb2

from waypost.release.preflight.findings import Finding, finding

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # where the server and its stubs exchange tensors
# What an instance may need: 256 rows of 10,000 blocked posts are 16 MiB of int32, and several batches are under way.
# Docker's and Kubernetes' default of 64 MiB for the whole of /dev/shm is known to be too small.
NEEDED_BYTES = 64 * 2**20
_STUB = "triton_python_backend_stub"
_GPU_DEVICE = re.compile(r"nvidia\d+")
_LIBPYTHON = re.compile(rb"libpython(3\.\d+)\.so")
_GLIBC = re.compile(rb"GLIBC_(\d+)\.(\d+)")
_NUMPY = re.compile(r"numpy-(\d+\..+)\.dist-info")


@dataclass(frozen=True)
class TritonPython:
    """The environment that the python backend's stub runs in."""

    site_packages: Path
    version: str  # "3.11"
    stub: Path | None


@dataclass(frozen=True)
class Node:
    """What is known of it; None is not asked, or not to be known from here."""

    gpus: int | None = None
    shared_memory_bytes: int | None = None  # free
    python: TritonPython | None = None
    glibc: tuple[int, int] | None = None


def read_node(triton_home: Path | None = None, serves_here: bool = False) -> Node:
    """This machine; its GPUs are counted when it is to serve. `triton_home` is the virtual environment of its Triton,
    None for the embedded one."""
    return Node(
        gpus=_count_gpus() if serves_here else None,
        shared_memory_bytes=shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0,
        python=find_triton_python(triton_home or Path(sys.prefix) / "triton"),
        glibc=_read_glibc(),
    )


def _read_glibc() -> tuple[int, int] | None:
    """None on a machine whose C library is another."""
    named = platform.libc_ver()[1].split(".")
    return (int(named[0]), int(named[1])) if len(named) >= 2 and platform.libc_ver()[0] == "glibc" else None


def _count_gpus() -> int:
    return sum(bool(_GPU_DEVICE.fullmatch(device.name)) for device in Path("/dev").iterdir())


def find_triton_python(home: Path) -> TritonPython | None:
    """The environment of `nvidia-pytriton` below `home`, or None when there is none."""
    for site_packages in sorted(home.glob("lib/python3.*/site-packages")):
        server = site_packages / "pytriton" / "tritonserver"
        if server.is_dir():
            version = site_packages.parent.name.removeprefix("python")
            stub = server / "python_backend_stubs" / version / _STUB
            return TritonPython(site_packages, version, stub if stub.is_file() else None)
    return None


def check_gpus(config: Any, node: Node, where: str) -> Iterator[Finding]:
    if node.gpus is None:
        return
    for entry in config.instance_group:
        if entry.kind == model_config_pb2.ModelInstanceGroup.KIND_GPU and not node.gpus:
            yield finding("node-gpu", where, "KIND_GPU on a node without a GPU")
        elif any(not 0 <= number < node.gpus for number in entry.gpus):
            yield finding("node-gpu", where, f"gpus {list(entry.gpus)} on a node of {node.gpus}")


def check_python_backend(config: Any, node: Node, model_folder: Path, where: str) -> Iterator[Finding]:
    """What the stub needs of the node."""
    instances = sum(max(1, entry.count) for entry in config.instance_group) or 1
    free, needed = node.shared_memory_bytes, instances * NEEDED_BYTES
    if free is not None and free < needed:
        what = f"{free // 2**20} MiB free, {instances} instances need {needed // 2**20} MiB"
        yield finding("node-shared-memory", str(SHARED_MEMORY), what)
    if node.python is not None:
        yield from _check_python(node.python, node.glibc, model_folder, where)


def _check_python(
    python: TritonPython, glibc: tuple[int, int] | None, model_folder: Path, where: str
) -> Iterator[Finding]:
    numpy = read_numpy_version(python.site_packages)
    if not numpy.startswith("1."):
        yield finding("node-numpy", str(python.site_packages), f"numpy {numpy or 'is missing'}")
    own_stub = model_folder / _STUB  # Triton prefers one that lies in the model's folder
    stub = own_stub if own_stub.is_file() else python.stub
    if stub is None:
        yield finding("node-python", where, f"no stub for Python {python.version}")
        return
    body = stub.read_bytes()
    linked = _LIBPYTHON.search(body)
    if linked is None or linked.group(1).decode() != python.version:
        told = linked.group(1).decode() if linked else "no Python at all"
        yield finding("node-python", str(stub), f"the stub is of {told}, its environment of {python.version}")
    needed = max(((int(major), int(minor)) for major, minor in _GLIBC.findall(body)), default=(0, 0))
    if glibc is not None and needed > glibc:
        what = f"the stub needs GLIBC {needed[0]}.{needed[1]}, here is {glibc[0]}.{glibc[1]}"
        yield finding("node-glibc", str(stub), what)


def read_numpy_version(site_packages: Path) -> str:
    """As installed, such as "1.26.4"; empty when it is not."""
    named = [found.group(1) for path in site_packages.iterdir() if (found := _NUMPY.fullmatch(path.name))]
    return named[0] if named else ""

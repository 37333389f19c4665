#!/usr/bin/env python3
"""Builds the cluster tools from their Go modules at the versions pinned in modules/*/go.mod, each once.

A tool lands in `$CLUSTER_CACHE` (default `~/.cache/waypost/cluster`), in a folder named after its module, its version
and a digest of everything that decides what comes out: go.mod, go.sum, the flags and Go itself. So a new pin builds
anew what it touches and nothing else, and two runs at once wait for each other. Standard library only: it runs before
`make setup`. What a module carries beside its code (KEDA's CRDs and roles, kwok's stages) is laid beside its binaries.

    deploy/cluster/build.py              builds what lacks and prints where each tool is
    deploy/cluster/build.py helm kwok    the same for these alone
    deploy/cluster/build.py --where helm prints where they are and builds nothing; 1 where one lacks

Exit codes: 0 done, 1 a build failed, 2 there is no Go.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULES = HERE / "modules"
USUAL_GO = Path("/usr/local/go/bin/go")  # where Go's own installer puts it, often not on PATH
DOWNLOAD_SECONDS = 900
BUILD_SECONDS = 3_600
# Stripped: half the size, and a third less to link. No cgo: nothing here needs it, and it wants a C compiler.
LINK = "-s -w"
BUILD_FLAGS = ("-trimpath", "-buildvcs=false", "-mod=readonly")
PACKAGE_VERSION = "-X k8s.io/component-base/version"  # of a Kubernetes that calls itself by its release


@dataclass(frozen=True)
class Module:
    """A Go module, its commands (tool -> package), and the folders to keep beside the binaries."""

    name: str  # its folder in modules/
    path: str
    tools: Mapping[str, str]
    folders: tuple[str, ...] = ()
    link: str = LINK


KUBERNETES = "k8s.io/kubernetes"
ALL = (
    Module("helm", "helm.sh/helm/v4", {"helm": "helm.sh/helm/v4/cmd/helm"}),
    Module(
        "kubeconform", "github.com/yannh/kubeconform", {"kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform"}
    ),
    Module("etcd", "go.etcd.io/etcd/server/v3", {"etcd": "go.etcd.io/etcd/server/v3"}),
    Module("kwok", "sigs.k8s.io/kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}, ("kustomize",)),
    Module(
        "kubernetes",
        KUBERNETES,
        {name: f"{KUBERNETES}/cmd/{name}" for name in ("kube-apiserver", "kube-scheduler", "kube-controller-manager")},
        link=f"{LINK} {PACKAGE_VERSION}.gitVersion={{version}} {PACKAGE_VERSION}.gitMajor={{major}} "
        f"{PACKAGE_VERSION}.gitMinor={{minor}}",
    ),
    Module(
        "keda",
        "github.com/kedacore/keda/v2",
        {
            "keda-operator": "github.com/kedacore/keda/v2/cmd/operator",
            "keda-adapter": "github.com/kedacore/keda/v2/cmd/adapter",
        },
        ("config",),
    ),
)
TOOLS = {tool: module for module in ALL for tool in module.tools}


class BuildError(Exception):
    """One line: what failed and what to do."""

    exit_code = 1


class NoGo(BuildError):
    exit_code = 2


@dataclass(frozen=True)
class Step:
    """What one step took."""

    name: str
    seconds: float
    cpu_seconds: float

    def __str__(self) -> str:
        return f"{self.name}: {self.seconds:.1f} s, {self.cpu_seconds:.1f} s of CPU"


def build(tools: Sequence[str] = tuple(TOOLS)) -> dict[str, Path]:
    """Where each tool is, built where it lacks. Raises BuildError."""
    go = find_go()
    with _one_at_a_time():
        return {tool: _have(go, TOOLS[tool], tool) for tool in tools}


def built(tool: str) -> Path | None:
    """Where it is, if it was built before: no build, no waiting. Raises NoGo."""
    target = _home(find_go(), TOOLS[tool]) / tool
    return target if target.exists() else None


def folder_of(module_name: str) -> Path:
    """The module's own folders, as they are in its source (`config/crd/bases/…`). Built before. Raises BuildError."""
    module = next(module for module in ALL if module.name == module_name)
    return _home(find_go(), module)


def find_go() -> str:
    """Raises NoGo: without Go there is no cluster to test on."""
    found = shutil.which("go") or (str(USUAL_GO) if USUAL_GO.exists() else None)
    if found is None:
        raise NoGo("Go is not installed; install Go 1.26 or newer (https://go.dev/dl) or put it on PATH")
    return found


def cache() -> Path:
    given = os.environ.get("CLUSTER_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "waypost" / "cluster"


def version_of(module: Module) -> str:
    """As pinned in its go.mod."""
    text = (MODULES / module.name / "go.mod").read_text(encoding="utf-8")
    found = re.search(rf"^(?:require\s+|\s+){re.escape(module.path)} (v\S+)", text, re.MULTILINE)
    if found is None:
        raise BuildError(f"modules/{module.name}/go.mod does not pin {module.path}; add its require line")
    return found.group(1)


def _have(go: str, module: Module, tool: str) -> Path:
    home = _home(go, module)
    target = home / tool
    if not target.exists():
        home.mkdir(parents=True, exist_ok=True)
        _timed(f"{module.name} {version_of(module)} downloaded", lambda: _download(go, module, home))
        _timed(f"{tool} {version_of(module)} built", lambda: _compile(go, module, tool, target))
    return target


def _home(go: str, module: Module) -> Path:
    """Named after all that decides what comes out."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((MODULES / module.name / name).read_bytes())
    digest.update(json.dumps([_go_version(go), BUILD_FLAGS, module.link, module.folders]).encode())
    return cache() / f"{module.name}-{version_of(module)}-{digest.hexdigest()[:12]}"


def _go_version(go: str) -> str:
    return _run([go, "env", "GOVERSION"], HERE, 30).strip()


def _download(go: str, module: Module, home: Path) -> None:
    """Every module that is needed, checked against go.sum; and this one's folders."""
    said = _run([go, "mod", "download", "-json", module.path], MODULES / module.name, DOWNLOAD_SECONDS)
    source = Path(json.loads(said)["Dir"])
    for folder in module.folders:
        if not (home / folder).exists():
            unfinished = home / f"{folder}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            # Plain copies: the module cache is read-only, and what is made from it here should not be.
            shutil.copytree(source / folder, unfinished, copy_function=shutil.copyfile)
            for each in (unfinished, *unfinished.rglob("*")):
                each.chmod(0o755 if each.is_dir() else 0o644)
            unfinished.rename(home / folder)


def _compile(go: str, module: Module, tool: str, target: Path) -> None:
    version = version_of(module)
    major, minor = version.lstrip("v").split(".")[:2]
    link = module.link.format(version=version, major=major, minor=minor)
    unfinished = target.with_suffix(".unfinished")
    command = [go, "build", *BUILD_FLAGS, "-ldflags", link, "-o", str(unfinished), module.tools[tool]]
    _run(command, MODULES / module.name, BUILD_SECONDS)
    unfinished.rename(target)


def _run(command: Sequence[str], folder: Path, seconds: float) -> str:
    environment, what = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}, f"`{' '.join(command[:3])}` in {folder}"
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"{what} took more than {seconds:.0f} s; run it again") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise BuildError(f"{what} failed: {last}")
    return done.stdout


def _timed(name: str, work: Callable[[], None]) -> None:
    started, cpu = time.monotonic(), _children_cpu()
    work()
    print(Step(name, time.monotonic() - started, _children_cpu() - cpu), file=sys.stderr, flush=True)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("build.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tools", nargs="*", choices=[[], *TOOLS], metavar="TOOL", help=f"of {', '.join(TOOLS)}")
    parser.add_argument("--where", action="store_true", help="build nothing")
    options = parser.parse_args(arguments)
    wanted = options.tools or tuple(TOOLS)
    try:
        found = {tool: built(tool) for tool in wanted} if options.where else build(wanted)
    except BuildError as error:
        print(f"build.py: {error}", file=sys.stderr)
        return error.exit_code
    for tool, path in found.items():
        print(f"{tool} {path or 'is not built'}")
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

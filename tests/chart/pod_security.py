"""Pod Security "restricted", as https://kubernetes.io/docs/concepts/security/pod-security-standards/ publishes it.

Every control of "baseline" and "restricted" for Linux pods, each as a function from a pod to what breaks it. Containers
are init containers, sidecars and ephemeral ones too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Object = dict[str, Any]
VOLUME_TYPES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SECCOMP = {"RuntimeDefault", "Localhost"}
APPARMOR = {"RuntimeDefault", "Localhost"}
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}  # fmt: skip


def violations(pod: Object) -> list[str]:
    """What breaks "restricted", in words; none when it passes."""
    return [problem for control in CONTROLS for problem in control(pod["spec"])]


def _containers(spec: Object) -> Iterator[Object]:
    for group in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(group, [])


def _own(one: Object) -> Object:
    return dict(one.get("securityContext", {}))


def _of_pod(spec: Object) -> Object:
    return dict(spec.get("securityContext", {}))


def _host_namespaces(spec: Object) -> Iterator[str]:
    yield from (f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name))


def _host_process(spec: Object) -> Iterator[str]:
    for context in (_of_pod(spec), *map(_own, _containers(spec))):
        if context.get("windowsOptions", {}).get("hostProcess"):
            yield "hostProcess is set"


def _privileged(spec: Object) -> Iterator[str]:
    yield from (f"{one['name']} is privileged" for one in _containers(spec) if _own(one).get("privileged"))


def _escalation(spec: Object) -> Iterator[str]:
    for one in _containers(spec):
        if _own(one).get("allowPrivilegeEscalation") is not False:
            yield f"{one['name']} may escalate privileges"


def _capabilities(spec: Object) -> Iterator[str]:
    for one in _containers(spec):
        said = _own(one).get("capabilities", {})
        if "ALL" not in said.get("drop", []):
            yield f"{one['name']} does not drop all capabilities"
        if set(said.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield f"{one['name']} adds capabilities"


def _volumes(spec: Object) -> Iterator[str]:
    for volume in spec.get("volumes", []):
        if not set(volume) - {"name"} <= VOLUME_TYPES:
            yield f"volume {volume['name']} is of a kind that is not allowed"


def _host_ports(spec: Object) -> Iterator[str]:
    for one in _containers(spec):
        yield from (f"{one['name']} has a host port" for port in one.get("ports", []) if port.get("hostPort"))


def _probe_hosts(spec: Object) -> Iterator[str]:
    for one in _containers(spec):
        hooks = [one.get(name, {}) for name in ("startupProbe", "livenessProbe", "readinessProbe")]
        hooks += one.get("lifecycle", {}).values()
        for hook in hooks:
            if any(hook.get(way, {}).get("host") for way in ("httpGet", "tcpSocket")):
                yield f"{one['name']} has a probe or hook with a host"


def _non_root(spec: Object) -> Iterator[str]:
    for one in _containers(spec):
        if _own(one).get("runAsNonRoot", _of_pod(spec).get("runAsNonRoot")) is not True:
            yield f"{one['name']} may run as root"
        if _own(one).get("runAsUser", _of_pod(spec).get("runAsUser")) == 0:
            yield f"{one['name']} runs as user 0"


def _seccomp(spec: Object) -> Iterator[str]:
    for one in _containers(spec):
        said = _own(one).get("seccompProfile") or _of_pod(spec).get("seccompProfile", {})
        if said.get("type") not in SECCOMP:
            yield f"{one['name']} has no seccomp profile"


def _apparmor(spec: Object) -> Iterator[str]:
    for context in (_of_pod(spec), *map(_own, _containers(spec))):
        if context.get("appArmorProfile", {"type": "RuntimeDefault"})["type"] not in APPARMOR:
            yield "AppArmor is off"


def _selinux(spec: Object) -> Iterator[str]:
    for context in (_of_pod(spec), *map(_own, _containers(spec))):
        options = context.get("seLinuxOptions", {})
        if options.get("type", "") not in SELINUX_TYPES or options.get("user") or options.get("role"):
            yield "SELinux options are not the usual ones"


def _proc_mount(spec: Object) -> Iterator[str]:
    for one in _containers(spec):
        if _own(one).get("procMount", "Default") != "Default":
            yield f"{one['name']} sees more of /proc than others"


def _sysctls(spec: Object) -> Iterator[str]:
    for sysctl in _of_pod(spec).get("sysctls", []):
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']} is not a safe one"


CONTROLS: tuple[Callable[[Object], Iterator[str]], ...] = (
    _host_namespaces, _host_process, _privileged, _escalation, _capabilities, _volumes, _host_ports, _probe_hosts,
    _non_root, _seccomp, _apparmor, _selinux, _proc_mount, _sysctls,
)  # fmt: skip

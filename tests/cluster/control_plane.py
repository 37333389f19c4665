"""A real control plane on loopback: etcd, API server, controller manager, scheduler, each as who it is by its own
certificate and with the roles that Kubernetes gives it, on free ports, in one folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.api import Api
from tests.cluster.certificates import Authority, Pair, make_service_account_keys
from tests.cluster.running import Running
from waypost.local.ports import choose_ports

SERVICES = "10.96.0.0/16"
START_SECONDS = 60.0
HPA_SECONDS = 2  # Kubernetes' own is 15; the rules of scaling are the same, a test need not wait as long
TOKEN_SECONDS = 3_600


@dataclass
class ControlPlane:
    folder: Path
    tools: dict[str, Path]
    running: Running
    authority: Authority
    server: str
    admin: Api
    admin_kubeconfig: Path

    def kubeconfig(self, name: str, identity: Pair | str, namespace: str = "default") -> Path:
        """For a process that is to be this client."""
        user = (
            {"token": identity}
            if isinstance(identity, str)
            else {"client-certificate": str(identity.certificate), "client-key": str(identity.key)}
        )
        path = self.folder / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        cluster = {"server": self.server, "certificate-authority": str(self.authority.path)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "me", "namespace": namespace}}],
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "me", "user": user}],
        }
        path.write_text(json.dumps(content))  # JSON is YAML
        return path

    def token(self, namespace: str, service_account: str, pod: dict[str, str] | None = None) -> str:
        """As a pod of this service account would have it; `pod`: the name and uid of the one it is bound to."""
        spec: dict[str, object] = {"expirationSeconds": TOKEN_SECONDS}
        if pod is not None:
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", **pod}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        answer = self.admin.call(
            "POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        )
        return str(answer["status"]["token"])

    def as_account(self, namespace: str, service_account: str) -> Api:
        return Api(self.server, self.authority.path, self.token(namespace, service_account))


def start_control_plane(folder: Path, tools: dict[str, Path], running: Running) -> ControlPlane:
    ports = choose_ports(["etcd", "etcd_peer", "apiserver"], {}, {}, [])
    authority = Authority(folder / "pki", "cluster")
    _start_etcd(folder, tools, running, authority, ports)
    _start_apiserver(folder, tools, running, authority, ports)
    server = f"https://127.0.0.1:{ports['apiserver']}"
    administrator = authority.issue("admin", ["system:masters"])
    admin = Api(server, authority.path, administrator)
    plane = ControlPlane(folder, tools, running, authority, server, admin, folder / "admin.kubeconfig")
    running.wait("kube-apiserver", admin.is_ready, START_SECONDS)
    plane.kubeconfig("admin", administrator)
    _start_controllers(plane)
    return plane


def _start_etcd(
    folder: Path, tools: dict[str, Path], running: Running, authority: Authority, ports: dict[str, int]
) -> None:
    pair = authority.issue("etcd")
    client, peer = (f"https://127.0.0.1:{ports[name]}" for name in ("etcd", "etcd_peer"))
    running.start(
        "etcd",
        [
            tools["etcd"], f"--data-dir={folder / 'etcd'}", "--name=tests", "--log-level=warn", "--unsafe-no-fsync",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}", "--client-cert-auth",
            f"--trusted-ca-file={authority.path}", f"--cert-file={pair.certificate}", f"--key-file={pair.key}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=tests={peer}",
            "--peer-client-cert-auth", f"--peer-trusted-ca-file={authority.path}",
            f"--peer-cert-file={pair.certificate}", f"--peer-key-file={pair.key}",
        ],
    )  # fmt: skip


def _start_apiserver(
    folder: Path, tools: dict[str, Path], running: Running, authority: Authority, ports: dict[str, int]
) -> None:
    names = ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    serving, etcd_client = authority.issue("kube-apiserver", hosts=names), authority.issue("kube-apiserver-etcd")
    kubelet_client = authority.issue("kube-apiserver-kubelet", ["system:masters"])
    front = Authority(folder / "pki" / "front-proxy", "front-proxy")
    proxy = front.issue("front-proxy-client")
    accounts = make_service_account_keys(folder / "pki")
    running.start(
        "kube-apiserver",
        [
            tools["kube-apiserver"], "--bind-address=127.0.0.1", f"--secure-port={ports['apiserver']}",
            f"--tls-cert-file={serving.certificate}", f"--tls-private-key-file={serving.key}",
            f"--client-ca-file={authority.path}", f"--cert-dir={folder / 'pki'}",
            f"--etcd-servers=https://127.0.0.1:{ports['etcd']}", f"--etcd-cafile={authority.path}",
            f"--etcd-certfile={etcd_client.certificate}", f"--etcd-keyfile={etcd_client.key}",
            "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc", f"--service-cluster-ip-range={SERVICES}",
            f"--service-account-key-file={accounts.certificate}", f"--service-account-signing-key-file={accounts.key}",
            f"--requestheader-client-ca-file={front.path}", "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={proxy.certificate}", f"--proxy-client-key-file={proxy.key}",
            f"--kubelet-client-certificate={kubelet_client.certificate}", f"--kubelet-client-key={kubelet_client.key}",
            "--kubelet-preferred-address-types=InternalIP", "--endpoint-reconciler-type=none", "--profiling=false",
        ],
    )  # fmt: skip


def _start_controllers(plane: ControlPlane) -> None:
    for name, more in (
        (
            "kube-controller-manager",
            [
                f"--service-account-private-key-file={plane.folder / 'pki' / 'service-accounts.key'}",
                f"--root-ca-file={plane.authority.path}",
                "--use-service-account-credentials",
                f"--horizontal-pod-autoscaler-sync-period={HPA_SECONDS}s",
            ],
        ),
        ("kube-scheduler", []),
    ):
        kubeconfig = plane.kubeconfig(name, plane.authority.issue(f"system:{name}"))
        given = [f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0", "--bind-address=127.0.0.1"]
        delegated = [f"--authentication-kubeconfig={kubeconfig}", f"--authorization-kubeconfig={kubeconfig}"]
        plane.running.start(name, [plane.tools[name], *given, *delegated, *more])

"""Who we are to which API server: a pod's service account, or a person's kubeconfig.

A pod's token is renewed on its disk every hour and is read anew for each call. A kubeconfig's `exec` plugin (`aws eks
get-token`) is run once a verb. PyYAML is imported only where a kubeconfig is read, which no pod does.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waypost.errors import SettingsError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # where Kubernetes puts it in every pod
PLUGIN_SECONDS = 30.0  # a single sign-on may ask a server of its own
REMEDY = "check KUBECONFIG, or `kubectl config view`"


@dataclass(frozen=True)
class Credentials:
    server: str  # https://host:port
    tls: ssl.SSLContext
    token: Callable[[], str | None]
    namespace: str  # where to look when nobody says


def in_cluster(environ: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> Credentials | None:
    """Those of this pod; None outside a cluster, and in a pod that mounts no token. Raises SettingsError."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    token, authority = folder / "token", folder / "ca.crt"
    if not host or not port or not token.exists():
        return None
    try:
        tls = ssl.create_default_context(cafile=authority)
        namespace = (folder / "namespace").read_text(encoding="utf-8").strip()
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"{folder} cannot be used: {error}", "see the pod's service account") from None
    literal = f"[{host}]" if ":" in host else host
    return Credentials(f"https://{literal}:{port}", tls, lambda: token.read_text(encoding="utf-8").strip(), namespace)


def from_kubeconfig(path: Path) -> Credentials:
    """Those of its current context. Raises SettingsError."""
    try:
        config = _parsed(path.read_text(encoding="utf-8"))
        context = _named(config, "contexts", config["current-context"])["context"]
        cluster = _named(config, "clusters", context["cluster"])["cluster"]
        user = _named(config, "users", context["user"])["user"]
        tls = _tls(cluster, user, path.parent)
    except (OSError, KeyError, TypeError, StopIteration, ValueError, ssl.SSLError) as error:
        raise SettingsError(f"{path} cannot be used: {type(error).__name__} {error}", REMEDY) from None
    token = _token(user, path.parent)
    return Credentials(str(cluster["server"]).rstrip("/"), tls, lambda: token, context.get("namespace") or "default")


def find_credentials(environ: Mapping[str, str]) -> Credentials:
    """A person's kubeconfig, else this pod's account. Raises SettingsError where there is neither."""
    said = environ.get("KUBECONFIG")
    path = Path(said.split(os.pathsep)[0]) if said else Path(environ.get("HOME", "/")) / ".kube" / "config"
    if said or path.exists():
        return from_kubeconfig(path)
    inside = in_cluster(environ)
    if inside is None:
        raise SettingsError(f"no cluster is known: {path} does not exist", "set KUBECONFIG to a kubeconfig")
    return inside


def _parsed(text: str) -> Any:
    """JSON is YAML, and needs no more than Python. Raises ValueError."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        import yaml  # noqa: PLC0415  no pod needs it
    except ImportError:
        raise SettingsError("a kubeconfig needs the extra `kubernetes`", "pip install 'waypost[kubernetes]'") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _named(config: Any, kind: str, name: str) -> Any:
    return next(entry for entry in config[kind] if entry["name"] == name)


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> ssl.SSLContext:
    if cluster.get("insecure-skip-tls-verify"):
        raise ValueError("insecure-skip-tls-verify is set; name the certificate-authority instead")
    authority = _data(cluster, "certificate-authority", folder)
    tls = ssl.create_default_context(cadata=authority.decode()) if authority else ssl.create_default_context()
    certificate, key = _data(user, "client-certificate", folder), _data(user, "client-key", folder)
    if certificate and key:
        _load_pair(tls, certificate, key)
    return tls


def _load_pair(tls: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """OpenSSL takes them from a file only: one in memory, which nobody else can open."""
    descriptor = os.memfd_create("client")
    try:
        os.write(descriptor, certificate + b"\n" + key)
        tls.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _data(entry: Mapping[str, Any], name: str, folder: Path) -> bytes | None:
    """What stands there in base64, or the file it names, relative to the kubeconfig."""
    if entry.get(f"{name}-data"):
        return base64.b64decode(entry[f"{name}-data"])
    return (folder / entry[name]).read_bytes() if entry.get(name) else None


def _token(user: Mapping[str, Any], folder: Path) -> str | None:
    if user.get("token"):
        return str(user["token"])
    if user.get("tokenFile"):
        return (folder / str(user["tokenFile"])).read_text(encoding="utf-8").strip()
    return _plugin_token(user["exec"]) if user.get("exec") else None


def _plugin_token(plugin: Mapping[str, Any]) -> str:
    """What a credential plugin prints: an ExecCredential."""
    command = [str(plugin["command"]), *map(str, plugin.get("args") or ())]
    more = {str(pair["name"]): str(pair["value"]) for pair in plugin.get("env") or ()}
    try:
        done = subprocess.run(
            command, env={**os.environ, **more}, capture_output=True, text=True, timeout=PLUGIN_SECONDS, check=True
        )
        return str(json.loads(done.stdout)["status"]["token"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"`{command[0]}` of the kubeconfig gave no token: {type(error).__name__}", REMEDY) from None

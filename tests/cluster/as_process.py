"""A pod of the cluster as a process on this machine: the environment, the Secrets' files and the account that its
Deployment gives it, so that a name which the chart spells wrong is one the process refuses."""

from __future__ import annotations

import base64
from pathlib import Path

from tests.cluster.api import Object
from tests.cluster.control_plane import ControlPlane


def environment_of(plane: ControlPlane, pod: Object, container: str, root: Path) -> dict[str, str]:
    """What the container would find, with its mounts laid under `root`."""
    spec = next(one for one in pod["spec"]["containers"] if one["name"] == container)
    mounts = {mount["mountPath"]: mount["name"] for mount in spec.get("volumeMounts", [])}
    for path, volume in mounts.items():
        _lay(plane, pod, volume, root / path.lstrip("/"))
    found = {entry["name"]: _value(plane, pod, entry) for entry in spec.get("env", [])}
    return {name: _under(root, value, list(mounts)) for name, value in found.items()}


def kubeconfig_of(plane: ControlPlane, pod: Object) -> Path:
    """Of its service account, by a token that is bound to this pod, as the kubelet would have mounted it."""
    metadata = pod["metadata"]
    bound = {"name": metadata["name"], "uid": metadata["uid"]}
    token = plane.token(metadata["namespace"], pod["spec"]["serviceAccountName"], bound)
    return plane.kubeconfig(metadata["name"], token, metadata["namespace"])


def secret(plane: ControlPlane, namespace: str, name: str) -> dict[str, bytes]:
    held = plane.admin.get("v1", "Secret", name, namespace)
    assert held is not None, f"there is no Secret {name}"
    return {key: base64.b64decode(value) for key, value in held["data"].items()}


def _value(plane: ControlPlane, pod: Object, entry: Object) -> str:
    source = entry.get("valueFrom", {})
    if "secretKeyRef" in source:
        reference = source["secretKeyRef"]
        return secret(plane, pod["metadata"]["namespace"], reference["name"])[reference["key"]].decode()
    if "fieldRef" in source:
        found: object = pod
        for word in source["fieldRef"]["fieldPath"].split("."):
            assert isinstance(found, dict)
            found = found[word]
        return str(found)
    return str(entry.get("value", ""))


def _lay(plane: ControlPlane, pod: Object, volume: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    held = next(one for one in pod["spec"]["volumes"] if one["name"] == volume)
    if "secret" not in held:
        return
    content = secret(plane, pod["metadata"]["namespace"], held["secret"]["secretName"])
    for item in held["secret"]["items"]:
        path = folder / item["path"]
        path.touch(mode=0o600)
        path.write_bytes(content[item["key"]])


def _under(root: Path, value: str, mounts: list[str]) -> str:
    inside = any(value == mount or value.startswith(f"{mount}/") for mount in mounts)
    return f"{root}{value}" if inside else value

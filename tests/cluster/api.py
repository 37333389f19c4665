"""The API server as an administrator of the tests sees it: any object, by its own apiVersion, kind and name."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import urllib3
import yaml

from tests.cluster.certificates import Pair

Object = dict[str, Any]
CALL_SECONDS = 15.0
FIELD_MANAGER = "tests"


class ApiError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    def __init__(self, server: str, authority: Path, identity: Pair | str) -> None:
        """`identity` is a client's certificate, or a bearer token."""
        tls = ssl.create_default_context(cafile=authority)
        self._headers = {}
        if isinstance(identity, Pair):
            tls.load_cert_chain(identity.certificate, identity.key)
        else:
            self._headers = {"Authorization": f"Bearer {identity}"}
        self.server, self._resources = server, dict[tuple[str, str], tuple[str, bool]]()
        self._pool = urllib3.PoolManager(ssl_context=tls, retries=False, timeout=CALL_SECONDS)

    def call(self, method: str, path: str, body: object = None, media: str = "application/json") -> Any:
        """The parsed answer. Raises ApiError for any status but 2xx."""
        data = None if body is None else json.dumps(body).encode()
        headers = {**self._headers, "Content-Type": media, "Accept": "application/json, */*"}
        answer = self._pool.request(method, self.server + path, body=data, headers=headers)
        if answer.status >= 300:
            raise ApiError(answer.status, answer.data.decode(errors="replace")[:1_000])
        try:
            return json.loads(answer.data)
        except ValueError:
            return answer.data.decode()

    def is_ready(self) -> bool:
        try:
            return bool(self.call("GET", "/readyz") == "ok")
        except (ApiError, urllib3.exceptions.HTTPError):
            return False

    def apply(self, manifest: Object) -> Object:
        """Server-side apply."""
        path = f"{self.path(manifest)}?fieldManager={FIELD_MANAGER}&force=true"
        return dict(self.call("PATCH", path, manifest, "application/apply-patch+yaml"))

    def apply_all(self, manifests: Iterable[Object]) -> None:
        for manifest in manifests:
            self.apply(manifest)

    def create(self, manifest: Object) -> Object:
        path = self.path(manifest)
        collection = path if "name" not in manifest["metadata"] else path.rpartition("/")[0]
        return dict(self.call("POST", collection, manifest))

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None:
        try:
            return dict(self.call("GET", self.path(named(api_version, kind, name, namespace))))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, api_version: str, kind: str, namespace: str | None = None, labels: str = "") -> list[Object]:
        path = self.path(named(api_version, kind, None, namespace))
        return list(self.call("GET", f"{path}?labelSelector={labels}" if labels else path)["items"])

    def merge(self, api_version: str, kind: str, name: str, namespace: str | None, patch: Object) -> Object:
        path = self.path(named(api_version, kind, name, namespace))
        return dict(self.call("PATCH", path, patch, "application/merge-patch+json"))

    def delete(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> None:
        self.call("DELETE", self.path(named(api_version, kind, name, namespace)))

    def path(self, manifest: Mapping[str, Any]) -> str:
        """Its URL, by what the server says of its kind."""
        api_version, metadata = manifest["apiVersion"], manifest["metadata"]
        plural, namespaced = self._resource(api_version, manifest["kind"])
        where = f"/namespaces/{metadata.get('namespace') or 'default'}" if namespaced else ""
        if namespaced and metadata.get("namespace") == ALL_NAMESPACES:
            where = ""
        name = f"/{metadata['name']}" if metadata.get("name") else ""
        return f"{_root(api_version)}{where}/{plural}{name}"

    def _resource(self, api_version: str, kind: str) -> tuple[str, bool]:
        if (api_version, kind) not in self._resources:
            for found in self.call("GET", _root(api_version))["resources"]:
                if "/" not in found["name"]:
                    self._resources[api_version, found["kind"]] = (found["name"], found["namespaced"])
        return self._resources[api_version, kind]


ALL_NAMESPACES = "*"


def named(api_version: str, kind: str, name: str | None, namespace: str | None) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}


def documents(path: Path) -> list[Object]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def is_ready(pod: Object) -> bool:
    conditions = {one["type"]: one["status"] for one in pod.get("status", {}).get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"

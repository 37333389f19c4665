"""The published schemas of Kubernetes' own kinds and of the custom ones, as files of pinned Go modules.

The Go command downloads a module once into its own cache and checks it against the pinned sum. Kubernetes publishes one
OpenAPI document, the others CustomResourceDefinitions. Both are made strict: an unknown field is an error, as it is for
`kubectl --validate=strict`."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

Schema = dict[str, Any]
Kind = tuple[str, str]  # apiVersion, kind
DOWNLOAD_SECONDS = 280
USUAL_GO = Path("/usr/local/go/bin/go")


@dataclass(frozen=True)
class Module:
    path: str
    version: str
    sum: str  # as in a go.sum
    files: tuple[str, ...]


KUBERNETES = Module(
    "k8s.io/kubernetes",
    "v1.35.4",
    "h1:o/8dBC/pHVpYoGV4OAIytAlNPZbdYVTXJHoYvXC4qzM=",
    ("api/openapi-spec/swagger.json",),
)
CUSTOM = (
    Module(
        "github.com/kedacore/keda/v2",
        "v2.20.2",
        "h1:SR60v8uIcelbveS8n/1jcl8tLdBBIbHMxmdOHw8tKqA=",
        ("config/crd/bases/keda.sh_scaledobjects.yaml", "config/crd/bases/keda.sh_triggerauthentications.yaml"),
    ),
    Module(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        tuple(
            f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"
            for kind in ("podmonitors", "servicemonitors", "prometheusrules")
        ),
    ),
    Module(
        "github.com/external-secrets/external-secrets",
        "v1.3.2",
        "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ=",
        ("config/crds/bases/external-secrets.io_externalsecrets.yaml",),
    ),
)


class Schemas:
    """Says what is wrong with an object."""

    def __init__(self, validators: dict[Kind, Draft202012Validator]) -> None:
        self._validators = validators

    def problems(self, one: dict[str, Any]) -> list[str]:
        kind = one["apiVersion"], one["kind"]
        validator = self._validators.get(kind)
        if validator is None:
            return [f"{kind} is published by nobody"]
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(one)]


def load_schemas() -> Schemas:
    """Raises FileNotFoundError without Go."""
    swagger = json.loads(_files(KUBERNETES)[0].read_text())
    definitions = {name: _strict(schema) for name, schema in swagger["definitions"].items()}
    validators = {}
    for name, schema in swagger["definitions"].items():
        for said in schema.get("x-kubernetes-group-version-kind", []):
            version = f"{said['group']}/{said['version']}".lstrip("/")
            validators[version, said["kind"]] = Draft202012Validator(
                {"$ref": f"#/definitions/{name}", "definitions": definitions}
            )
    for module in CUSTOM:
        for path in _files(module):
            validators.update(_custom_kinds(yaml.load(path.read_text(), yaml.CSafeLoader), definitions))
    return Schemas(validators)


def _custom_kinds(definition: Schema, definitions: Schema) -> Iterator[tuple[Kind, Draft202012Validator]]:
    spec = definition["spec"]
    for version in spec["versions"]:
        schema = _strict(version["schema"]["openAPIV3Schema"])
        meta = {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
        schema["properties"] = {**schema["properties"], "metadata": meta}
        kind = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
        yield kind, Draft202012Validator({**schema, "definitions": definitions})


def _strict(schema: Any) -> Any:
    """OpenAPI as JSON Schema, with unknown fields refused where the publisher does not say otherwise."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    if schema.get("description", "").startswith("Quantity is"):  # published as a string, written as a number too
        return {"type": ["string", "number"]}
    result = {key: _strict(value) for key, value in schema.items() if key not in ("default", "properties")}
    if "properties" in schema:
        result["properties"] = {name: _strict(value) for name, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            result.setdefault("additionalProperties", False)
    if schema.get("nullable") and "type" in schema:
        result["type"] = [schema["type"], "null"]
    return result


def _files(module: Module) -> list[Path]:
    go = shutil.which("go") or (str(USUAL_GO) if USUAL_GO.exists() else None)
    if go is None:
        raise FileNotFoundError("go")
    done = subprocess.run(
        [go, "mod", "download", "-json", f"{module.path}@{module.version}"],
        cwd=tempfile.gettempdir(), capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False,
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert not said.get("Error"), said["Error"]
    assert said["Sum"] == module.sum, f"{module.path} {module.version} is {said['Sum']}, not what was pinned"
    return [Path(said["Dir"]) / name for name in module.files]

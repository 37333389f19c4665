"""What an operator writes is taken for what it is: null is refused, and a number where a name belongs stays a name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.chart.charting import REQUIRED, Helm, Object, Refusal, merged, named, of_kind
from tests.chart.schemas import Schemas
from tests.chart.test_values import SCHEMA, VALUES
from tests.chart.value_sets import ROLE, VALUE_SETS

EDGES = ("callers", "prometheus", "postgres", "aws", "kubernetesApi", "dns")
PEERS = ("from", "to")
WITHOUT_SCHEMA = "--skip-schema-validation"


@pytest.mark.parametrize("edge", EDGES)
def test_an_edge_without_peers_would_be_open_to_everybody_and_is_refused(helm: Helm, edge: str) -> None:
    nobody = merged(REQUIRED, {"networkPolicy": {edge: None}})
    with pytest.raises(Refusal, match=f"missing property '{edge}'"):
        helm.render(nobody)
    with pytest.raises(Refusal, match=f"networkPolicy.{edge} is empty, which to Kubernetes is everybody"):
        helm.render(nobody, extra=[WITHOUT_SCHEMA])


def test_every_rule_of_every_network_policy_names_its_peers(rendered: dict[str, list[Object]]) -> None:
    rules = [
        rule
        for objects in rendered.values()
        for policy in of_kind(objects, "NetworkPolicy")
        for way in ("ingress", "egress")
        for rule in policy["spec"].get(way, [])
    ]
    assert len(rules) > 100
    assert all(any(rule.get(way) for way in PEERS) for rule in rules)


def test_no_value_may_be_taken_away_by_null() -> None:
    """Helm drops a key that is null before it looks at the schema, and the templates read every key."""
    assert sorted(_not_required(VALUES, SCHEMA, "")) == []


def _not_required(values: Mapping[str, Any], schema: Mapping[str, Any], prefix: str) -> Iterator[str]:
    if name := schema.get("$ref", "").removeprefix("#/$defs/"):
        schema = SCHEMA["$defs"][name]
    if "properties" not in schema or {"limits", "requests"} & set(values):
        return
    for key, value in values.items():
        if key not in schema["required"]:
            yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _not_required(value, schema["properties"][key], f"{prefix}{key}.")


@pytest.mark.parametrize("path", ["worker", "worker.resources", "triton.resources", "gateway.autoscaling"])
def test_what_is_taken_away_whole_is_told_by_its_name(helm: Helm, path: str) -> None:
    with pytest.raises(Refusal, match=f"missing property '{path.rpartition('.')[2]}'"):
        helm.run(["template", "waypost", str(helm.chart), "--set", f"{path}=null"], REQUIRED)


NUMBERS: Object = {
    "fullnameOverride": "n1",
    "image": {"pullSecrets": ["12345"]},
    "aws": {"identity": "secret", "existingSecret": "12345"},
    "postgres": {"existingSecret": "12345", "secretKey": "1", "rootCertificates": "12345"},
    "keys": {"apiKeys": {"existingSecret": "1e5"}, "messageKeys": {"existingSecret": "12345"}},
    "gateway": {"ingress": {"enabled": True, "className": "1", "host": "*.example.com", "tlsSecret": "12345"}},
    "worker": {"priorityClassName": "12345"},
    "triton": {"runtimeClassName": "12345"},
}


@pytest.mark.parametrize("namespace", ["2026", "1e5"])
def test_names_that_look_like_numbers_stay_names(helm: Helm, schemas: Schemas, namespace: str) -> None:
    objects = helm.render(merged(REQUIRED, NUMBERS), release="2026", extra=["--namespace", namespace])
    problems = {one["metadata"]["name"]: found for one in objects if (found := schemas.problems(one))}
    assert not problems
    assert len(of_kind(objects, "NetworkPolicy")) == 5
    assert named(objects, "RoleBinding", "n1-worker")["subjects"][0]["namespace"] == namespace


def test_a_wildcard_host_is_a_host(helm: Helm) -> None:
    spec = named(helm.render(merged(REQUIRED, NUMBERS)), "Ingress", "n1-gateway")["spec"]
    assert spec["rules"][0]["host"] == spec["tls"][0]["hosts"][0] == "*.example.com"


def test_an_entry_of_a_store_is_taken_to_the_letter(helm: Helm) -> None:
    odd = merged(VALUE_SETS["external secrets"], {"externalSecrets": {"remoteKeys": {"apiKeys": "a, b: 'c'}"}}})
    entry = named(helm.render(odd), "ExternalSecret", "waypost-api-keys")["spec"]["dataFrom"][0]["extract"]
    assert entry == {"key": "a, b: 'c'}"}


def test_a_role_for_keda_is_a_text(helm: Helm) -> None:
    values = merged(REQUIRED, {"worker": {"autoscaling": {"authentication": {"roleArn": ROLE}}}})
    found = named(helm.render(values), "TriggerAuthentication", "waypost-worker")["spec"]["podIdentity"]
    assert found["roleArn"] == ROLE

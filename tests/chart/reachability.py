"""Who reaches whom, computed from NetworkPolicies as kubernetes.io/docs/concepts/services-networking describes them.

A connection passes when the egress of its source and the ingress of its destination allow it; a pod that no policy of a
direction selects allows everything in that direction; allowances add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class End:
    """A pod, or something outside the cluster, which has an address alone."""

    name: str
    address: str
    namespace: str | None = None  # None: no pod
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Port:
    number: int
    protocol: str = "TCP"


def reaches(policies: Sequence[Object], source: End, destination: End, port: Port) -> bool:
    return leaves(policies, source, destination, port) and enters(policies, source, destination, port)


def leaves(policies: Sequence[Object], source: End, destination: End, port: Port) -> bool:
    """Whether the source's side allows it."""
    return _allows(policies, "Egress", source, destination, port)


def enters(policies: Sequence[Object], source: End, destination: End, port: Port) -> bool:
    """Whether the destination's side allows it."""
    return _allows(policies, "Ingress", destination, source, port)


def _allows(policies: Sequence[Object], direction: str, own: End, other: End, port: Port) -> bool:
    selecting = [policy for policy in policies if own.namespace is not None and _selects(policy, direction, own)]
    return not selecting or any(_passes(policy, direction, other, port) for policy in selecting)


def _selects(policy: Object, direction: str, own: End) -> bool:
    spec = policy["spec"]
    in_namespace = policy["metadata"].get("namespace", "rec") == own.namespace
    types = spec.get("policyTypes", ["Ingress", *(["Egress"] if "egress" in spec else [])])
    return in_namespace and direction in types and _matches(spec["podSelector"], own.labels)


def _passes(policy: Object, direction: str, other: End, port: Port) -> bool:
    rules, peers = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    namespace = policy["metadata"].get("namespace", "rec")
    return any(
        _names_port(rule, port) and _names_peer(rule.get(peers, []), other, namespace)
        for rule in policy["spec"].get(rules, [])
    )


def _names_port(rule: Object, port: Port) -> bool:
    ports = rule.get("ports", [])
    return not ports or any(
        each.get("port", port.number) == port.number and each.get("protocol", "TCP") == port.protocol for each in ports
    )


def _names_peer(peers: Sequence[Object], other: End, namespace: str) -> bool:
    return not peers or any(_is_peer(peer, other, namespace) for peer in peers)


def _is_peer(peer: Object, other: End, namespace: str) -> bool:
    if "ipBlock" in peer:  # pods too: after all they have addresses
        block = peer["ipBlock"]
        return _inside(other, block["cidr"]) and not any(_inside(other, each) for each in block.get("except", []))
    if other.namespace is None:
        return False
    if "namespaceSelector" in peer:
        near = _matches(peer["namespaceSelector"], other.namespace_labels)
    else:
        near = other.namespace == namespace
    return near and _matches(peer.get("podSelector", {}), other.labels)


def _inside(other: End, network: str) -> bool:
    return ip_address(other.address) in ip_network(network)


def _matches(selector: Object, labels: Mapping[str, str]) -> bool:
    assert not selector.keys() - {"matchLabels"}, "matchExpressions are not understood here"
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())

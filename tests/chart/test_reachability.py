"""The designed table of who reaches whom, cell by cell, against the NetworkPolicies that the chart makes."""

from __future__ import annotations

import re

import pytest

from tests.chart.charting import NAMESPACE, Helm, Object, merged, named, of_kind, pod_templates
from tests.chart.reachability import End, Port, enters, leaves, reaches
from tests.chart.value_sets import VALUE_SETS

DNS = 53
Rendered = dict[str, list[Object]]

# Rows: who asks. Columns: which door. Where callers, Postgres, AWS and the API server are named by the operator.
DESIGNED = """
           gateway              worker              trainer dns postgres aws agent metadata kubernetes website app
           8080  8090  9090     9090 8002 8000 8001 9090    53  5432     443 80    80       443        443     8080
gateway    -     -     -        .    .    .    .    .       yes .        yes yes   .        .          .       .
worker     .     yes   .        -    -    -    -    .       yes .        yes yes   .        yes        .       .
trainer    .     .     .        .    .    .    .    -       yes yes      yes yes   .        .          .       .
tests      yes   .     .        .    .    .    .    .       yes .        .   .     .        .          .       .
app        yes   .     .        .    .    .    .    .       yes yes      yes yes   yes      yes        yes     -
prometheus .     .     yes      yes  yes  .    .    yes     yes yes      yes yes   yes      yes        yes     yes
neighbour  .     .     .        .    .    .    .    .       yes yes      yes yes   yes      yes        yes     yes
internet   .     .     .        .    .    .    .    .       yes yes      yes yes   yes      yes        yes     yes
"""
# What is open besides where the operator names nobody: any pod may ask, and AWS is anywhere on 443.
OPEN_BY_DEFAULT = {
    ("prometheus", "gateway", 8080), ("neighbour", "gateway", 8080),
    *((part, where, 443) for part in ("gateway", "worker", "trainer") for where in ("kubernetes", "website")),
}  # fmt: skip
OPEN_BY_DEFAULT -= {("worker", "kubernetes", 443)}  # it is anyway


def _ends(objects: list[Object]) -> dict[str, End]:
    """The chart's pods with their real labels, and those around them with the labels that clusters give them."""
    here = {"kubernetes.io/metadata.name": NAMESPACE}
    own = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod["metadata"]["labels"]
        for _, pod in pod_templates(objects)
    }
    pods = [End(name, f"10.0.0.{i}", NAMESPACE, labels, here) for i, (name, labels) in enumerate(own.items(), 1)]
    around = [
        End("app", "10.0.1.1", "app", {"app": "backend"}, {"kubernetes.io/metadata.name": "app"}),
        End("prometheus", "10.0.1.2", "monitoring", {}, {"kubernetes.io/metadata.name": "monitoring"}),
        End("neighbour", "10.0.1.3", NAMESPACE, {"app": "other"}, here),
        End("dns", "10.0.1.4", "kube-system", {"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"}),
        End("postgres", "10.1.0.1"),
        End("aws", "52.95.110.1"),
        End("agent", "169.254.170.23"),
        End("metadata", "169.254.169.254"),
        End("kubernetes", "172.20.0.1"),
        End("website", "93.184.216.34"),
        End("internet", "198.51.100.7"),
    ]
    return {end.name: end for end in (*pods, *around)}


Cells = dict[tuple[str, str, int], bool]


def _designed() -> Cells:
    header, numbers, *rows = DESIGNED.strip("\n").splitlines()
    starts = [found.start() for found in re.finditer(r"\S+", numbers)]
    names = {found.start(): found.group() for found in re.finditer(r"\S+", header)}
    doors = [(names[max(at for at in names if at <= start)], int(numbers[start:].split()[0])) for start in starts]
    cells: Cells = {}
    for row in rows:
        source, *marks = row.split()
        assert len(marks) == len(doors)
        assert set(marks) <= {"yes", ".", "-"}
        cells |= {(source, *door): mark == "yes" for door, mark in zip(doors, marks, strict=True) if mark != "-"}
    return cells


def _computed(objects: list[Object]) -> Cells:
    """The same cells, by the policies."""
    ends, policies = _ends(objects), of_kind(objects, "NetworkPolicy")
    return {
        (source, door, port): reaches(policies, ends[source], ends[door], Port(port, "UDP" if port == DNS else "TCP"))
        for source, door, port in _designed()
        if source in ends
    }


def test_the_policies_allow_the_designed_edges_and_no_other(rendered: Rendered) -> None:
    computed, designed = _computed(rendered["narrow"]), _designed()
    assert len(designed) == 8 * 16 - 9
    assert {cell: computed[cell] for cell in designed if computed[cell] != designed[cell]} == {}


def test_both_ends_of_an_edge_inside_the_chart_allow_it_and_nothing_else(rendered: Rendered) -> None:
    ends, policies = _ends(rendered["narrow"]), of_kind(rendered["narrow"], "NetworkPolicy")
    inside = {"gateway", "worker", "trainer", "tests"}
    cells = {cell: passes for cell, passes in _designed().items() if {cell[0], cell[1]} <= inside}
    for (source, door, port), passes in cells.items():
        asked = policies, ends[source], ends[door], Port(port)
        assert (leaves(*asked), enters(*asked)) == (passes, passes), f"{source} to {door}:{port}"


def test_by_default_only_what_nobody_named_is_open_besides(rendered: Rendered) -> None:
    computed, designed = _computed(rendered["required only"]), _designed()
    assert {cell for cell in designed if computed[cell] != designed[cell]} == OPEN_BY_DEFAULT
    assert all(computed[cell] for cell in OPEN_BY_DEFAULT)


def test_name_servers_are_asked_by_tcp_too(rendered: Rendered) -> None:
    ends, policies = _ends(rendered["narrow"]), of_kind(rendered["narrow"], "NetworkPolicy")
    assert reaches(policies, ends["worker"], ends["dns"], Port(DNS))


@pytest.mark.parametrize(
    ("value_set", "source", "door", "passes"),
    [
        ("irsa", "worker", ("agent", 80), False),  # no agent of EKS Pod Identity there
        ("production", "app", ("gateway", 8080), True),
        ("production", "neighbour", ("gateway", 8080), False),
        ("production", "tests", ("gateway", 8080), True),
        ("bare", "neighbour", ("worker", 9090), True),  # no policies, no limits
    ],
)
def test_other_values_open_and_close_single_edges(
    rendered: Rendered, value_set: str, source: str, door: tuple[str, int], passes: bool
) -> None:
    assert _computed(rendered[value_set])[source, *door] is passes


@pytest.mark.parametrize("removed", ["default-deny", "gateway", "worker", "trainer", "tests"])
def test_each_policy_is_needed(rendered: Rendered, removed: str) -> None:
    objects = [one for one in rendered["narrow"] if (one["kind"], one["metadata"]["name"]) != _policy(removed)]
    assert len(objects) == len(rendered["narrow"]) - 1
    computed, designed = _computed(objects), _designed()
    same = {cell for cell in designed if computed[cell] == designed[cell]}
    assert (len(same) < len(designed)) is (removed != "default-deny")  # each of the others denies by itself


def _policy(name: str) -> tuple[str, str]:
    return "NetworkPolicy", f"waypost-{name}"


def test_a_worker_that_tells_kubernetes_nothing_cannot_reach_it(helm: Helm) -> None:
    silent = {"worker": {"kubernetes": {"enabled": False}}}
    cells = _computed(helm.render(merged(VALUE_SETS["narrow"], silent)))
    assert not cells["worker", "kubernetes", 443]


def test_an_emulators_own_port_is_open_instead_of_awss(rendered: Rendered) -> None:
    policy = named(rendered["emulator"], "NetworkPolicy", "waypost-gateway")
    ports = [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]
    assert ports == [53, 53, 4566]

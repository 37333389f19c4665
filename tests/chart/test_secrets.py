"""Keys that the chart makes: our own loaders read them, no two installs share them, and every upgrade keeps them."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from copy import deepcopy
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tests.chart.charting import CHART, REQUIRED, Helm, Object, Refusal, merged, named, of_kind
from tests.chart.secret_reader import reading
from waypost.gateway.keys import parse_api_keys
from waypost.objects.bundle import Manifest
from waypost.queueing.signing import parse_keyring
from waypost.release.signing import load_signing_key, load_trusted_keys

NAMES = {"waypost-api-keys", "waypost-message-keys", "waypost-release-keys"}


def _contents(objects: list[Object]) -> dict[str, dict[str, bytes]]:
    return {
        one["metadata"]["name"]: {key: base64.b64decode(value) for key, value in one["data"].items()}
        for one in of_kind(objects, "Secret")
    }


def _looking_into(url: str) -> list[str]:
    """The cluster is asked for its Secrets; whether it would take the objects, other tests say."""
    return ["--dry-run=server", "--disable-openapi-validation", "--kube-apiserver", url]


def test_the_made_keys_are_what_our_processes_read(helm: Helm, tmp_path: Path) -> None:
    made = _contents(helm.render(REQUIRED))
    assert made.keys() == NAMES

    keyring = parse_keyring(made["waypost-message-keys"]["message-keys.json"])
    signature = keyring.sign(b"a message")
    keyring.verify(b"a message", signature.key_id, signature.value)

    for name, content in made["waypost-release-keys"].items():
        (tmp_path / name).write_bytes(content)
    signed = load_signing_key(tmp_path / "signing-key.pem").sign(Manifest((), {}))
    load_trusted_keys(tmp_path / "trusted-keys.pem").verify(signed)

    (digest,) = parse_api_keys(made["waypost-api-keys"]["api-keys.json"].decode())
    key = made["waypost-api-keys"]["api-key"]
    assert len(key) == 48
    assert hashlib.sha256(key).hexdigest() in made["waypost-api-keys"]["api-keys.json"].decode()
    assert digest.id == "app"


def test_a_made_key_says_when_it_was_made(helm: Helm) -> None:
    made = _contents(helm.render(REQUIRED))
    files = (made["waypost-message-keys"]["message-keys.json"], made["waypost-api-keys"]["api-keys.json"])
    for (key,) in (json.loads(content)["keys"] for content in files):
        assert abs((datetime.now(UTC).date() - date.fromisoformat(key["created"])).days) <= 1  # helm's is the local day


def test_the_public_half_fits_whatever_private_key_is_made(helm: Helm, tmp_path: Path) -> None:
    for _ in range(5):  # a certificate's length differs from key to key, and the public half lies inside one
        made = _contents(helm.render(REQUIRED, apis=()))["waypost-release-keys"]
        for name, content in made.items():
            (tmp_path / name).write_bytes(content)
        signed = load_signing_key(tmp_path / "signing-key.pem").sign(Manifest((), {}))
        load_trusted_keys(tmp_path / "trusted-keys.pem").verify(signed)


def test_two_installs_share_no_key(helm: Helm) -> None:
    one, other = _contents(helm.render(REQUIRED)), _contents(helm.render(REQUIRED))
    for name in NAMES:
        assert not set(one[name].values()) & set(other[name].values())


@pytest.fixture
def secrets_alone(helm: Helm, tmp_path: Path) -> Helm:
    """The chart without what is no Secret: helm wants the cluster to know every kind."""
    chart = tmp_path / "waypost"
    shutil.copytree(CHART, chart, ignore=shutil.ignore_patterns("files"))
    for template in (chart / "templates").rglob("*.*"):
        if not template.name.startswith(("_", "secret-")):
            template.unlink()
    return Helm(helm.binary, chart)


def test_an_upgrade_keeps_every_key_byte_for_byte(secrets_alone: Helm) -> None:
    first = secrets_alone.render(REQUIRED)
    installed = {one["metadata"]["name"]: one for one in of_kind(first, "Secret")}
    with reading(installed) as url:
        upgraded = secrets_alone.render(
            merged(REQUIRED, {"logLevel": "DEBUG"}), extra=[*_looking_into(url), "--is-upgrade"]
        )
    assert _contents(upgraded).keys() == NAMES
    assert _contents(upgraded) == _contents(first)


def test_only_what_the_cluster_lacks_is_made_by_an_upgrade(secrets_alone: Helm) -> None:
    first = secrets_alone.render(REQUIRED)
    name = "waypost-message-keys"
    with reading({name: named(first, "Secret", name)}) as url:
        upgraded = secrets_alone.render(REQUIRED, extra=[*_looking_into(url), "--is-upgrade"])
    kept = {each for each in NAMES if _contents(upgraded)[each] == _contents(first)[each]}
    assert kept == {name}


def test_no_secret_is_made_beside_named_ones_and_those_are_mounted(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["own secrets"]
    assert not of_kind(objects, "Secret")
    pod = named(objects, "Deployment", "waypost-gateway")["spec"]["template"]["spec"]
    assert [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume] == ["m", "r", "a"]


def test_external_secrets_fill_the_very_secrets_that_are_mounted(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["external secrets"]
    filled = {one["spec"]["target"]["name"] for one in of_kind(objects, "ExternalSecret")}
    assert filled == NAMES | {"waypost-postgres"}
    assert not of_kind(objects, "Secret")


def test_kept_keys_are_made_outside_of_helms_releases(rendered: dict[str, list[Object]]) -> None:
    """A hook is in no release's manifest, so neither a rollback nor an uninstall touches what it made."""
    kept = [one["metadata"].get("annotations", {}) for one in of_kind(rendered["everything set"], "Secret")]
    aside = {
        "helm.sh/resource-policy": "keep",
        "helm.sh/hook": "pre-install,pre-upgrade",
        "helm.sh/hook-delete-policy": "hook-failed",
    }
    assert kept == [aside] * 3
    assert all("annotations" not in one["metadata"] for one in of_kind(rendered["required only"], "Secret"))


@pytest.fixture
def checks_alone(helm: Helm, tmp_path: Path) -> Helm:
    chart = tmp_path / "waypost"
    shutil.copytree(CHART, chart, ignore=shutil.ignore_patterns("files"))
    for template in (chart / "templates").rglob("*.*"):
        if not template.name.startswith(("_", "checks")):
            template.unlink()
    return Helm(helm.binary, chart)


OWN_KEYS = {"keys": {each: {"existingSecret": each.lower()} for each in ("messageKeys", "releaseKeys", "apiKeys")}}


def test_another_name_under_which_every_key_would_be_lost_is_refused(helm: Helm, checks_alone: Helm) -> None:
    running = of_kind(helm.render(REQUIRED), "Deployment")
    renamed = merged(REQUIRED, {"fullnameOverride": "recs"})
    with reading({}, running) as url:
        looking = [*_looking_into(url), "--is-upgrade"]
        checks_alone.render(REQUIRED, extra=looking)
        with pytest.raises(Refusal, match="set fullnameOverride to waypost, or copy the three Secrets"):
            checks_alone.render(renamed, extra=looking)
        checks_alone.render(merged(renamed, OWN_KEYS), extra=looking)
        checks_alone.render(renamed, extra=looking, release="another")


KEEP = merged(REQUIRED, {"keys": {"keep": True}})


@pytest.mark.parametrize("values", [KEEP, REQUIRED])  # also where somebody takes the value back
def test_an_upgrade_leaves_kept_keys_alone(secrets_alone: Helm, values: Object) -> None:
    installed = {one["metadata"]["name"]: one for one in of_kind(secrets_alone.render(KEEP), "Secret")}
    with reading(installed) as url:
        upgraded = secrets_alone.render(values, extra=[*_looking_into(url), "--is-upgrade"])
    assert of_kind(upgraded, "Secret") == []


def test_keys_of_a_release_become_kept_ones_before_it_lets_go_of_them(secrets_alone: Helm) -> None:
    """What a release's manifest loses Helm deletes, unless it was annotated by the upgrade before."""
    first = secrets_alone.render(REQUIRED)
    held = {one["metadata"]["name"]: deepcopy(one) for one in of_kind(first, "Secret")}
    with reading(held) as url:
        second = secrets_alone.render(KEEP, extra=[*_looking_into(url), "--is-upgrade"])
    assert _contents(second) == _contents(first)
    for one in of_kind(second, "Secret"):
        assert one["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    with reading({one["metadata"]["name"]: one for one in of_kind(second, "Secret")}) as url:
        third = secrets_alone.render(KEEP, extra=[*_looking_into(url), "--is-upgrade"])
    assert of_kind(third, "Secret") == []

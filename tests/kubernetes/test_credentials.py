"""Who a process is to which API server."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest

from tests.cluster.certificates import Authority, Pair
from waypost.errors import SettingsError
from waypost.kubernetes.credentials import find_credentials, from_kubeconfig, in_cluster


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"), "cluster")


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue("somebody")


def kubeconfig(folder: Path, authority: Authority, user: dict[str, object], **cluster: object) -> Path:
    path = folder / "config"
    content = {
        "current-context": "ours",
        "contexts": [
            {"name": "other", "context": {"cluster": "x", "user": "y"}},
            {"name": "ours", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
        ],
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": "https://k:6443/", "certificate-authority": str(authority.path), **cluster},
            }
        ],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(json.dumps(content))
    return path


def test_the_current_context_says_where_and_who(tmp_path: Path, authority: Authority) -> None:
    found = from_kubeconfig(kubeconfig(tmp_path, authority, {"token": "secret"}))
    assert (found.server, found.namespace, found.token()) == ("https://k:6443", "shop", "secret")


def test_a_kubeconfig_in_yaml_is_read(tmp_path: Path, authority: Authority) -> None:
    path = tmp_path / "config"
    path.write_text(
        "current-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n"
        f"clusters: [{{name: a, cluster: {{server: 'https://k', certificate-authority: {authority.path}}}}}]\n"
        "users: [{name: a, user: {}}]\n"
    )
    assert from_kubeconfig(path).namespace == "default"


def test_a_client_certificate_may_stand_in_the_kubeconfig_itself(
    tmp_path: Path, authority: Authority, pair: Pair
) -> None:
    user: dict[str, object] = {
        "client-certificate-data": base64.b64encode(pair.certificate.read_bytes()).decode(),
        "client-key-data": base64.b64encode(pair.key.read_bytes()).decode(),
    }
    assert from_kubeconfig(kubeconfig(tmp_path, authority, user)).token() is None


def test_a_plugin_gives_the_token(tmp_path: Path, authority: Authority) -> None:
    script = "import json, os; print(json.dumps({'status': {'token': os.environ['GIVEN']}}))"
    plugin = {"command": sys.executable, "args": ["-c", script], "env": [{"name": "GIVEN", "value": "fresh"}]}
    assert from_kubeconfig(kubeconfig(tmp_path, authority, {"exec": plugin})).token() == "fresh"


def test_a_plugin_that_fails_is_named(tmp_path: Path, authority: Authority) -> None:
    plugin = {"command": sys.executable, "args": ["-c", "raise SystemExit(1)"]}
    with pytest.raises(SettingsError, match="gave no token"):
        from_kubeconfig(kubeconfig(tmp_path, authority, {"exec": plugin}))


def test_a_cluster_that_is_not_to_be_verified_is_refused(tmp_path: Path, authority: Authority) -> None:
    path = kubeconfig(tmp_path, authority, {"token": "secret"}, **{"insecure-skip-tls-verify": True})
    with pytest.raises(SettingsError, match="insecure-skip-tls-verify"):
        from_kubeconfig(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "current-context: gone\ncontexts: []\n", "a: [", "42"])
def test_a_broken_kubeconfig_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(SettingsError, match="cannot be used"):
        from_kubeconfig(path)


def test_a_pod_is_its_service_account_and_reads_a_renewed_token(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "ca.crt").write_bytes(authority.path.read_bytes())
    (tmp_path / "namespace").write_text("shop\n")
    (tmp_path / "token").write_text("first")
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    found = in_cluster(environ, tmp_path)
    assert found is not None
    assert (found.server, found.namespace, found.token()) == ("https://[fd00::1]:443", "shop", "first")
    (tmp_path / "token").write_text("renewed")
    assert found.token() == "renewed"


def test_outside_a_cluster_there_is_no_account(tmp_path: Path) -> None:
    assert in_cluster({}, tmp_path) is None
    assert in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}, tmp_path) is None


def test_nobody_without_a_kubeconfig_is_told_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="set KUBECONFIG"):
        find_credentials({"HOME": str(tmp_path)})


def test_the_first_file_of_kubeconfig_counts(tmp_path: Path, authority: Authority) -> None:
    path = kubeconfig(tmp_path, authority, {"token": "secret"})
    assert find_credentials({"KUBECONFIG": f"{path}:/nowhere"}).token() == "secret"

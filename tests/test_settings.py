from __future__ import annotations

from pathlib import Path

import pytest

from waypost.errors import SettingsError
from waypost.settings import (
    EmbeddedStack,
    GatewaySettings,
    SharedSettings,
    TrainerSettings,
    read_settings,
    read_shared,
    resolve_parts,
    service_links,
)

STACK = EmbeddedStack(**dict.fromkeys(EmbeddedStack.__dataclass_fields__, "embedded"))


def test_every_problem_is_told_at_once() -> None:
    environ = {"WAYPOST_GATEWAY_PORT": "many", "WAYPOST_GATEWAY_CONCURRENCY": "0", "WAYPOST_TYPO": "1"}
    with pytest.raises(SettingsError) as told:
        read_settings(GatewaySettings, environ)
    line = str(told.value)
    assert all(name in line for name in environ)
    assert "\n" not in line
    assert told.value.exit_code == 78


def test_another_process_settings_are_no_problem() -> None:
    assert read_settings(TrainerSettings, {"WAYPOST_GATEWAY_PORT": "80"}).seed == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WAYPOST_GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("WAYPOST_GATEWAY_SERVICE_PORT_HTTP", "80"),
        ("WAYPOST_WORKER_PORT_9101_TCP_ADDR", "10.0.0.1"),
        ("WAYPOST_GATEWAY_PORT", "tcp://10.0.0.1:80"),
    ],
)
def test_what_kubernetes_injects_is_ignored(name: str, value: str) -> None:
    assert read_settings(GatewaySettings, {name: value}).port is None
    assert service_links({name: value}) == [name]


def test_an_empty_variable_is_an_absent_one() -> None:
    assert read_settings(GatewaySettings, {"WAYPOST_GATEWAY_PORT": ""}).port is None


def test_faults_need_their_permission() -> None:
    with pytest.raises(SettingsError, match="WAYPOST_FAULTS_ALLOWED=yes"):
        read_shared({"WAYPOST_FAULTS": "infer:120:7"})
    assert read_shared({"WAYPOST_FAULTS": "infer:120:7", "WAYPOST_FAULTS_ALLOWED": "yes"}).faults == "infer:120:7"


def test_settings_do_not_change() -> None:
    settings = read_settings(GatewaySettings, {})
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


def test_a_part_that_is_given_is_used_and_the_others_are_embedded() -> None:
    parts = resolve_parts(SharedSettings(bucket="mine"), ["postgres", "s3"], STACK)
    assert (parts.bucket, parts.s3.endpoint_url) == ("mine", None)
    assert resolve_parts(SharedSettings(bucket="mine"), ["s3"], STACK, "eu-west-1").s3.region == "eu-west-1"
    assert parts.postgres_dsn == "embedded"
    assert parts.embedded == ("postgres",)


def test_absent_parts_are_named_with_what_to_do() -> None:
    with pytest.raises(SettingsError, match="WAYPOST_BUCKET, WAYPOST_TRITON_URL not set and no embedded stack is up"):
        resolve_parts(SharedSettings(postgres_dsn="x"), ["postgres", "s3", "triton"], None)
    with pytest.raises(SettingsError, match="WAYPOST_EMBEDDED=never"):
        resolve_parts(SharedSettings(embedded="never"), ["s3"], STACK)


def test_keys_of_a_setting_come_before_the_embedded_ones() -> None:
    parts = resolve_parts(SharedSettings(message_keys_file=Path("mine")), ["sqs"], STACK)
    assert parts.message_keys_file == Path("mine")


def test_keys_of_releases_go_with_the_bucket() -> None:
    embedded = resolve_parts(SharedSettings(), ["s3"], STACK)
    assert (embedded.signing_key_file, embedded.release_keys_file) == (Path("embedded"), Path("embedded"))
    elsewhere = resolve_parts(SharedSettings(bucket="mine"), ["postgres", "s3"], STACK)
    assert (elsewhere.signing_key_file, elsewhere.release_keys_file) == (None, None)
    given = resolve_parts(SharedSettings(bucket="mine", release_keys_file=Path("mine")), ["s3"], None)
    assert given.release_keys_file == Path("mine")


def test_only_an_image_insists_on_signatures() -> None:
    assert resolve_parts(SharedSettings(bucket="mine"), ["s3"], None).unsigned_allowed
    assert not resolve_parts(SharedSettings(bucket="mine", embedded="never"), ["s3"], None).unsigned_allowed

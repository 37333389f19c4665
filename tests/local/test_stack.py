"""The embedded stack with its real parts: brought up, described, broken as killed runs leave it, healed."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import boto3
import psycopg2
import pytest
from psycopg2.extras import wait_select

from waypost.errors import LocalStackError, SettingsError
from waypost.local import stack
from waypost.local.layout import EMBEDDED_PARTS, Layout
from waypost.local.ports import LOOPBACK
from waypost.local.processes import read_holders, read_process, wait_until
from waypost.local.secrets import make_release_keys
from waypost.local.status import read_status
from waypost.local.supervisor import Supervisor
from waypost.objects.bundle import Manifest
from waypost.release.signing import load_signing_key, load_trusted_keys
from waypost.settings import EmbeddedStack, LocalSettings, Part, read_settings, read_shared

LISTENING = "0A"  # in /proc/net/tcp
LOOPBACK_ADDRESSES = {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, and the same written for IPv6
ALL: tuple[Part, ...] = ("postgres", "s3", "sqs", "triton")
UP_SCRIPT = """
import sys
from pathlib import Path
from waypost.local import stack
from waypost.settings import LocalSettings, read_settings, read_shared
stack.up(Path(sys.argv[1]), read_settings(LocalSettings, {}), read_shared({}), ("postgres", "s3", "sqs"))
"""


def up(local_dir: Path, *needed: Part, environ: dict[str, str] | None = None) -> EmbeddedStack:
    environ = environ or {}
    return stack.up(local_dir, read_settings(LocalSettings, environ), read_shared(environ), needed)


def states(local_dir: Path) -> dict[str, object]:
    return {name: part["state"] for name, part in read_status(local_dir)["parts"].items()}


def pid_of(local_dir: Path, part: str) -> int:
    pid = read_status(local_dir)["parts"][part]["pid"]
    assert isinstance(pid, int)
    return pid


def kill(local_dir: Path, part: str) -> int:
    """End a part's leader as the kernel would when memory runs out; its pid, or that of Triton's server, which dies
    with the keeper that leads it."""
    leader, pid = Supervisor(Layout.of(local_dir)).read_leader(part), pid_of(local_dir, part)
    assert leader is not None
    os.kill(leader.process.pid, signal.SIGKILL)
    assert wait_until(lambda: read_process(pid) is None, 10)
    return pid


def execute(dsn: str, statement: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def object_store(found: EmbeddedStack) -> Callable[..., bytes | None]:
    """put_or_get(key, body=None) on the stack's bucket."""

    def put_or_get(key: str, body: bytes | None = None) -> bytes | None:
        client = boto3.client(
            "s3", endpoint_url=found.aws_endpoint_url, region_name=found.aws_region,
            aws_access_key_id=found.aws_access_key_id, aws_secret_access_key=found.aws_secret_access_key,
        )  # fmt: skip
        with closing(client):
            if body is None:
                with closing(client.get_object(Bucket=found.bucket, Key=key)["Body"]) as stream:
                    return stream.read()
            client.put_object(Bucket=found.bucket, Key=key, Body=body)
            return None

    return put_or_get


def a_message_and_its_fate(found: EmbeddedStack) -> Mapping[str, str]:
    """Send one; the queue's attributes after that."""
    client = boto3.client(
        "sqs", endpoint_url=found.aws_endpoint_url, region_name=found.aws_region,
        aws_access_key_id=found.aws_access_key_id, aws_secret_access_key=found.aws_secret_access_key,
    )  # fmt: skip
    with closing(client):
        client.send_message(QueueUrl=found.request_queue_url, MessageBody="{}")
        answer = client.get_queue_attributes(QueueUrl=found.request_queue_url, AttributeNames=["All"])
        return {str(name): value for name, value in answer["Attributes"].items()}


def test_a_stack_comes_up_is_described_goes_down_and_keeps_its_data(local_dir: Path) -> None:
    first = up(local_dir, *ALL)
    assert states(local_dir) == {"postgres": "up", "aws": "up", "triton": "up", "gateway": "down", "worker": "down"}
    assert stack.read_stack(local_dir) == first
    execute(first.postgres_dsn, "INSERT INTO users (user_id) VALUES (-9223372036854775808)")
    object_store(first)("releases/current.json", b"{}")

    stack.down(local_dir)
    assert set(states(local_dir).values()) == {"down"}
    assert stack.read_stack(local_dir) is None
    assert all(read_holders(Layout.of(local_dir).part_lock(part)) == [] for part in EMBEDDED_PARTS)

    second = up(local_dir, *ALL)
    assert second == first, "ports, keys and addresses are those of last time"
    assert execute(second.postgres_dsn, "SELECT user_id FROM users") == [(-9223372036854775808,)]
    assert object_store(second)("releases/current.json") == b"{}"
    assert a_message_and_its_fate(second)["ApproximateNumberOfMessages"] == "1"


def test_a_second_up_leaves_the_running_parts_alone(local_dir: Path) -> None:
    up(local_dir, "postgres", "s3")
    pids = {part: pid_of(local_dir, part) for part in ("postgres", "aws")}
    up(local_dir, "postgres", "s3", "sqs")
    assert {part: pid_of(local_dir, part) for part in ("postgres", "aws")} == pids


@pytest.mark.parametrize("part", EMBEDDED_PARTS)
def test_a_killed_part_is_told_by_status_and_healed_by_up(local_dir: Path, part: str) -> None:
    needed: tuple[Part, ...] = {"postgres": ("postgres",), "aws": ("s3", "sqs"), "triton": ("triton",)}[part]  # type: ignore[assignment]
    first = up(local_dir, *needed)
    killed = kill(local_dir, part)
    assert states(local_dir)[part] == "down"
    assert stack.read_died(local_dir) == [part]
    assert up(local_dir, *needed) == first
    assert states(local_dir)[part] == "up"
    assert pid_of(local_dir, part) != killed


def test_rows_and_objects_survive_the_kill_of_their_servers(local_dir: Path) -> None:
    found = up(local_dir, "postgres", "s3", "sqs")
    execute(found.postgres_dsn, "INSERT INTO tags (tag_id, name) VALUES (7, 'sea')")
    object_store(found)("key", b"bytes")
    kill(local_dir, "postgres")
    kill(local_dir, "aws")
    found = up(local_dir, "postgres", "s3", "sqs")
    assert execute(found.postgres_dsn, "SELECT name FROM tags") == [("sea",)]
    assert object_store(found)("key") == b"bytes"
    assert a_message_and_its_fate(found)["ApproximateNumberOfMessages"] == "1"


def test_a_busy_backend_of_a_killed_postmaster_is_ended(local_dir: Path) -> None:
    """It would go on until its statement ends, and as long as it does no new server may use the data."""
    found = up(local_dir, "postgres")
    with closing(psycopg2.connect(found.postgres_dsn, async_=True)) as connection:
        wait_select(connection)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM generate_series(1, 1000000000000)")
            backend = read_process(connection.info.backend_pid)
            assert backend is not None
            kill(local_dir, "postgres")
            up(local_dir, "postgres")
            assert not backend.is_alive()


@pytest.mark.parametrize("seen", ["postgres.new", "run/aws.pid", "run/postgres.pid"])
def test_an_up_killed_half_way_is_healed_by_the_next(local_dir: Path, seen: str) -> None:
    caller = subprocess.Popen([sys.executable, "-c", UP_SCRIPT, str(local_dir)], stderr=subprocess.DEVNULL)
    assert wait_until((local_dir / seen).exists, 30)
    caller.kill()
    caller.wait()
    found = up(local_dir, "postgres", "s3", "sqs")
    assert states(local_dir)["postgres"] == states(local_dir)["aws"] == "up"
    assert execute(found.postgres_dsn, "SELECT count(*) FROM users") == [(0,)]


def test_two_ups_at_once_end_in_one_stack(local_dir: Path) -> None:
    callers = [
        subprocess.Popen([sys.executable, "-c", UP_SCRIPT, str(local_dir)], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [caller.communicate(timeout=120)[1] for caller in callers]
    assert [caller.returncode for caller in callers] == [0, 0], said
    assert len(read_holders(Layout.of(local_dir).part_lock("aws"))) == 1


def test_a_stale_postmaster_pid_of_another_living_process_is_no_obstacle(local_dir: Path) -> None:
    found = up(local_dir, "postgres")
    stack.down(local_dir)
    lock = local_dir / "postgres" / "postmaster.pid"
    port = stack.read_ports(local_dir)["postgres"]
    lock.write_text(f"{os.getpid()}\n{local_dir / 'postgres'}\n1700000000\n{port}\n\n127.0.0.1\n")
    lock.chmod(0o644)
    up(local_dir, "postgres")
    assert execute(found.postgres_dsn, "SELECT 1") == [(1,)]


def test_processes_of_a_removed_folder_are_ended_by_the_next_up_in_its_place(local_dir: Path) -> None:
    up(local_dir, "s3")
    orphan = pid_of(local_dir, "aws")
    for lock in (local_dir / "run").iterdir():
        lock.unlink()
    up(local_dir, "s3")
    assert read_process(orphan) is None


def test_a_part_given_by_its_switch_is_not_started(local_dir: Path) -> None:
    found = up(local_dir, *ALL[:3], environ={"WAYPOST_POSTGRES_DSN": "postgresql://elsewhere/app"})
    assert found.postgres_dsn == ""
    assert found.bucket == "waypost"
    assert states(local_dir)["postgres"] == "down"


def test_a_part_started_later_joins_the_description(local_dir: Path) -> None:
    first = up(local_dir, "postgres")
    second = up(local_dir, "s3", "sqs")
    assert second.postgres_dsn == first.postgres_dsn
    assert second.request_queue_url.endswith("/waypost-requests")


def test_a_message_is_hidden_for_30_seconds_and_set_aside_after_3_receives(aws_stack: EmbeddedStack) -> None:
    attributes = a_message_and_its_fate(aws_stack)
    assert attributes["VisibilityTimeout"] == "30"
    redrive = json.loads(attributes["RedrivePolicy"])
    assert int(redrive["maxReceiveCount"]) == 3
    assert redrive["deadLetterTargetArn"].endswith(":waypost-requests-dead")


def test_secrets_and_addresses_are_private_files(local_dir: Path) -> None:
    found = up(local_dir, "postgres", "s3")

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert mode(local_dir) == mode(local_dir / "secrets") == 0o700
    files = [*(local_dir / "secrets").iterdir(), local_dir / "stack.json"]
    assert {path.name: mode(path) for path in files} == {
        "postgres.json": 0o600, "aws.json": 0o600, "message-keys.json": 0o600, "stack.json": 0o600,
        "release-signing-key.pem": 0o600, "release-keys.pem": 0o600,
    }  # fmt: skip
    keys = json.loads(Path(found.message_keys_file).read_text())["keys"]
    assert [key["id"] for key in keys] == ["k1"]


def test_releases_are_signed_with_a_key_that_readers_trust_also_after_it_was_lost(tmp_path: Path) -> None:
    layout = Layout.of(tmp_path)
    layout.create()
    old = load_signing_key(make_release_keys(layout)[0])
    assert make_release_keys(layout) == (layout.signing_key_file, layout.release_keys_file)
    assert load_signing_key(layout.signing_key_file).id == old.id
    layout.signing_key_file.unlink()
    new = load_signing_key(make_release_keys(layout)[0])
    trusted = load_trusted_keys(layout.release_keys_file)
    assert new.id != old.id
    for key in (old, new):
        trusted.verify(key.sign(Manifest((), {})))


def test_a_stack_of_before_releases_were_signed_is_healed_by_up(local_dir: Path) -> None:
    up(local_dir, "s3")
    file = local_dir / "stack.json"
    said = json.loads(file.read_text())
    for name in ("signing_key_file", "release_keys_file"):
        Path(said.pop(name)).unlink()
    file.write_text(json.dumps(said))
    with pytest.raises(SettingsError, match=r"stack.json lacks signing_key_file.* run `waypost local up`"):
        stack.read_stack(local_dir)
    up(local_dir, "s3")
    found = stack.read_stack(local_dir)
    assert found is not None
    load_signing_key(Path(found.signing_key_file))
    assert len(load_trusted_keys(Path(found.release_keys_file))) == 1


def listening() -> set[tuple[str, ...]]:
    """(address, port) of every listening socket, in the kernel's hexadecimal."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return {tuple(line[1].split(":")) for line in lines if line[3] == LISTENING}


def test_every_server_listens_on_loopback_only(embedded_stack: EmbeddedStack, stack_folders: Path) -> None:
    ours = {f"{port:04X}" for port in stack.read_ports(stack_folders / "session").values()}
    addresses: set[tuple[str, ...]] = set()
    for _ in range(20):  # the kernel writes this table in pieces, and may leave a line out when sockets come and go
        addresses |= listening()
        if ours <= {port for _, port in addresses}:
            break
        time.sleep(0.05)
    assert {address for address, port in addresses if port in ours} <= LOOPBACK_ADDRESSES
    assert {port for _, port in addresses if port in ours} == ours


def test_a_fixed_port_in_use_is_refused_before_anything_starts(local_dir: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = str(server.getsockname()[1])
        with pytest.raises(LocalStackError, match=f"port {port} of WAYPOST_LOCAL_AWS_PORT is in use"):
            up(local_dir, "postgres", "s3", environ={"WAYPOST_LOCAL_AWS_PORT": port})
    assert set(states(local_dir).values()) == {"down"}


def test_a_port_taken_while_the_stack_was_down_is_replaced(local_dir: Path) -> None:
    up(local_dir, "s3")
    stack.down(local_dir)
    with socket.create_server((LOOPBACK, stack.read_ports(local_dir)["aws"])) as server:
        found = up(local_dir, "s3", "sqs")
        assert not found.aws_endpoint_url.endswith(f":{server.getsockname()[1]}")
        assert a_message_and_its_fate(found)["ApproximateNumberOfMessages"] == "1"


def test_a_missing_triton_environment_is_refused_before_anything_starts(local_dir: Path) -> None:
    with pytest.raises(LocalStackError, match="no tritonserver in /nowhere; run `make setup`"):
        up(local_dir, *ALL, environ={"WAYPOST_LOCAL_TRITON_HOME": "/nowhere"})
    assert set(states(local_dir).values()) == {"down"}


def test_a_full_disk_is_refused_before_anything_starts(local_dir: Path) -> None:
    settings, shared = read_settings(LocalSettings, {}), read_shared({})
    with pytest.raises(LocalStackError, match=r"MiB of disk free, 1099511627776 MiB are needed; free some"):
        stack.up(local_dir, settings, shared, ALL, min_free_bytes=2**60)
    assert set(states(local_dir).values()) == {"down"}


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalStackError, match="file/stack cannot be written: Not a directory; make it writable"):
        up(tmp_path / "file" / "stack", "s3")


def test_data_without_its_passwords_is_one_clear_line(local_dir: Path) -> None:
    up(local_dir, "postgres")
    stack.down(local_dir)
    (local_dir / "secrets" / "postgres.json").unlink()
    with pytest.raises(LocalStackError, match=r"postgres.json is missing but .* holds data; restore the file"):
        up(local_dir, "postgres")


def test_passwords_of_another_folder_are_refused_at_once(local_dir: Path) -> None:
    up(local_dir, "postgres")
    stack.down(local_dir)
    secret = local_dir / "secrets" / "postgres.json"
    secret.write_text(json.dumps({**json.loads(secret.read_text()), "superuser": "another"}))
    with pytest.raises(LocalStackError, match="Postgres refuses the password"):
        up(local_dir, "postgres")
    assert states(local_dir)["postgres"] == "down"


def test_a_folder_without_a_stack_is_down_and_stays_empty(tmp_path: Path) -> None:
    stack.down(tmp_path)
    assert set(states(tmp_path).values()) == {"down"}
    assert stack.read_stack(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_server_is_reported_as_not_answering(local_dir: Path) -> None:
    up(local_dir, "s3")
    pid = pid_of(local_dir, "aws")
    os.kill(pid, signal.SIGSTOP)
    try:
        assert states(local_dir)["aws"] == "starting"
        pid_file = Layout.of(local_dir).pid_file("aws")
        os.utime(pid_file, (0, 0))
        assert states(local_dir)["aws"] == "unhealthy"
    finally:
        os.kill(pid, signal.SIGCONT)

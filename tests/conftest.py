"""The real parts for every test: one embedded stack a session; only the parts that a test asks for are started.

`postgres_dsn`, `bucket` and `request_queue_url` are fresh for each test. A session that was killed leaves its stack
running; the next session finds it by the dead process' id in its folder's name and takes it down.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import hypothesis
import psycopg2
import pytest
from psycopg2 import sql

from waypost.errors import LocalStackError
from waypost.local import aws, postgres, stack
from waypost.local.layout import Layout
from waypost.local.processes import read_process
from waypost.local.secrets import AwsKeys, PostgresPasswords, load_or_make_postgres_passwords
from waypost.objects.memory import MemoryObjectStore
from waypost.objects.protocols import ObjectStore
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.settings import AwsAccess, EmbeddedStack, LocalSettings, Part, read_settings, read_shared

# No test of this suite judges a wall-clock time, which on a busy machine says nothing of the code.
hypothesis.settings.register_profile("waypost", deadline=None)
hypothesis.settings.load_profile("waypost")

MEMORY = Path("/dev/shm")  # making and removing some twenty databases is slow work for a disk
ROOMY_BYTES = 4 * 2**30

BringUp = Callable[..., EmbeddedStack]

_lacking: dict[tuple[str, str], int] = {}  # what is missing and its remedy -> tests skipped for want of it


@pytest.fixture(scope="session")
def need() -> Callable[[str, str], None]:
    """Skip the test for want of something and say so, with its remedy, at the end; in CI that is a failure."""

    def lacks(what: str, remedy: str) -> None:
        _lacking[what, remedy] = _lacking.get((what, remedy), 0) + 1
        reason = f"needs {what}: {remedy}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)

    return lacks


@pytest.fixture(scope="session")
def need_package(need: Callable[[str, str], None]) -> Callable[[str], None]:
    """The same for want of a Debian package."""
    return lambda package: need(f"the Debian package {package}", f"apt-get install {package}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for (what, remedy), count in sorted(_lacking.items()):
        terminalreporter.write_line(f"{count} skipped for want of {what}: {remedy}")


@pytest.fixture(scope="session")
def stack_folders() -> Iterator[Path]:
    """A short-named folder of this session's stacks; what killed sessions left is taken down first."""
    base = (MEMORY if _is_roomy(MEMORY) else Path(tempfile.gettempdir())) / f"waypost-tests-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    for left in base.iterdir():
        if read_process(int(left.name)) is None:
            _take_down_all(left)
    folder = base / str(os.getpid())
    folder.mkdir(mode=0o700)
    yield folder
    _take_down_all(folder)


def _is_roomy(folder: Path) -> bool:
    """Whether stacks fit there and their programs may be run from there."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return not found.f_flag & os.ST_NOEXEC and found.f_bavail * found.f_frsize > ROOMY_BYTES


def _take_down_all(folder: Path) -> None:
    for local_dir in folder.iterdir():
        stack.down(local_dir)
    shutil.rmtree(folder)


@pytest.fixture
def local_dir(stack_folders: Path) -> Iterator[Path]:
    """A folder for a stack of the test's own, taken down and removed after it."""
    folder = stack_folders / uuid.uuid4().hex[:8]
    folder.mkdir()
    yield folder
    stack.down(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def bring_up(stack_folders: Path, need_package: Callable[[str], None]) -> BringUp:
    """Have the named parts of the session's stack running."""

    def up(*parts: Part) -> EmbeddedStack:
        try:
            return stack.up(stack_folders / "session", read_settings(LocalSettings, {}), read_shared({}), parts)
        except LocalStackError as error:
            if "libpython" in error.cause:
                need_package(error.remedy.removeprefix("apt-get install "))
            raise

    return up


@pytest.fixture(scope="session")
def embedded_stack(bring_up: BringUp) -> EmbeddedStack:
    """All embedded parts, ready."""
    return bring_up("postgres", "s3", "sqs", "triton")


@pytest.fixture(scope="session")
def triton_stack(bring_up: BringUp) -> EmbeddedStack:
    """The embedded Triton: `triton_url`, `triton_http_url`, `triton_repository`."""
    return bring_up("triton")


@pytest.fixture(scope="session")
def aws_stack(bring_up: BringUp) -> EmbeddedStack:
    """The embedded S3 and SQS."""
    return bring_up("s3", "sqs")


@pytest.fixture(scope="session")
def aws_access(aws_stack: EmbeddedStack) -> AwsAccess:
    return aws_stack.aws()


@pytest.fixture(scope="session")
def _postgres(bring_up: BringUp, stack_folders: Path) -> tuple[int, PostgresPasswords]:
    bring_up("postgres")
    layout = Layout.of(stack_folders / "session")
    return stack.read_ports(layout.root)["postgres"], load_or_make_postgres_passwords(layout)


@pytest.fixture
def postgres_database(_postgres: tuple[int, PostgresPasswords]) -> Iterator[str]:
    """The name of a fresh database with the app's schema, dropped after the test."""
    port, passwords = _postgres
    name = f"test_{uuid.uuid4().hex[:12]}"
    postgres.prepare_database(port, passwords, name)
    yield name
    with closing(psycopg2.connect(postgres.superuser_dsn(port, passwords))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def postgres_dsn(_postgres: tuple[int, PostgresPasswords], postgres_database: str) -> str:
    """The owner's way into a fresh database."""
    return postgres.owner_dsn(*_postgres, postgres_database)


@pytest.fixture
def postgres_reader_dsn(_postgres: tuple[int, PostgresPasswords], postgres_database: str) -> str:
    """The reader's way into the same database as `postgres_dsn`."""
    return postgres.reader_dsn(*_postgres, postgres_database)


@pytest.fixture
def bucket(aws_stack: EmbeddedStack, stack_folders: Path) -> str:
    """A fresh, empty bucket."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    with closing(aws.s3_client(*_aws(aws_stack, stack_folders))) as s3:
        s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def request_queue_url(aws_stack: EmbeddedStack, stack_folders: Path) -> str:
    """A fresh request queue, with the visibility timeout and dead-letter queue of the real one."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    with closing(aws.sqs_client(*_aws(aws_stack, stack_folders))) as sqs:
        return aws.have_queue(sqs, name, f"{name}-dead")


def _aws(aws_stack: EmbeddedStack, stack_folders: Path) -> tuple[int, AwsKeys]:
    keys = AwsKeys(aws_stack.aws_access_key_id, aws_stack.aws_secret_access_key)
    return stack.read_ports(stack_folders / "session")["aws"], keys


@pytest.fixture(params=["s3", "memory"])
def object_store(request: pytest.FixtureRequest) -> ObjectStore:
    """A fresh, empty store: the test runs once on S3 and once on its in-memory twin."""
    if request.param == "memory":
        return MemoryObjectStore()
    access: AwsAccess = request.getfixturevalue("aws_access")
    return S3ObjectStore(s3_client(access), request.getfixturevalue("bucket"))

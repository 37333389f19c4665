"""Real parts that are well: each test plants one fault in them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.factories import a_release
from tests.release.nights import CLOCK, KEY
from waypost.model.signature import MODEL_NAME
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.release import lookups
from waypost.release.moves import point_to
from waypost.release.repository import assemble, remove_model
from waypost.release.store import LOOKUPS, publish
from waypost.release.triton import TritonModel
from waypost.settings import AwsAccess, EmbeddedStack

VERSION, RELEASE = 5, "000005-0123abcd-deadbeef"
FILES, FACTS = a_release(version=VERSION)
MESSAGE_KEYS = '{"keys": [{"id": "k1", "secret": "c2l4dGVlbiBieXRlcyBvciBtb3Jl"}]}'
API_KEYS = '{"keys": [{"id": "app", "sha256": "' + "ab" * 32 + '"}]}'


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def store(aws_access: AwsAccess, bucket: str) -> S3ObjectStore:
    """One signed release that is pointed to."""
    found = S3ObjectStore(s3_client(aws_access), bucket)
    publish(found, RELEASE, FILES, FACTS, KEY)
    point_to(found, None, RELEASE, VERSION, "a night", CLOCK)
    return found


@pytest.fixture(scope="module")
def served(triton_stack: EmbeddedStack) -> Iterator[str]:
    """host:port of a Triton that serves that release's model."""
    folder = Path(triton_stack.triton_repository)
    assemble(folder, VERSION, FILES, lookups.from_bytes(FILES[LOOKUPS]).sizes, "python", "cpu")
    model = TritonModel(triton_stack.triton_url, 5, 60)
    model.load()
    yield triton_stack.triton_url
    model.unload()
    model.close()
    remove_model(folder, MODEL_NAME)


@pytest.fixture
def environ(
    store: S3ObjectStore,
    served: str,
    aws_access: AwsAccess,
    bucket: str,
    request_queue_url: str,
    postgres_reader_dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, str]:
    """The settings of real parts that are well. AWS' own variables are set for the process too: boto3 reads them."""
    keys = tmp_path / "release-keys.pem"
    keys.write_bytes(KEY.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "message-keys.json").write_text(MESSAGE_KEYS)
    (tmp_path / "api-keys.json").write_text(API_KEYS)
    aws = {
        "AWS_ENDPOINT_URL": str(aws_access.endpoint_url), "AWS_REGION": str(aws_access.region),
        "AWS_ACCESS_KEY_ID": str(aws_access.access_key_id),
        "AWS_SECRET_ACCESS_KEY": str(aws_access.secret_access_key),
    }  # fmt: skip
    for name, value in aws.items():
        monkeypatch.setenv(name, value)
    return {
        **aws, "WAYPOST_EMBEDDED": "never", "WAYPOST_BUCKET": bucket, "WAYPOST_REQUEST_QUEUE_URL": request_queue_url,
        "WAYPOST_POSTGRES_DSN": postgres_reader_dsn, "WAYPOST_TRITON_URL": served,
        "WAYPOST_MESSAGE_KEYS_FILE": str(tmp_path / "message-keys.json"), "WAYPOST_RELEASE_KEYS_FILE": str(keys),
        "WAYPOST_GATEWAY_API_KEYS_FILE": str(tmp_path / "api-keys.json"), "HOME": str(tmp_path),
    }  # fmt: skip

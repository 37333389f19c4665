"""S3 over boto3, with the timeouts and retries that boto3's defaults lack. botocore's exceptions end here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from waypost.errors import SettingsError, StoreUnavailable
from waypost.objects.protocols import ObjectInfo, StoredObject
from waypost.settings import AwsAccess

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DELETE_BATCH = 1_000  # DeleteObjects takes at most so many keys
_NOT_FOUND = "404"  # all that is said where an answer has no body


def s3_client(access: AwsAccess, *, read_timeout_seconds: float = 30, attempts: int = 3) -> S3Client:
    """A client whose every call ends: 3 s to connect, `read_timeout_seconds` to answer, so many tries in all.

    Raises SettingsError when AWS's own variables make no sense.
    """
    config = Config(
        connect_timeout=3,
        read_timeout=read_timeout_seconds,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        max_pool_connections=16,
        s3={"addressing_style": "path"} if access.endpoint_url else {},
    )
    try:
        return boto3.client(
            "s3",
            endpoint_url=access.endpoint_url,
            region_name=access.region,
            aws_access_key_id=access.access_key_id,
            aws_secret_access_key=access.secret_access_key,
            config=config,
        )
    except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
        raise SettingsError(
            f"AWS settings refused: {error}", "check AWS_REGION, AWS_PROFILE and AWS_ENDPOINT_URL"
        ) from error


class S3ObjectStore:
    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def get(self, key: str) -> StoredObject | None:
        try:
            with self._reachable("read", key, _MissingObject):
                answer = self._client.get_object(Bucket=self._bucket, Key=key)
                return StoredObject(answer["Body"].read(), answer["ETag"])
        except _MissingObject:
            return None

    def put_new(self, key: str, body: bytes) -> bool:
        try:
            with self._reachable("write", key, _LostRaceError):
                self._client.put_object(Bucket=self._bucket, Key=key, Body=body, IfNoneMatch="*")
        except _LostRaceError:
            return False
        return True

    def put_if(self, key: str, body: bytes, etag: str) -> bool:
        try:
            with self._reachable("write", key, _LostRaceError, _MissingObject):
                self._client.put_object(Bucket=self._bucket, Key=key, Body=body, IfMatch=etag)
        except (_LostRaceError, _MissingObject):
            return False
        return True

    def list(self, prefix: str) -> Iterable[ObjectInfo]:
        found: list[ObjectInfo] = []
        with self._reachable("list", prefix):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for item in page.get("Contents", []):
                    found.append(ObjectInfo(item["Key"], item["Size"], item["LastModified"].timestamp()))
        return sorted(found, key=lambda info: info.key)

    def delete(self, keys: Iterable[str]) -> None:
        keys = list(keys)
        for start in range(0, len(keys), DELETE_BATCH):
            with self._reachable("delete", keys[start]):
                answer = self._client.delete_objects(
                    Bucket=self._bucket,
                    Delete={"Objects": [{"Key": key} for key in keys[start : start + DELETE_BATCH]], "Quiet": True},
                )
            for refused in answer.get("Errors", []):  # 200, and yet
                raise self._refused("delete", refused.get("Key", "?"), refused.get("Code", "?"))

    @contextmanager
    def _reachable(self, action: str, key: str, *answers: type[_Answer]) -> Iterator[None]:
        """Raises those of `_Answer` that the caller expects; every other refusal is StoreUnavailable."""
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            for expected in answers:
                if code in expected.codes:
                    raise expected from None
            raise self._refused(action, key, code) from error
        except ParamValidationError as error:
            raise SettingsError(f"WAYPOST_BUCKET={self._bucket!r} is no bucket name", "correct it") from error
        except (BotoCoreError, OSError) as error:  # OSError: a body that stops half-way
            raise StoreUnavailable(
                f"S3 cannot be reached to {action} {self._bucket}/{key}: {type(error).__name__}",
                "check AWS_ENDPOINT_URL and the network",
            ) from error

    def _refused(self, action: str, key: str, code: str) -> StoreUnavailable:
        what = "404, as for a bucket that is not there" if code == _NOT_FOUND else code
        return StoreUnavailable(
            f"S3 refused to {action} {self._bucket}/{key}: {what}", "check WAYPOST_BUCKET, the role and the region"
        )


class _Answer(Exception):
    """No accident, where the caller says that he expects it."""

    codes: ClassVar[Collection[str]] = ()


class _MissingObject(_Answer):
    codes = ("NoSuchKey", _NOT_FOUND)


class _LostRaceError(_Answer):
    """412: somebody else's object is there. 409: two conditional writes met; the loser must read again, so it lost."""

    codes = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")

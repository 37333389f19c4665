"""SqsCalls: SQS' JSON protocol, signed, over kept connections.

boto3 builds, validates, hooks and parses every call, which costs 1 to 1.6 ms of CPU; the request path makes three calls
for each batch. What is hard stays botocore's: which endpoint, which region, which credentials and their refresh.
Nothing is retried here. HTTPS_PROXY is not honoured: a proxy has no place in a path of milliseconds.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
import orjson
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, NoRegionError
from botocore.httpsession import get_cert_path

from waypost.errors import QueueUnavailable, SettingsError
from waypost.queueing.connections import Connections, NotHttp, Response
from waypost.queueing.sigv4 import JsonSigner
from waypost.settings import AwsAccess

CALL_SECONDS = 2.0  # a send or delete takes about 10 ms; after this long no caller waits any more
SERVICE: Final = "sqs"


class SqsCalls:
    """From any thread. Raises SettingsError when AWS' own settings are incomplete."""

    def __init__(self, access: AwsAccess) -> None:
        self._session = boto3.session.Session()  # one of its own: sessions are not thread-safe
        url, region = _endpoint_and_region(self._session, access)
        self._given = _given_credentials(access)
        self._credentials_lock = threading.Lock()
        parts = urlsplit(url)
        context = ssl.create_default_context(cafile=self._certificates()) if parts.scheme == "https" else None
        self._connections = Connections(parts.hostname or "", parts.port or (443 if context else 80), context)
        self._signer = JsonSigner(SERVICE, region, parts.netloc.rpartition("@")[2])

    def call(self, action: str, content: Mapping[str, object], seconds: float = CALL_SECONDS) -> dict[str, Any]:
        """What SQS answers within so many seconds. Raises QueueUnavailable."""
        body = orjson.dumps(content)
        try:
            head = self._signer.head(f"AmazonSQS.{action}", body, self._credentials())
            answer = self._connections.post(head, body, seconds)
        except (OSError, NotHttp, BotoCoreError) as error:
            raise QueueUnavailable(
                f"SQS cannot be reached for {action}: {type(error).__name__}",
                "check AWS_ENDPOINT_URL, the credentials and the network",
            ) from error
        if answer.status != 200:
            raise QueueUnavailable(
                f"SQS refused {action}: {_code(answer)}",
                "check WAYPOST_REQUEST_QUEUE_URL, the role and the region",
            )
        return _parsed(answer.body, action)

    def close(self) -> None:
        """Idle connections; those in use close with their calls."""
        self._connections.close()

    def _credentials(self) -> Credentials | ReadOnlyCredentials:
        """As they are now: a role's are refreshed by botocore when they come near their end."""
        if self._given is not None:
            return self._given
        with self._credentials_lock:  # the first time it looks through the whole chain
            found = self._session.get_credentials()
        if found is None:
            raise QueueUnavailable("no AWS credentials were found", "give the pod a role, or set AWS_ACCESS_KEY_ID")
        try:
            return found.get_frozen_credentials()
        except RuntimeError as error:  # botocore's, for credentials that have ended and could not be had anew
            raise QueueUnavailable(f"AWS credentials have ended: {error}", "check the pod's role") from error

    def _certificates(self) -> str | None:
        """AWS_CA_BUNDLE, the one in AWS' config file, or botocore's own."""
        found: str | None = self._session._session.get_config_variable("ca_bundle") or get_cert_path(True)
        return found


def _parsed(body: bytes, action: str) -> dict[str, Any]:
    try:
        answer = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise QueueUnavailable(f"what answered {action} is not SQS", "check AWS_ENDPOINT_URL")
    return answer


def _code(answer: Response) -> str:
    """`com.amazonaws.sqs#QueueDoesNotExist` is QueueDoesNotExist; without one, the HTTP status."""
    try:
        return str(orjson.loads(answer.body)["__type"]).rpartition("#")[2]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"HTTP {answer.status}"


def _endpoint_and_region(session: boto3.session.Session, access: AwsAccess) -> tuple[str, str]:
    """As boto3 finds them: given, AWS' variables, its config file, the partition's rules."""
    try:
        client = session.client(
            SERVICE,
            endpoint_url=access.endpoint_url,
            region_name=access.region,
            aws_access_key_id=access.access_key_id,
            aws_secret_access_key=access.secret_access_key,
        )
    except NoRegionError:
        raise SettingsError("no AWS region is set", "set AWS_REGION") from None
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(
            f"AWS settings are refused: {error}", "check AWS_ENDPOINT_URL and the credentials"
        ) from None
    url, region = client.meta.endpoint_url, client.meta.region_name
    client.close()
    return url, region


def _given_credentials(access: AwsAccess) -> Credentials | None:
    if access.access_key_id is None or access.secret_access_key is None:
        return None
    return Credentials(access.access_key_id, access.secret_access_key)

"""The embedded S3 and SQS: ministack over HTTP on a loopback port.

Objects are kept on disk and outlive any stop; queues live in memory, so every start makes them anew (what was in them
is lost, as the gateway's deadline allows). It accepts any key; keys are made all the same, so that no code runs
without.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from waypost.errors import LocalStackError
from waypost.local.asking import answers_ok
from waypost.local.layout import PRIVATE_FOLDER, Layout
from waypost.local.ports import LOOPBACK
from waypost.local.secrets import AwsKeys
from waypost.local.supervisor import PartSpec, private_environment

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

REGION = "us-east-1"
BUCKET = "waypost"
REQUEST_QUEUE = "waypost-requests"
DEAD_LETTER_QUEUE = "waypost-requests-dead"
VISIBILITY_TIMEOUT_SECONDS = 30  # SQS' default; three times the longest deadline
MAX_RECEIVE_COUNT = 3  # then a message is set aside as dead
DEAD_LETTER_RETENTION_SECONDS = 14 * 24 * 3600  # SQS' most: time to look at them

_CALLS = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 2, "mode": "standard"}, proxies={})


def aws_spec(layout: Layout, port: int, keys: AwsKeys) -> PartSpec:
    (layout.aws / "tmp").mkdir(exist_ok=True, mode=PRIVATE_FOLDER)
    environment = private_environment(
        layout.root,
        BIND_HOST=LOOPBACK, MINISTACK_HOST=LOOPBACK, GATEWAY_PORT=str(port), MINISTACK_REGION=REGION,
        SERVICES="s3,sqs,iam,sts", IOT_MTLS_ENABLED="0", SFTP_ENABLED="0", LOG_LEVEL="WARNING",
        S3_PERSIST="1", S3_DATA_DIR=str(layout.aws / "s3"), TMPDIR=str(layout.aws / "tmp"), DOCKER_HOST="unix:///nowhere",
        AWS_ACCESS_KEY_ID=keys.access_key_id, AWS_SECRET_ACCESS_KEY=keys.secret_access_key,
    )  # fmt: skip
    return PartSpec(
        name="aws",
        command=(sys.executable, "-m", "ministack"),
        environment=environment,
        working_dir=layout.aws,
        is_ready=lambda: answers_ok(f"{endpoint_url(port)}/_ministack/ready"),
        identity=(str(port), REGION, keys.access_key_id),
    )


def endpoint_url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def prepare_services(port: int, keys: AwsKeys) -> str:
    """Have the bucket and both queues; the request queue's URL."""
    try:
        with closing(s3_client(port, keys)) as s3, closing(sqs_client(port, keys)) as sqs:
            _have_bucket(s3, BUCKET)
            return have_queue(sqs, REQUEST_QUEUE, DEAD_LETTER_QUEUE)
    except (BotoCoreError, ClientError) as error:
        raise LocalStackError(f"the embedded S3 and SQS cannot be prepared: {error}", "see logs/aws.log") from None


def _have_bucket(s3: S3Client, name: str) -> None:
    if name not in {bucket.get("Name") for bucket in s3.list_buckets().get("Buckets", [])}:
        s3.create_bucket(Bucket=name)


def have_queue(sqs: SQSClient, name: str, dead_letter_name: str) -> str:
    """Make a request queue and the queue of its dead letters, or have their attributes as they should be."""
    dead_url = _have_queue(sqs, dead_letter_name, {"MessageRetentionPeriod": str(DEAD_LETTER_RETENTION_SECONDS)})
    dead_arn = sqs.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = {"deadLetterTargetArn": dead_arn, "maxReceiveCount": MAX_RECEIVE_COUNT}
    attributes: dict[QueueAttributeNameType, str] = {
        "VisibilityTimeout": str(VISIBILITY_TIMEOUT_SECONDS), "RedrivePolicy": json.dumps(redrive),
    }  # fmt: skip
    return _have_queue(sqs, name, attributes)


def _have_queue(sqs: SQSClient, name: str, attributes: dict[QueueAttributeNameType, str]) -> str:
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
    return url


def s3_client(port: int, keys: AwsKeys) -> S3Client:
    return boto3.client(
        "s3", endpoint_url=endpoint_url(port), region_name=REGION, config=_CALLS,
        aws_access_key_id=keys.access_key_id, aws_secret_access_key=keys.secret_access_key,
    )  # fmt: skip


def sqs_client(port: int, keys: AwsKeys) -> SQSClient:
    return boto3.client(
        "sqs", endpoint_url=endpoint_url(port), region_name=REGION, config=_CALLS,
        aws_access_key_id=keys.access_key_id, aws_secret_access_key=keys.secret_access_key,
    )  # fmt: skip

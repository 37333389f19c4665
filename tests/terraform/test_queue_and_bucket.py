"""The queue, its dead letters and the bucket are as the JSON files say, and terraform reads those files."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.terraform.applied import BUCKET, DEAD_LETTERS, FILES, REQUESTS, Applied, read
from waypost.local import aws


def attributes(applied: Applied, queue: str) -> dict[str, str]:
    sqs = applied.client("sqs")
    answer = sqs.get_queue_attributes(QueueUrl=applied.queue_urls[queue], AttributeNames=["All"])
    found: dict[str, str] = answer["Attributes"]
    return found


@pytest.mark.parametrize(("queue", "file"), [(REQUESTS, "queue.json"), (DEAD_LETTERS, "dead-letter-queue.json")])
def test_a_queue_has_the_attributes_of_its_file(applied: Applied, queue: str, file: str) -> None:
    found = attributes(applied, queue)
    wanted: dict[str, str] = read(file)
    assert {name: _plain(found.get(name)) for name in wanted} == {name: _plain(said) for name, said in wanted.items()}


def test_the_embedded_queue_gives_up_on_a_message_as_the_real_one_does() -> None:
    wanted = read("queue.json")
    assert int(wanted["VisibilityTimeout"]) == aws.VISIBILITY_TIMEOUT_SECONDS
    assert json.loads(wanted["RedrivePolicy"])["maxReceiveCount"] == aws.MAX_RECEIVE_COUNT
    kept = int(read("dead-letter-queue.json")["MessageRetentionPeriod"])
    assert kept == aws.DEAD_LETTER_RETENTION_SECONDS


def test_a_message_that_fails_three_times_becomes_a_dead_letter(applied: Applied) -> None:
    sqs, url = applied.client("sqs"), applied.queue_urls[REQUESTS]
    sqs.purge_queue(QueueUrl=url)
    sqs.send_message(QueueUrl=url, MessageBody="nobody can answer this")
    for _ in range(3):
        found = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1)["Messages"][0]
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=found["ReceiptHandle"], VisibilityTimeout=0)
    assert "Messages" not in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=0)
    dead = sqs.receive_message(QueueUrl=applied.queue_urls[DEAD_LETTERS], WaitTimeSeconds=1)["Messages"]
    assert "nobody can answer this" in [message["Body"] for message in dead]


def test_the_bucket_is_closed_encrypted_versioned_and_tidied(applied: Applied) -> None:
    s3 = applied.client("s3")
    blocked = s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]
    assert len(blocked) == 4
    assert all(blocked.values())
    rules = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    kept = {rule["ID"]: rule for rule in s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]}
    assert kept["overwritten-or-deleted"]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
    assert kept["unfinished-trainings"]["Filter"]["Prefix"] == "progress/"


def test_a_deleted_pointer_can_be_had_back(applied: Applied) -> None:
    s3 = applied.client("s3")
    s3.put_object(Bucket=BUCKET, Key="releases/kept.json", Body=b"the pointer")
    s3.delete_object(Bucket=BUCKET, Key="releases/kept.json")
    version = s3.list_object_versions(Bucket=BUCKET, Prefix="releases/kept.json")["Versions"][0]["VersionId"]
    assert s3.get_object(Bucket=BUCKET, Key="releases/kept.json", VersionId=version)["Body"].read() == b"the pointer"


def test_nobody_gets_in_without_tls(applied: Applied) -> None:
    """The emulator speaks plain HTTP, so under these policies it refuses what it allowed before."""
    s3, sqs, url = applied.client("s3"), applied.client("sqs"), applied.queue_urls[REQUESTS]
    arn = attributes(applied, REQUESTS)["QueueArn"]
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(read("bucket-policy.json")))
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(read("queue-policy.json", queue_arn=arn))})
    try:
        with pytest.raises(ClientError, match="AccessDenied"):
            applied.client("s3", "worker").list_objects_v2(Bucket=BUCKET, Prefix="releases/")
        with pytest.raises(ClientError, match="AccessDenied"):
            applied.client("sqs", "gateway").send_message(QueueUrl=url, MessageBody="hello")
    finally:
        s3.delete_bucket_policy(Bucket=BUCKET)
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})


def test_terraform_reads_every_file_that_is_tested_here() -> None:
    said = "\n".join(path.read_text(encoding="utf-8") for path in FILES.glob("*.tf"))
    components = re.search(r"  accounts = \{(.*?)\n  \}", said, re.DOTALL)
    assert components is not None
    made = re.findall(r"^\s+(\w+)\s+=", components.group(1), re.MULTILINE)
    for path in FILES.rglob("*.json"):
        name = str(path.relative_to(FILES))
        by_component = name.startswith("policies/") and path.stem.removesuffix("-reply-queue") in made
        by_identity = name.startswith("trust/") and f'"{path.stem}"' in said
        assert by_component or by_identity or name in said, f"no .tf file reads {name}"


def _plain(said: str | None) -> Any:
    """JSON inside an attribute may be spelled otherwise."""
    try:
        return json.loads(said or "null")
    except ValueError:
        return said

"""What each role may do, and one by one that it may do nothing else: every call is really made, by that role."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

from tests.terraform.applied import (
    BUCKET,
    DEAD_LETTERS,
    FILES,
    FOREIGN,
    OTHER_BUCKET,
    REPLIES,
    REQUESTS,
    Applied,
    assume,
    read,
)

RELEASE = "releases/000001-20260101T000000Z"


@dataclass(frozen=True)
class Deed:
    """One call and the roles that may make it."""

    service: str
    call: Callable[[Any, Applied], object]
    allowed: frozenset[str]


def _of(*roles: str) -> frozenset[str]:
    return frozenset(roles)


def _get(key: str, bucket: str = BUCKET) -> Callable[[Any, Applied], object]:
    return lambda s3, applied: s3.get_object(Bucket=bucket, Key=key)


def _put(key: str) -> Callable[[Any, Applied], object]:
    return lambda s3, applied: s3.put_object(Bucket=BUCKET, Key=key, Body=b"new")


def _delete(key: str) -> Callable[[Any, Applied], object]:
    def call(s3: Any, applied: Applied) -> None:
        applied.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"there")
        failed = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key}], "Quiet": True}).get("Errors", [])
        if failed:  # HTTP 200 and refused, object by object
            raise ClientError({"Error": {"Code": failed[0]["Code"]}}, "DeleteObjects")

    return call


# One message at a time: AWS knows no action for a batch and asks for the single one's, the emulator asks for one that
# does not exist (`sqs:SendMessageBatch`).
def _send(queue: str) -> Callable[[Any, Applied], object]:
    return lambda sqs, applied: sqs.send_message(QueueUrl=applied.queue_urls[queue], MessageBody="hello")


def _receive(queue: str) -> Callable[[Any, Applied], object]:
    return lambda sqs, applied: sqs.receive_message(QueueUrl=applied.queue_urls[queue], WaitTimeSeconds=0)


def _received(applied: Applied, queue: str) -> dict[str, str]:
    """A message that was sent and received by the root, as the arguments of a call about it."""
    root, url = applied.client("sqs"), applied.queue_urls[queue]
    root.send_message(QueueUrl=url, MessageBody="hello")
    message = root.receive_message(QueueUrl=url, WaitTimeSeconds=1)["Messages"][0]
    return {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}


def _finish(queue: str) -> Callable[[Any, Applied], object]:
    return lambda sqs, applied: sqs.delete_message(**_received(applied, queue))


def _give_back(sqs: Any, applied: Applied) -> None:
    sqs.change_message_visibility(**_received(applied, REQUESTS), VisibilityTimeout=0)


def _measure(queue: str) -> Callable[[Any, Applied], object]:
    wanted = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    return lambda sqs, applied: sqs.get_queue_attributes(QueueUrl=applied.queue_urls[queue], AttributeNames=wanted)


GATEWAYS, WORKERS = ("gateway", "gateway-reply-queue"), ("worker", "worker-reply-queue")
ROLES = (*GATEWAYS, *WORKERS, "trainer", "keda", "operator")
READERS = (*GATEWAYS, *WORKERS, "trainer", "operator")
REPLIER = "gateway-reply-queue"
DEEDS: dict[str, Deed] = {
    "read the pointer": Deed("s3", _get("releases/current.json"), _of(*READERS)),
    "read a release": Deed("s3", _get(f"{RELEASE}/manifest.json"), _of(*READERS)),
    "learn that an object is missing": Deed(
        "s3", lambda s3, applied: s3.list_objects_v2(Bucket=BUCKET, Prefix="releases/"), _of(*READERS)
    ),
    "move the pointer": Deed("s3", _put("releases/current.json"), _of(*WORKERS, "trainer", "operator")),
    "write an audit line": Deed("s3", _put("releases/audit/000000009.json"), _of(*WORKERS, "trainer", "operator")),
    "publish a release": Deed("s3", _put(f"{RELEASE}/model.onnx"), _of("trainer")),
    "claim a version": Deed("s3", _put("releases/versions/000002"), _of("trainer")),
    "remove an abandoned upload": Deed("s3", _delete(f"{RELEASE}/lookups"), _of("trainer")),
    "read tensors": Deed("s3", _get("tensors/f/manifest.json"), _of("trainer")),
    "write tensors": Deed("s3", _put("tensors/f/manifest.json"), _of("trainer")),
    "remove tensors": Deed("s3", _delete("tensors/f/old"), _of("trainer")),
    "keep a checkpoint": Deed("s3", _put("checkpoints/r/metadata.json"), _of("trainer")),
    "keep a baseline": Deed("s3", _put("baselines/d/manifest.json"), _of("trainer")),
    "keep an unfinished training": Deed("s3", _put("progress/r/mark"), _of("trainer")),
    "delete the pointer": Deed("s3", _delete("releases/current.json"), _of()),
    "delete an audit line": Deed("s3", _delete("releases/audit/000000001.json"), _of()),
    "delete a version claim": Deed("s3", _delete("releases/versions/000001"), _of()),
    "write elsewhere in the bucket": Deed("s3", _put("elsewhere"), _of()),
    "delete an old version of the pointer": Deed(
        "s3",
        lambda s3, applied: s3.delete_object(Bucket=BUCKET, Key="releases/current.json", VersionId="null"),
        _of(),
    ),
    "read another bucket": Deed("s3", _get("anything", OTHER_BUCKET), _of()),
    "list all buckets": Deed("s3", lambda s3, applied: s3.list_buckets(), _of()),
    "change the bucket's policy": Deed(
        "s3",
        lambda s3, applied: s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(read("bucket-policy.json"))),
        _of(),
    ),
    "open the bucket to the public": Deed(
        "s3", lambda s3, applied: s3.delete_public_access_block(Bucket=BUCKET), _of()
    ),
    "delete the bucket": Deed("s3", lambda s3, applied: s3.delete_bucket(Bucket=BUCKET), _of()),
    "send a request": Deed("sqs", _send(REQUESTS), _of(*GATEWAYS)),
    "receive requests": Deed("sqs", _receive(REQUESTS), _of(*WORKERS)),
    "delete a request": Deed("sqs", _finish(REQUESTS), _of(*WORKERS)),
    "give a request back": Deed("sqs", _give_back, _of(*WORKERS)),
    "set a dead letter aside": Deed("sqs", _send(DEAD_LETTERS), _of(*WORKERS)),
    "measure the request queue": Deed("sqs", _measure(REQUESTS), _of(*GATEWAYS, *WORKERS, "keda", "operator")),
    "measure the dead letters": Deed("sqs", _measure(DEAD_LETTERS), _of(*GATEWAYS, *WORKERS, "operator")),
    "find the dead letters by name, as doctor does": Deed(
        "sqs", lambda sqs, applied: sqs.get_queue_url(QueueName=DEAD_LETTERS), _of(*WORKERS, "operator")
    ),
    "measure replies": Deed("sqs", _measure(REPLIES), _of()),
    "have a reply queue": Deed(
        "sqs", lambda sqs, applied: sqs.create_queue(QueueName=f"{REQUESTS}-replies-gateway-2"), _of(REPLIER)
    ),
    "say that its reply queue lives": Deed(
        "sqs", lambda sqs, applied: sqs.tag_queue(QueueUrl=applied.queue_urls[REPLIES], Tags={"a": "b"}), _of(REPLIER)
    ),
    "see whose reply queue it is": Deed(
        "sqs", lambda sqs, applied: sqs.list_queue_tags(QueueUrl=applied.queue_urls[REPLIES]), _of(REPLIER)
    ),
    "find all reply queues": Deed("sqs", lambda sqs, applied: sqs.list_queues(), _of(REPLIER)),
    "delete a dead gateway's reply queue": Deed(
        "sqs",
        lambda sqs, applied: sqs.delete_queue(
            QueueUrl=applied.client("sqs").create_queue(QueueName=f"{REQUESTS}-replies-dead")["QueueUrl"]
        ),
        _of(REPLIER),
    ),
    "see whose another queue is": Deed(
        "sqs", lambda sqs, applied: sqs.list_queue_tags(QueueUrl=applied.queue_urls[FOREIGN]), _of()
    ),
    "receive replies": Deed("sqs", _receive(REPLIES), _of(REPLIER)),
    "delete a reply": Deed("sqs", _finish(REPLIES), _of(REPLIER)),
    "reply over a queue": Deed("sqs", _send(REPLIES), _of("worker-reply-queue")),
    "read dead letters": Deed("sqs", _receive(DEAD_LETTERS), _of()),
    "measure another queue": Deed("sqs", _measure(FOREIGN), _of()),
    "send to another queue": Deed("sqs", _send(FOREIGN), _of()),
    "receive from another queue": Deed("sqs", _receive(FOREIGN), _of()),
    "make another queue": Deed("sqs", lambda sqs, applied: sqs.create_queue(QueueName="one-more"), _of()),
    "purge the request queue": Deed(
        "sqs", lambda sqs, applied: sqs.purge_queue(QueueUrl=applied.queue_urls[REQUESTS]), _of()
    ),
    "change the request queue": Deed(
        "sqs",
        lambda sqs, applied: sqs.set_queue_attributes(
            QueueUrl=applied.queue_urls[REQUESTS], Attributes={"VisibilityTimeout": "1"}
        ),
        _of(),
    ),
    "delete the request queue": Deed(
        "sqs", lambda sqs, applied: sqs.delete_queue(QueueUrl=applied.queue_urls[REQUESTS]), _of()
    ),
    "make a user": Deed("iam", lambda iam, applied: iam.create_user(UserName="mallory"), _of()),
    "change its own role": Deed(
        "iam",
        lambda iam, applied: iam.put_role_policy(
            RoleName="waypost-gateway", PolicyName="more", PolicyDocument=json.dumps(read("policies/trainer.json"))
        ),
        _of(),
    ),
    "take another role": Deed(
        "sts",
        lambda sts, applied: sts.assume_role(
            RoleArn="arn:aws:iam::000000000000:role/waypost-trainer", RoleSessionName="more"
        ),
        _of(),
    ),
}


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_its_work_needs_and_nothing_else(applied: Applied, role: str, deed: str) -> None:
    wanted = DEEDS[deed]
    assert applied.may(role, wanted.call, wanted.service) == (role in wanted.allowed)


def test_every_role_is_refused_more_than_twenty_deeds() -> None:
    for role in ROLES:
        assert sum(role not in deed.allowed for deed in DEEDS.values()) >= 20


@pytest.mark.parametrize("role", ["gateway", "worker", "trainer", "keda"])
def test_only_the_components_own_service_account_may_take_its_role(applied: Applied, role: str) -> None:
    for namespace, account in (("waypost", "default"), ("elsewhere", f"waypost-{role}"), ("waypost", "waypost-x")):
        with pytest.raises(ClientError, match="AccessDenied"):
            assume(applied.endpoint, role, namespace, account)


def test_a_token_of_another_cluster_gets_no_role(applied: Applied) -> None:
    other = "oidc.eks.eu-central-1.amazonaws.com/id/FFFFFFFFFFFFFFFF"
    with pytest.raises(ClientError, match="AccessDenied"):
        assume(applied.endpoint, "worker", "waypost", "waypost-worker", other)


def policies() -> list[str]:
    return sorted(str(path.relative_to(FILES)) for path in (FILES / "policies").glob("*.json"))


@pytest.mark.parametrize("file", policies())
def test_a_policy_names_exact_actions_on_our_own_things(file: str) -> None:
    for statement in read(file)["Statement"]:
        assert all(action.count(":") == 1 and "*" not in action for action in statement["Action"])
        ours = ("arn:aws:s3:::waypost-of-the-tests", "arn:aws:sqs:eu-central-1:000000000000:waypost-requests")
        if statement["Action"] != ["sqs:ListQueues"]:  # AWS knows it for all queues alone
            assert all(resource.startswith(ours) for resource in statement["Resource"])


def test_terraform_and_chart_agree_on_how_pods_get_their_role() -> None:
    variable = (FILES / "variables.tf").read_text().split('variable "identity"')[1]
    by_terraform = variable.split("default")[1].split('"')[1]
    by_chart = yaml.safe_load((FILES.parents[1] / "helm" / "waypost" / "values.yaml").read_text())["aws"]["identity"]
    assert by_terraform.replace("-", "") == by_chart.lower() == "podidentity"

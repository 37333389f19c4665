"""Applies the files of `deploy/terraform` by boto3, and tells for a role whether it may do a thing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from waypost.local.secrets import AwsKeys

FILES = Path(__file__).parents[2] / "deploy" / "terraform"
REGION, ACCOUNT = "eu-central-1", "000000000000"
BUCKET, OTHER_BUCKET = "waypost-of-the-tests", "somebody-elses"
REQUESTS, DEAD_LETTERS = "waypost-requests", "waypost-requests-dead"
REPLIES, FOREIGN = f"{REQUESTS}-replies-gateway-1", "somebody-elses-queue"
OIDC = "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF"
COMPONENTS = ("gateway", "worker", "trainer", "keda")
SERVICE_ACCOUNTS = {  # namespace, name
    "gateway": ("waypost", "waypost-gateway"),
    "worker": ("waypost", "waypost-worker"),
    "trainer": ("waypost", "waypost-trainer"),
    "keda": ("keda", "keda-operator"),
}
REFUSED = {"AccessDenied", "AccessDeniedException", "403"}
CALLS = Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10, s3={"addressing_style": "path"})
SESSION = boto3.session.Session()  # reads each service's description once
Document = dict[str, Any]


def names(**more: str) -> dict[str, str]:
    """What stands for `${…}` in the files."""
    sqs = f"arn:aws:sqs:{REGION}:{ACCOUNT}"
    return {
        "bucket_arn": f"arn:aws:s3:::{BUCKET}",
        "request_queue_arn": f"{sqs}:{REQUESTS}",
        "dead_letter_queue_arn": f"{sqs}:{DEAD_LETTERS}",
        "reply_queues_arn": f"{sqs}:{REQUESTS}-replies-*",
        **more,
    }


def read(name: str, **more: str) -> Document:
    """As terraform's templatefile() reads it; a name without a value is an error, as it is there."""
    text = (FILES / name).read_text(encoding="utf-8")
    document: Document = json.loads(Template(text).substitute(names(**more)))
    return document


@dataclass(frozen=True)
class Applied:
    """Where all of it is, and the root's keys."""

    endpoint: str
    root: AwsKeys
    queue_urls: Mapping[str, str]  # by name
    sessions: Mapping[str, Mapping[str, str]]  # by role: temporary credentials
    _clients: dict[tuple[str, str | None], Any] = field(default_factory=dict)  # making one costs 50 ms

    def client(self, service: str, role: str | None = None) -> Any:
        """Of this role; the root's without one."""
        key = (service, role)
        if key not in self._clients:
            credentials = _root(self.root) if role is None else self.sessions[role]
            self._clients[key] = a_client(self.endpoint, service, credentials)
        return self._clients[key]

    def may(self, role: str, call: Callable[[Any, Applied], object], service: str) -> bool:
        """Whether AWS lets the role; that there is nothing to do is no refusal."""
        try:
            call(self.client(service, role), self)
        except ClientError as error:
            return str(error.response.get("Error", {}).get("Code")) not in REFUSED
        return True


def apply_files(endpoint: str, root: AwsKeys) -> Applied:
    s3, sqs, iam = (a_client(endpoint, service, _root(root)) for service in ("s3", "sqs", "iam"))
    queue_urls = apply_queues(sqs)
    apply_bucket(s3)
    s3.create_bucket(Bucket=OTHER_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    for component in COMPONENTS:
        apply_role(iam, component, [f"policies/{component}.json"])
    for component in ("gateway", "worker"):
        own = [f"policies/{component}.json", f"policies/{component}-reply-queue.json"]
        apply_role(iam, f"{component}-reply-queue", own, component)
    apply_role(iam, "operator", ["policies/operator.json"], "worker")  # whoever may assume it: people, in terraform
    roles = [*COMPONENTS, "gateway-reply-queue", "worker-reply-queue", "operator"]
    sessions = {role: assume(endpoint, role, *_account_of(role)) for role in roles}
    return Applied(endpoint, root, queue_urls, sessions)


def apply_queues(sqs: Any) -> dict[str, str]:
    urls = {
        name: str(sqs.create_queue(QueueName=name, Attributes=read(file))["QueueUrl"])
        for name, file in ((DEAD_LETTERS, "dead-letter-queue.json"), (REQUESTS, "queue.json"))
    }
    for name in (REPLIES, FOREIGN):
        urls[name] = str(sqs.create_queue(QueueName=name)["QueueUrl"])
    return urls


def apply_bucket(s3: Any) -> None:
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration=read("bucket-public-access.json"))
    s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration=read("bucket-encryption.json"))
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=read("bucket-versioning.json"))
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=read("bucket-lifecycle.json"))


def apply_role(iam: Any, role: str, policies: list[str], account_of: str | None = None) -> None:
    """A role that the service account of a component may take, by the trust of `irsa`."""
    namespace, service_account = SERVICE_ACCOUNTS[account_of or role]
    trust = read(
        "trust/irsa.json",
        oidc_provider_arn=f"arn:aws:iam::{ACCOUNT}:oidc-provider/{OIDC}",
        oidc_provider=OIDC,
        namespace=namespace,
        service_account=service_account,
    )
    iam.create_role(RoleName=f"waypost-{role}", AssumeRolePolicyDocument=json.dumps(trust))
    for file in policies:
        name = Path(file).stem
        iam.put_role_policy(RoleName=f"waypost-{role}", PolicyName=name, PolicyDocument=json.dumps(read(file)))


def assume(endpoint: str, role: str, namespace: str, service_account: str, issuer: str = OIDC) -> Mapping[str, str]:
    """Temporary credentials for a pod of this service account; raises ClientError where the trust refuses it."""
    sts = a_client(endpoint, "sts", {"aws_access_key_id": "unsigned", "aws_secret_access_key": "unsigned"})
    answer = sts.assume_role_with_web_identity(
        RoleArn=f"arn:aws:iam::{ACCOUNT}:role/waypost-{role}",
        RoleSessionName="pod",
        WebIdentityToken=_token(issuer, f"system:serviceaccount:{namespace}:{service_account}"),
    )["Credentials"]
    return {
        "aws_access_key_id": answer["AccessKeyId"],
        "aws_secret_access_key": answer["SecretAccessKey"],
        "aws_session_token": answer["SessionToken"],
    }


def a_client(endpoint: str, service: str, credentials: Mapping[str, str]) -> Any:
    return SESSION.client(  # type: ignore[call-overload]
        service, endpoint_url=endpoint, region_name=REGION, config=CALLS, **credentials
    )


def _token(issuer: str, subject: str) -> str:
    """As a cluster's API server would issue it; the emulator reads the claims and checks no signature."""
    claims = {"iss": f"https://{issuer}", "sub": subject, "aud": "sts.amazonaws.com"}
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "none"])


def _account_of(role: str) -> tuple[str, str]:
    return SERVICE_ACCOUNTS["worker" if role == "operator" else role.removesuffix("-reply-queue")]


def _root(root: AwsKeys) -> dict[str, str]:
    return {"aws_access_key_id": root.access_key_id, "aws_secret_access_key": root.secret_access_key}

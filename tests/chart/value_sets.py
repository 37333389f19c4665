"""The ways in which operators install the chart; each is linted, rendered and validated."""

from __future__ import annotations

from typing import Any

import yaml

from tests.chart.charting import CHART, REQUIRED, merged


def _file(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((CHART / name).read_text()))


DIGEST = "sha256:" + "0" * 64
ROLE = "arn:aws:iam::123456789012:role/waypost"
_PARTS = ("gateway", "worker", "trainer")
_OWN_CA: dict[str, Any] = {
    "extraEnv": [{"name": "AWS_CA_BUNDLE", "value": "/etc/ca/ca.crt"}],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
}

_DIFFERENCES: dict[str, dict[str, Any]] = {
    "required only": {},
    "production": _file("values-production.yaml"),
    "cpu": _file("values-cpu.yaml"),
    "pinned": {part: {"image": {"digest": DIGEST}} for part in (*_PARTS, "triton")},
    "irsa": {"aws": {"identity": "irsa"}, **{part: {"serviceAccount": {"roleArn": ROLE}} for part in _PARTS}},
    "emulator": {
        "aws": {"identity": "secret", "existingSecret": "aws", "endpointUrl": "http://10.0.0.5:4566",
                "requestQueueUrl": "http://10.0.0.5:4566/000000000000/waypost"},
    },
    "own secrets": {
        "keys": {"messageKeys": {"existingSecret": "m"}, "releaseKeys": {"existingSecret": "r"},
                 "apiKeys": {"existingSecret": "a"}},
    },
    "external secrets": {
        "externalSecrets": {"enabled": True, "store": {"name": "aws"},
                            "remoteKeys": {"postgres": "p", "messageKeys": "m", "releaseKeys": "r", "apiKeys": "a"}},
    },
    "no scaling": {"gateway": {"autoscaling": {"enabled": False}}, "worker": {"autoscaling": {"enabled": False}}},
    "reply queue": {"replyWay": "queue"},
    "scale to zero": {"worker": {"autoscaling": {"scaleToZero": True}}},
    "arrivals and floor": {
        "worker": {"autoscaling": {"arrivalRate": {"enabled": True, "serverAddress": "http://prometheus.monitoring.svc:9090"},
                                   "floor": {"enabled": True}}},
    },
    "ingress": {"gateway": {"ingress": {"enabled": True, "className": "nginx", "host": "rec.example.org",
                                        "tlsSecret": "tls"}, "service": {"type": "LoadBalancer"}}},
    "narrow": {
        "networkPolicy": {
            "callers": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "app"}}}],
            "postgres": [{"ipBlock": {"cidr": "10.1.0.0/24"}}],
            "aws": [{"ipBlock": {"cidr": "52.0.0.0/8"}}],
            "kubernetesApi": [{"ipBlock": {"cidr": "172.20.0.1/32"}}],
        },
    },
    "bare": {
        "networkPolicy": {"enabled": False}, "tests": {"enabled": False}, "worker": {"kubernetes": {"enabled": False}},
        "observability": {part: {"enabled": False} for part in ("monitors", "rules", "dashboards")},
        "gateway": {"podDisruptionBudget": {"enabled": False}},
    },
    "everything set": {
        "fullnameOverride": "recommendations", "logLevel": "DEBUG", "image": {"pullSecrets": ["pull"]},
        "commonLabels": {"team": "discovery"}, "triton": {"runtimeClassName": "nvidia"},
        "postgres": {"mapping": "[users]\nselect = 'SELECT id FROM members'\n", "rootCertificates": "rds"},
        "aws": {"deadLetterQueueUrl": "https://sqs.eu-west-1.amazonaws.com/123456789012/waypost-requests-dead"},
        "keys": {"keep": True},
        "operator": {"subjects": [{"kind": "Group", "name": "on-call", "apiGroup": "rbac.authorization.k8s.io"}]},
        "trainer": {"gpus": 1, "settings": {"WAYPOST_TRAINER_EPOCHS": 40, "WAYPOST_CACHE_KEEP_NIGHTS": 14},
                    "refresh": {"enabled": True}, **_OWN_CA},
        **{part: {"settings": {"POINTER_SECONDS": 1.5}, "podAnnotations": {"team": "rec"},
                  "nodeSelector": {"pool": "rec"}, "priorityClassName": "high",
                  "tolerations": [{"key": "rec", "operator": "Exists"}], **_OWN_CA} for part in ("gateway", "worker")},
    },
}  # fmt: skip
VALUE_SETS = {name: merged(REQUIRED, values) for name, values in _DIFFERENCES.items()}

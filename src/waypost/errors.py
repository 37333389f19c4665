"""Every error Waypost raises on purpose, and what happens next for each.

WaypostError                    exit   what happens next
├── UsageError                     2   the caller corrects the command
├── SettingsError                 78   the operator corrects the environment
├── RetryableError                 1   the message goes back on the queue; a verb may be run again
│   ├── PostgresUnavailable
│   ├── StoreUnavailable
│   ├── QueueUnavailable
│   ├── TritonUnavailable
│   │   └── TritonHung                 it took the call and did not answer in time: only a restart may help
│   ├── GatewayUnavailable             a reply could not be delivered
│   └── ClusterUnavailable             the Kubernetes API server; whoever asked looks again
├── RejectedError                  1   the message is answered where possible and deleted
│   ├── MalformedMessage
│   ├── BadSignature
│   └── ExpiredMessage
├── PipelineError                  1   the night stops; the served release stays
│   ├── GraphDirectoryError            nothing of that load stays
│   ├── SchemaError
│   ├── EmptyGraph
│   ├── CorruptObject                  rebuilt from its source, never used
│   ├── NoRelease
│   ├── DataContractRefused        3
│   ├── GateRefused                3
│   ├── PreflightFailed            4
│   └── Superseded                 0   somebody published a newer release meanwhile
├── ClusterRefused                 1   the API server says no: a role, a name
│   └── ClusterConflict                somebody changed that object since it was read
└── LocalStackError                1   the embedded stack says what it lacks

A driver's exception never leaves the module that imports the driver: it is mapped to one of these at that edge.
"""

from __future__ import annotations


class WaypostError(Exception):
    """An error with a cause and, where one exists, a remedy; `str()` is the one line a user reads."""

    exit_code = 1

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        line = f"{self.cause}; {self.remedy}" if self.remedy else self.cause
        return " ".join(line.split())


class UsageError(WaypostError):
    exit_code = 2


class SettingsError(WaypostError):
    exit_code = 78  # EX_CONFIG of sysexits.h


class RetryableError(WaypostError):
    pass


class PostgresUnavailable(RetryableError):
    pass


class StoreUnavailable(RetryableError):
    pass


class QueueUnavailable(RetryableError):
    pass


class TritonUnavailable(RetryableError):
    pass


class TritonHung(TritonUnavailable):
    pass


class GatewayUnavailable(RetryableError):
    pass


class ClusterUnavailable(RetryableError):
    pass


class RejectedError(WaypostError):
    pass


class MalformedMessage(RejectedError):
    pass


class BadSignature(RejectedError):
    pass


class ExpiredMessage(RejectedError):
    pass


class PipelineError(WaypostError):
    pass


class GraphDirectoryError(PipelineError):
    pass


class SchemaError(PipelineError):
    pass


class EmptyGraph(PipelineError):
    pass


class CorruptObject(PipelineError):
    pass


class NoRelease(PipelineError):
    pass


class DataContractRefused(PipelineError):
    exit_code = 3


class GateRefused(PipelineError):
    exit_code = 3


class PreflightFailed(PipelineError):
    exit_code = 4


class Superseded(PipelineError):
    exit_code = 0


class ClusterRefused(WaypostError):
    pass


class ClusterConflict(ClusterRefused):
    pass


class LocalStackError(WaypostError):
    pass

"""What a call may raise.

ClientError
├── BadSetup         the client was made or used wrongly: an address, a key's characters, a call after close
├── InvalidRequest   the question is wrong: `problems` names each field; the gateway's 422, found before it is sent
├── KeyRefused       the API key is missing or unknown (401), or out of scope (403)
└── Unavailable      no gateway answered in time and there is nothing to fall back to; `cause` says why

The first three are the caller's to correct and are raised with a fallback too: it would only hide them.
"""

from __future__ import annotations

from collections.abc import Sequence

from waypost.errors import WaypostError


class ClientError(WaypostError):
    pass


class BadSetup(ClientError):
    pass


def closed() -> BadSetup:
    return BadSetup("this client is closed", "make another one")


class InvalidRequest(ClientError):
    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {message}" for field, message in problems), "correct the question")
        self.problems = problems  # (field, what is wrong with it)


class KeyRefused(ClientError):
    def __init__(self, status: int, cause: str) -> None:
        super().__init__(f"the gateway answers {status}: {cause}", "give the client another api_key")
        self.status = status


class Unavailable(ClientError):
    pass

"""Exchange: one try of one question at one gateway, over kept connections. aiohttp's exceptions end here.

A try ends in an answer, in the caller's own error, or in a Failure that says whether another gateway may do better.
Nothing it receives is trusted: not its length, not its JSON, not whose answer it is.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from pydantic import ValidationError

from waypost.client.answers import Recommendation
from waypost.client.asking import Asked
from waypost.client.errors import BadSetup, ClientError, InvalidRequest, KeyRefused

KEPT_SECONDS = 60.0  # the gateway closes an idle connection after 75 s: ours goes first, so that none is closed in use
MAX_ANSWER_BYTES = 1 << 20  # 100 ids of 512 characters are 0.3 MB at most
MAX_SHOWN = 200  # characters of a gateway's own words in an error
OK, BAD_REQUEST, TOO_LARGE, UNPROCESSABLE = 200, 400, 413, 422
REFUSED_KEY = (401, 403)
ANSWERS = (BAD_REQUEST, *REFUSED_KEY, TOO_LARGE, UNPROCESSABLE)  # of a gateway that read the request
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    cause: str
    elsewhere: bool  # whether another try may do better; never after a 4xx
    untouched: bool = False  # nobody got the question, so that another try is nobody's extra load


Outcome = Recommendation | ClientError | Failure


class Exchange:
    """The connections of one event loop; they are made anew where it is used on another."""

    def __init__(self, api_key: str | None, tls: ssl.SSLContext | None) -> None:
        """Raises BadSetup for a key that no header can carry, and for what is no TLS context."""
        if api_key is not None and not (isinstance(api_key, str) and re.fullmatch("[!-~]+", api_key)):
            raise BadSetup("the api_key is no key: no text, or with spaces, or outside ASCII", "give it as it was made")
        if tls is not None and not isinstance(tls, ssl.SSLContext):
            raise BadSetup(f"tls is {type(tls).__name__}, no ssl.SSLContext", "make one by ssl.create_default_context")
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def try_once(self, address: str, asked: Asked, seconds: float) -> Outcome:
        """Raises nothing but CancelledError; the caller's clock ends it."""
        try:
            status, body = await self._send(address, asked.body(seconds))
        except aiohttp.ClientConnectorError:  # refused, or no such host
            return Failure("closed", elsewhere=True, untouched=True)
        except (aiohttp.ClientError, OSError):
            return Failure("closed", elsewhere=True)
        except Exception:
            logger.exception("a try failed in an unforeseen way")
            return Failure("error", elsewhere=True)
        if len(body) > MAX_ANSWER_BYTES:
            return Failure("garbage", elsewhere=True)
        return _read_answer(body, asked) if status == OK else _read_refusal(status, body)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _send(self, address: str, body: bytes) -> tuple[int, bytes]:
        """(status, body); of a body longer than any answer no more than shows it."""
        request = self._connected().post(f"{address}/recommend", data=body, allow_redirects=False)
        async with request as response:
            received = bytearray()
            async for chunk in response.content.iter_any():
                received += chunk
                if len(received) > MAX_ANSWER_BYTES:
                    response.close()  # what else comes is not read
                    break
            return response.status, bytes(received)

    def _connected(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            self._loop = loop
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_SECONDS, ssl=self._tls or True),
                timeout=aiohttp.ClientTimeout(),  # none: every try is ended by the deadline of its call
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session


def _read_answer(body: bytes, asked: Asked) -> Outcome:
    try:
        answer = Recommendation.model_validate_json(body)
    except ValidationError:
        return Failure("garbage", elsewhere=True)
    same = str(answer.user_id).casefold() == str(asked.request.user_id).casefold()  # a UUID comes back in lower case
    return answer if same and len(answer.items) <= asked.request.k else Failure("garbage", elsewhere=True)


def _read_refusal(status: int, body: bytes) -> Outcome:
    detail = _detail(body)
    if status not in ANSWERS or detail is None:
        return Failure(f"status {status}", elsewhere=not BAD_REQUEST <= status < 500)
    if status in REFUSED_KEY:
        return KeyRefused(status, _shown(detail))
    return InvalidRequest(_problems(detail))


def _detail(body: bytes) -> Any:
    """What every refusal of a gateway holds; None where it is not a gateway's: a proxy's page of the same status."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return content.get("detail") if isinstance(content, dict) else None


def _problems(detail: Any) -> list[tuple[str, str]]:
    found = [each for each in detail if isinstance(each, dict)] if isinstance(detail, list) else []
    named = [(_field(each.get("loc")), _shown(each.get("msg"))) for each in found]
    return named or [("request", _shown(detail))]


def _field(loc: Any) -> str:
    parts = loc[1:] if isinstance(loc, list) and len(loc) > 1 else ["request"]  # the first is `body`
    return _shown(".".join(map(str, parts)))


def _shown(words: Any) -> str:
    return str(words)[:MAX_SHOWN]

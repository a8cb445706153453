"""Questions of our own to the model server, whose answers are read whole."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from workers.pyworker.back_end import JsonObject
from workers.pyworker.model.answers import MAX_PLAIN, plain, words_in

CONNECT_S = 10.0
IDLE_CONNECTION_S = 2.0
"""Shorter than any model server's own, so that a kept connection is never closed under us."""
MAX_NAMES, MAX_NAME = 100, 300
"""Of the models that are served: names that are longer are nobody's."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}")


class ModelLostError(Exception):
    """The model server refused (`is_refusal`) or broke the connection, or took too long."""

    def __init__(self, reason: str = "", *, is_refusal: bool = False) -> None:
        super().__init__(reason)
        self.is_refusal = is_refusal


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """A whole answer to a question of our own."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def words(self) -> str:
        """What an owner reads of a refusal."""
        return f"{self.status} {words_in(self.body)}".strip()

    @property
    def model_names(self) -> tuple[str, ...]:
        """The ids of OpenAI's list of models."""
        try:
            rows = json.loads(self.body)["data"]
            names = [row["id"] for row in rows][:MAX_NAMES]
        except (ValueError, KeyError, TypeError, RecursionError):
            return ()
        return tuple(name for name in names if _is_told(name))

    @property
    def server_name(self) -> str:
        """Which server made OpenAI's list of models, by its `owned_by`; "" where it is no name."""
        try:
            name = json.loads(self.body)["data"][0]["owned_by"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return ""
        return name if isinstance(name, str) and _NAME.fullmatch(name) else ""


def _is_told(name: object) -> TypeGuard[str]:
    """Whether a header can hold it, in a list with commas between."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        return False
    return name.isascii() and name.isprintable() and "," not in name


def open_model_session() -> aiohttp.ClientSession:
    """A connection pool to the model server; whoever opens it closes it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_CONNECTION_S),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        headers={"Accept-Encoding": "identity"},  # bytes pass through as they are
        cookie_jar=aiohttp.DummyCookieJar(),  # one client's are not the next one's
        auto_decompress=False,
        trust_env=False,
    )


async def ask(
    http: aiohttp.ClientSession, url: str, path: str, body: JsonObject | None, timeout_s: float
) -> WholeAnswer:
    """POST a body (GET without one) and read the whole answer, unpacked.

    A question may be sent on to another path of the same server, a body goes nowhere else.

    Raises:
        ModelLostError: no answer.
    """
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    method = "GET" if body is None else "POST"
    try:
        async with http.request(
            method, url + path, json=body, timeout=timeout, allow_redirects=body is None
        ) as answer:
            if answer.url.origin() != URL(url).origin():
                raise ModelLostError("it sends us elsewhere")
            data = bytearray()
            async for chunk in answer.content.iter_any():
                data += chunk
                if len(data) > MAX_PLAIN:
                    raise ModelLostError("its answer has no end")
            headers = CIMultiDict(answer.headers)
            headers.popall("Content-Encoding", None)
            return WholeAnswer(answer.status, headers, plain(answer.headers, bytes(data)))
    except (aiohttp.ClientError, TimeoutError) as error:
        is_refusal = isinstance(error, aiohttp.ClientConnectorError)
        raise ModelLostError(type(error).__name__, is_refusal=is_refusal) from error

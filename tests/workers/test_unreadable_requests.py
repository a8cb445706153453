"""Bytes that are no HTTP: the worker's and the proxy's processes say so in JSON, and log none."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.workers.world import environment

NOWHERE = "http://127.0.0.1:9"
CANARY = b"CANARY-PROMPT"
GET = b"GET /ping HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /generate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer any\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
UNREADABLE: dict[str, tuple[int, bytes]] = {
    "chunk": (400, CHUNKED + b"zz " + CANARY),
    "header": (400, GET + b"Authorization: Bearer " + CANARY + b"\rx"),
    "head": (400, GET + b"X: " + CANARY * 1_000),
    "number of headers": (400, GET + b"".join(b"X%d: 1\r\n" % n for n in range(500))),
    "path": (400, b"GET /" + CANARY * 1_000 + b" HTTP/1.1\r\nHost: x"),
    "address": (400, b"GET http://[::1/" + CANARY + b" HTTP/1.1\r\nHost: x"),
    "first line": (400, CANARY + b" " + CANARY),
    "method": (400, b"B@D / HTTP/1.1\r\nHost: x\r\nX: " + CANARY),
    "version": (400, b"GET / HTTP/9.9\r\nHost: x\r\nX: " + CANARY),
    "length": (400, POST + b"Content-Length: 2\r\nContent-Length: 3"),
    "length beyond numbers": (400, POST + b"Content-Length: " + b"9" * 400),
    "length and chunks": (400, CHUNKED[:-2] + b"Content-Length: 2"),
    "host": (400, GET + b"Host: y"),
    "TLS": (400, b"\x16\x03\x01\x02\x00" + CANARY * 20),
    "Expect": (417, POST + b"Content-Length: 2\r\nExpect: " + CANARY),
}
LATE = (CHUNKED + b"2\r\n{}\r\n", b"zz " + CANARY)
"""Its second part comes when a handler reads the body already."""
PROXY = ("-m", "ballast.proxy", "-e", "any", "-u", NOWHERE, "--port")


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, once somebody listens."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)


async def refusal(port: int, *parts: bytes) -> tuple[int, object]:
    """The answer to a request: status and what its JSON says."""
    reader, writer = await connect(port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(0.2 if part is not parts[-1] else 0.0)
    writer.write(b"\r\n\r\n")
    async with asyncio.timeout(60):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        n_bytes = int(head.partition("content-length: ")[2].partition("\r")[0])
        body = await reader.readexactly(n_bytes)
    writer.close()
    assert "content-type: application/json" in head, head
    return int(head.split()[1]), json.loads(body)["error"]


@pytest.mark.parametrize("program", ["worker", "proxy"])
async def test_what_is_no_http_is_refused_in_json_and_not_logged(
    tmp_path: Path, program: str
) -> None:
    """The late chunk had no answer: its handler waited for the rest for ever."""
    env = environment(NOWHERE, NOWHERE, tmp_path)
    port = env["WORKER_PORT"]
    arguments = ("-m", "workers.tgi.server") if program == "worker" else (*PROXY, port)
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, env=env, stdout=out, stderr=out
        )
        try:
            told = {what: await refusal(int(port), sent) for what, (_, sent) in UNREADABLE.items()}
            told["late chunk"] = await refusal(int(port), *LATE)
        finally:
            process.terminate()
            await process.wait()
    wanted = {what: status for what, (status, _) in UNREADABLE.items()} | {"late chunk": 400}
    assert {what: status for what, (status, _) in told.items()} == wanted
    assert all(
        isinstance(error, str if program == "worker" else dict) for _, error in told.values()
    )
    assert all(error for _, error in told.values())
    assert CANARY not in log.read_bytes()

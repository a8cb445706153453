"""Bytes that are no HTTP: the worker's and the proxy's processes refuse them and log none."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.workers.world import environment

NOWHERE = "http://127.0.0.1:9"
CANARY = b"CANARY-PROMPT"
UNREADABLE = {
    "chunk": b"POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz " + CANARY,
    "header": b"GET /ping HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + CANARY + b"\rx",
    "path": b"GET /" + CANARY * 1_000 + b" HTTP/1.1\r\nHost: x",
    "first line": CANARY + b" " + CANARY,
}
PROXY = ("-m", "ballast.proxy", "-e", "any", "-u", NOWHERE, "--port")


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, once somebody listens."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)


async def refusal(port: int, request: bytes) -> bytes:
    """The answer to a request."""
    reader, writer = await connect(port)
    writer.write(request + b"\r\n\r\n")
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("program", ["worker", "proxy"])
async def test_what_is_no_http_is_refused_and_not_logged(tmp_path: Path, program: str) -> None:
    env = environment(NOWHERE, NOWHERE, tmp_path)
    port = env["WORKER_PORT"]
    arguments = ("-m", "workers.tgi.server") if program == "worker" else (*PROXY, port)
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, env=env, stdout=out, stderr=out
        )
        try:
            answers = [await refusal(int(port), request) for request in UNREADABLE.values()]
        finally:
            process.terminate()
            await process.wait()
    assert [answer.split()[1] for answer in answers] == [b"400"] * len(UNREADABLE)
    assert CANARY not in log.read_bytes()

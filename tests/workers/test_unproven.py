"""Whoever has no ticket costs nothing: bodies, connections, and the log."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
import math
import time
import timeit
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from chalicelib.wire.json_body import MAX_DIGITS
from chalicelib.wire.ticket import TICKET_HEADER
from fakes.control_plane_server import TicketSigner
from tests.workers.world import World, prompt, world
from workers.pyworker.serving.connections import MAX_UNPROVEN, ConnectionGuard
from workers.pyworker.serving.envelope import EnvelopeError, parse_json
from workers.pyworker.serving.reading import MAX_BODY, MAX_PLACES, SCANNED, _good_ticket, digest

MB = 2**20


async def send(it: World, body: bytes, **headers: str) -> tuple[int, bytes]:
    url = it.worker.settings.url + "/generate"
    async with it.http.post(url, data=io.BytesIO(body), headers=headers) as answer:
        return answer.status, await answer.read()


def filler(n_bytes: int) -> str:
    """Many empty lists, which take far more memory than their text."""
    return "[" + "[]," * (n_bytes // 3) + "[]]"


async def test_a_body_of_megabytes_without_a_ticket_is_refused_unparsed(tmp_path: Path) -> None:
    """The review's inputs: 401 after 6.5 to 19.6 s, others waited 13 s, 3 GB."""
    bombs = {
        "lists": f'{{"payload":{{"a":{filler(14 * MB)}}}}}'.encode(),
        "keys": b'{"payload":{' + b",".join(b'"%d":1' % n for n in range(900_000)) + b"}}",
        "deep": b'{"payload":' + b"[" * (2 * MB),
        "ticket inside": f'{{"auth_data":{{"signature":"x"}},"payload":{filler(9 * MB)}}}'.encode(),
    }
    async with world(tmp_path) as it:
        rss = psutil.Process().memory_info().rss
        for name, bomb in bombs.items():
            started = time.process_time()
            status, _ = await send(it, bomb)
            assert status == 401, name
            # Parsing any of these took a second and more; sending and reading them does not.
            assert time.process_time() - started < 1.0, name
        assert psutil.Process().memory_info().rss - rss < 128 * MB  # this process sends them, too
        assert it.model.bodies == []


async def test_a_connection_that_said_nothing_ends_with_the_worker(tmp_path: Path) -> None:
    """Its first bytes met a server that was gone: a traceback each."""
    async with world(tmp_path) as it:
        port = int(it.worker.settings.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await send(it, b"{}"))[0] == 422  # by now the other one was accepted, too
    with suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()


async def test_nothing_is_inflated(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        good = json.dumps({"auth_data": it.ticket(), "payload": prompt()}).encode()
        for body in (
            gzip.compress(b'{"payload":{"a":[' + b"[]," * 10_000_000),
            gzip.compress(good, mtime=0),
        ):
            status, answer = await send(it, body, **{"Content-Encoding": "gzip"})
            assert (status, b"Content-Encoding" in answer) == (415, True)


async def test_a_body_larger_than_all_that_is_taken_is_refused_by_its_length(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.worker.settings.port)
        writer.write(
            b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1)
        )
        assert b" 413 " in await reader.readline()
        writer.close()


@pytest.mark.parametrize("where", ["header", "first", "last"])
async def test_a_large_body_passes_with_its_ticket_where_it_is_looked_for(
    tmp_path: Path, where: str
) -> None:
    """Parsed in another process, the model gets the equal JSON and the work is counted."""
    payload = prompt(max_new_tokens=70) | {"extra": [[n, str(n)] for n in range(60_000)]}
    async with world(tmp_path) as it:
        ticket = it.ticket()
        auth, rest = json.dumps(ticket), json.dumps(payload)
        in_front = f'{{"auth_data":{auth},"payload":{rest}}}'
        behind = f'{{"payload":{rest},"auth_data":{auth}}}'
        middle = f'{{"a":"{"x" * 20_000}","auth_data":{auth},"payload":{rest}}}'
        body = {"first": in_front, "last": behind, "header": middle}[where]
        assert len(body) > MB
        headers = {TICKET_HEADER: str(ticket["signature"])} if where == "header" else {}
        status, _ = await send(it, body.encode(), **headers)
        assert status == 200
        assert [json.loads(sent) for sent in it.model.bodies] == [payload]
        await it.until(lambda: it.counters()["n_served"] == 1, "it is counted")
        assert it.counters()["received_workload"] == 70
        assert (await send(it, body.encode(), **headers))[0] == 401  # the ticket was used up


async def test_a_forged_ticket_in_the_header_opens_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        forged = TicketSigner().ticket(it.claims())
        body = f'{{"x":"{"y" * 40_000}","payload":{{}}}}'.encode()
        assert (await send(it, body, **{TICKET_HEADER: str(forged["signature"])}))[0] == 401


def test_a_helper_tells_what_is_wrong_with_a_body() -> None:
    assert digest(b"[]", "workers.hello_world.server", "/generate") == {
        "error": "the body must be a JSON object"
    }
    body = b'{"auth_data": {"signature": "x"}, "payload": {"prompt": 5}}'
    found = digest(body, "workers.hello_world.server", "/generate")
    assert found == {"payload": {"prompt": "must be a string, not int"}}


async def test_of_connections_without_a_ticket_the_oldest_is_closed_first(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        port = it.worker.settings.port
        assert (await it.post())[0] == 200  # this connection has shown a ticket
        stream = {"auth_data": it.ticket(), "payload": prompt(n_chunks=40, chunk_s=0.1)}
        async with it.http.post(it.worker.settings.url + "/generate_stream", json=stream) as answer:
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_UNPROVEN)]
            more = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
            oldest = [reader for reader, _ in opened[:20]]
            async with asyncio.timeout(20):
                for reader in oldest:
                    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                        assert await reader.readexactly(1)
            assert not any(reader.at_eof() for reader, _ in (*opened[20:], *more))
            assert (await answer.read()).count(b"data:") == 40  # nobody with a ticket was closed
        for _, writer in (*opened, *more):
            writer.transport.abort()
        assert (await it.post())[0] == 200


def test_the_guard_forgets_connections_that_end() -> None:
    guard = ConnectionGuard(most=2)
    protocols = [guard.protocol() for _ in range(2)]
    for protocol in protocols:
        protocol.connection_made(asyncio.Transport())
    assert guard.n_unproven == 2
    protocols[0].connection_lost(None)
    assert (guard.n_unproven, guard.n_closed) == (1, 0)


async def test_a_flood_of_bad_tickets_is_one_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with world(tmp_path) as it:
        for _ in range(50):
            assert (await it.post(auth_data={"signature": "x"}))[0] == 401
    assert 1 <= sum(record.message == "ticket refused" for record in caplog.records) <= 2


DECOYS = {
    "nested": b'{"auth_data":' * 2_000,
    "side by side": b'"auth_data":{"a":' * 1_500,
    "texts": b'"auth_data":{"a":"' * 900,
    "lists": (b'"auth_data":{"a":[' + b"1," * 15) * 300,
}


@pytest.mark.parametrize("from_end", [False, True])
@pytest.mark.parametrize("name", DECOYS)
def test_looking_for_a_ticket_is_bounded_work(name: str, from_end: bool) -> None:
    """17 KB of nested `auth_data` took 0.7 s of the loop: two a second stopped a worker."""
    part = DECOYS[name][:SCANNED]
    honest = json.dumps({"a": ["some words"] * (SCANNED // 14)})
    parsed = _seconds(lambda: json.loads(honest))
    assert not _good_ticket(part, lambda _: False, from_end=from_end)
    scanned = _seconds(lambda: _good_ticket(part, lambda _: False, from_end=from_end))
    assert scanned < 100 * parsed, "the square of its size took 10,000 times as long"


def _seconds(work: Callable[[], object]) -> float:
    """Of this process's time, the least of some tries."""
    return min(timeit.repeat(work, time.process_time, repeat=5, number=20))


def test_a_ticket_is_found_beside_decoys() -> None:
    """A payload may speak of `auth_data` itself: the outermost is looked for first."""
    ticket = b'"auth_data": {"signature": "good"}'
    decoys = b'"auth_data":{"a":' * (MAX_PLACES + 1)

    def is_good(auth_data: dict[str, object]) -> bool:
        return auth_data.get("signature") == "good"

    assert _good_ticket(b"{" + ticket + b", " + decoys, is_good) == "good"
    assert _good_ticket(decoys + b", " + ticket + b"}", is_good, from_end=True) == "good"
    assert not _good_ticket(decoys + b", " + ticket + b"}", is_good)


async def test_one_ticket_proves_one_large_body_at_a_time(tmp_path: Path) -> None:
    """It is used up when its body is parsed: until then its holder could send a hundred."""
    async with world(tmp_path) as it:
        ticket = it.ticket()
        n_bytes = MAX_BODY - MB

        async def drip(seconds: float) -> object:
            yield b" " * MB
            await asyncio.sleep(seconds)

        headers = {TICKET_HEADER: str(ticket["signature"]), "Content-Length": str(n_bytes)}
        url = it.worker.settings.url + "/generate"
        slow = asyncio.create_task(_status(it, url, drip(3.0), headers))
        await asyncio.sleep(0.5)
        second = {**headers, "Content-Length": str(2 * MB)}
        assert await _status(it, url, io.BytesIO(b" " * (2 * MB)), second) == 429
        other = it.ticket()
        body = json.dumps({"auth_data": other, "payload": prompt()}).encode() + b" " * (2 * MB)
        assert (await send(it, body, **{TICKET_HEADER: str(other["signature"])}))[0] == 200
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        await asyncio.sleep(0.5)
        body = json.dumps({"auth_data": ticket, "payload": prompt()}).encode() + b" " * (2 * MB)
        assert (await send(it, body, **{TICKET_HEADER: str(ticket["signature"])}))[0] == 200


async def _status(it: World, url: str, body: object, headers: dict[str, str]) -> int:
    async with it.http.post(url, data=body, headers=headers) as answer:
        return answer.status


def test_a_number_longer_than_any_is_refused_before_it_is_computed() -> None:
    with pytest.raises(EnvelopeError, match="too large"):
        parse_json(b'{"a":' + b"9" * (MAX_DIGITS + 1) + b"}")
    assert parse_json(b'{"a":' + b"9" * MAX_DIGITS + b"}")["a"] == int("9" * MAX_DIGITS)
    assert float(int("9" * MAX_DIGITS)) < math.inf  # whoever counts it in floats can

"""`python -m tests.workers.flooding PORT SECONDS`: 500 new connections a second without a ticket.

`… sink PORT` takes such connections and answers nothing: the flood's own cost on this machine,
which a real one has elsewhere, so that it is in both runs of a comparison.

A third stays idle, a third drips a body, a third sends garbage. Ends by itself; 127.0.0.1 only.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from contextlib import suppress

PER_SECOND = 500
DRIP = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"
GARBAGE = b'POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 22\r\n\r\n{"payload":{"a":[[]]}}'


async def connect(port: int, number: int) -> None:
    """One connection, held until the worker closes it or ten seconds are over."""
    with suppress(OSError, asyncio.TimeoutError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for _ in range(5):
                if number % 3 == 1:
                    writer.write(DRIP if _ == 0 else b"x" * 100)
                elif number % 3 == 2 and _ == 0:
                    writer.write(GARBAGE)
                await asyncio.sleep(2.0)
        finally:
            writer.transport.abort()


async def flood(port: int, seconds: float) -> None:
    """Open them evenly."""
    loop = asyncio.get_running_loop()
    began, tasks = loop.time(), set()
    for number in itertools.count():
        due = began + number / PER_SECOND
        if due > began + seconds:
            break
        if (pause_s := due - loop.time()) > 0:
            await asyncio.sleep(pause_s)
        task = asyncio.create_task(connect(port, number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    for task in tuple(tasks):
        task.cancel()


async def sink(port: int) -> None:
    """Take connections."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "sink":
        asyncio.run(sink(int(sys.argv[2])))
    else:
        os.nice(10)
        asyncio.run(flood(int(sys.argv[1]), float(sys.argv[2])))

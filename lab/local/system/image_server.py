"""A SIMULATED ComfyUI, which makes one image at a time.

No model runs here: it paints one colour, in a fraction of the time that the rented GPU would take.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from fakes.comfyui_server import ComfyUIServer, Graph
from workers.comfyui.cost import graph_workload

READY_LINE = "To see the GUI go to: http://127.0.0.1:18188"
"""What a PyWorker waits for in ComfyUI's log."""

BASE_PERF = 200.0  # of an RTX 4090, in the load of `workers.comfyui.cost` per second


def seconds_at(perf: float) -> Callable[[Graph], float]:
    """How long a graph takes on a GPU of this perf."""

    def seconds(graph: Graph) -> float:
        return graph_workload("sd3", graph) / perf

    return seconds


def paint(graph: Graph) -> bytes:
    """A small picture whose colour tells the prompt."""
    return one_colour(
        256, 256, json.dumps([node for name, node in graph.items() if name != "save"])
    )


def one_colour(width: int, height: int, seed: str) -> bytes:
    """A PNG of one colour, which depends on `seed`."""
    row = b"\0" + hashlib.sha256(seed.encode()).digest()[:3] * width
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # eight bits, red green blue
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * height)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


async def _serve(arguments: argparse.Namespace) -> None:
    relative = float(os.environ.get("RELATIVE_PERF") or 1.0)
    perf = BASE_PERF * relative * arguments.speed
    server = ComfyUIServer(seconds_of=seconds_at(perf), paint=paint)
    runner = web.AppRunner(server.application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", arguments.port).start()
    with arguments.log.open("a") as log:
        log.write(READY_LINE + "\n")
    await asyncio.Event().wait()


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.local.system.image_server", description=__doc__
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True, help="ComfyUI's, which PyWorkers tail")
    parser.add_argument("--speed", type=float, default=20.0, help="times as fast as a real GPU")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()

"""A SIMULATED ComfyUI behind its API wrapper (`/runsync`), which makes one image at a time.

No model runs here: it paints one colour, in a fraction of the time that the rented GPU would take.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import os
import struct
import zlib
from pathlib import Path

from aiohttp import web

from workers.comfyui.cost import image_workload
from workers.comfyui.workflow import size_of

READY_LINE = "To see the GUI go to: http://127.0.0.1:18188"
"""What a PyWorker waits for in ComfyUI's log."""

BASE_PERF = 200.0  # of an RTX 4090, in the load of `workers.comfyui.cost` per second


class ImageServer:
    """Answers a workflow with the path of the picture that it made."""

    def __init__(self, perf: float, folder: Path) -> None:
        self._perf = perf
        self._folder = folder
        self._numbers = itertools.count(1)
        self._gpu = asyncio.Lock()

    def application(self) -> web.Application:
        """The wrapper's one route that PyWorkers use."""
        application = web.Application()
        application.add_routes([web.post("/runsync", self.run)])
        return application

    async def run(self, request: web.Request) -> web.Response:
        """Wait for the GPU, use it for as long as the picture takes, and say where it is."""
        workflow = (await request.json())["input"]["workflow_json"]
        width, height, steps = size_of(workflow, {})
        async with self._gpu:
            await asyncio.sleep(image_workload("sd3", width, height, steps) / self._perf)
        path = self._folder / f"image-{next(self._numbers)}.png"
        path.write_bytes(one_colour(int(width), int(height), json.dumps(workflow)))
        return web.json_response({"output": {"images": [{"local_path": str(path.resolve())}]}})


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
    server = ImageServer(BASE_PERF * relative * arguments.speed, Path.cwd())
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

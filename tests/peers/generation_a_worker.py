"""A generation-A worker, written from the protocol's description of the 2024 PyWorker.

It signs nothing new, knows no `request_idx`, no token and no version: it checks the indent-4 JSON
of (cost, endpoint, reqnum, url), keeps the 2024 replay window and reports load as a rate
(protocol.md B.1-B.3, C.1, C.3, D.4).
"""

from __future__ import annotations

import asyncio
import base64
import collections
import json
import os
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import requests
from aiohttp import ClientSession, web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

SIGNED_FIELDS = ("cost", "endpoint", "reqnum", "url")
WINDOW = 100
IDLE_REPORT_S = 10.0
BENCHMARK_TOKENS = 40
BENCHMARK_RUNS = 3


class Gate:
    """Accepts each ticket once: signature, reqnum window, last hundred messages."""

    def __init__(self, public_key: rsa.RSAPublicKey) -> None:
        self._public_key = public_key
        self._max_reqnum = -1
        self._last: collections.deque[str] = collections.deque(maxlen=WINDOW)

    def accepts(self, auth_data: dict[str, Any]) -> bool:
        """Whether the ticket is good; remembers it if so."""
        text = json.dumps({name: auth_data[name] for name in SIGNED_FIELDS}, indent=4)
        if text in self._last or auth_data["reqnum"] < self._max_reqnum - WINDOW:
            return False
        try:
            signature = base64.b64decode(auth_data["signature"])
            self._public_key.verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            return False
        self._max_reqnum = max(self._max_reqnum, auth_data["reqnum"])
        self._last.append(text)
        return True


@dataclass
class Meter:
    """The counters of a 2024 report."""

    url: str
    started_at: float = field(default_factory=time.time)
    last_report_at: float = 0.0
    load_since: float = 0.0
    loadtime: float = 0.0
    max_perf: float = 0.0
    cur_perf: float = 0.0
    working: set[int] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)
    is_changed: bool = False

    def report(self, now: float) -> dict[str, Any]:
        """The message; `loadtime` is told once, `cur_load` is a rate since the last message."""
        body = {
            "id": int(os.environ["CONTAINER_ID"]),
            "loadtime": self.loadtime,
            "cur_load": self.load_since / max(1.0, now - self.last_report_at),
            "error_msg": "",
            "max_perf": self.max_perf,
            "cur_perf": self.cur_perf,
            "cur_capacity": 0,
            "max_capacity": 0,
            "num_requests_working": len(self.working),
            "num_requests_recieved": len(self.seen),
            "additional_disk_usage": 0.0,
            "url": self.url,
        }
        self.last_report_at, self.load_since, self.loadtime = now, 0.0, 0.0
        self.is_changed = False
        return body


class GenerationAWorker:
    """Serves `/generate` and reports."""

    def __init__(self) -> None:
        port = os.environ["WORKER_PORT"]
        url = f"http://{os.environ['PUBLIC_IPADDR']}:{os.environ[f'VAST_TCP_PORT_{port}']}"
        self._report_addr = os.environ["REPORT_ADDR"]
        pem = requests.get(urljoin(self._report_addr, "/pubkey/"), timeout=10).content
        key = serialization.load_pem_public_key(pem)
        if not isinstance(key, rsa.RSAPublicKey):
            raise TypeError("the control plane's key is no RSA key")
        self._gate = Gate(key)
        self._meter = Meter(url)
        self._model_url = f"http://127.0.0.1:{os.environ['MODEL_PORT']}/generate"

    async def generate(self, request: web.Request) -> web.Response:
        """Check the ticket, ask the model."""
        message = await request.json()
        auth_data = message["auth_data"]
        if not self._gate.accepts(auth_data):
            return web.Response(status=401)
        reqnum, meter, begun_at = int(auth_data["reqnum"]), self._meter, time.time()
        load = float(message["payload"]["parameters"]["max_new_tokens"])
        meter.seen.add(reqnum)
        meter.working.add(reqnum)
        meter.load_since += load
        try:
            return web.json_response(await self._ask(message["payload"]))
        finally:
            meter.working.discard(reqnum)
            meter.cur_perf = load / (time.time() - begun_at)
            meter.is_changed = True

    async def _ask(self, payload: dict[str, Any]) -> Any:
        async with ClientSession() as session, session.post(self._model_url, json=payload) as reply:
            return await reply.json()

    async def benchmark(self) -> None:
        """The best of some single requests, after waiting for the model."""
        payload = {"inputs": "x", "parameters": {"max_new_tokens": BENCHMARK_TOKENS}}
        while True:
            try:
                await self._ask(payload)
                break
            except OSError:
                await asyncio.sleep(0.5)
        best = 0.0
        for _ in range(BENCHMARK_RUNS):
            begun_at = time.time()
            await asyncio.gather(*(self._ask(payload) for _ in range(10)))
            best = max(best, 10 * BENCHMARK_TOKENS / (time.time() - begun_at))
        self._meter.max_perf = best
        self._meter.loadtime = time.time() - self._meter.started_at

    async def report(self) -> None:
        """Every second that brought something, and every ten otherwise."""
        address = urljoin(self._report_addr, "/worker_status/")
        while True:
            await asyncio.sleep(1.0)
            is_due = time.time() - self._meter.last_report_at > IDLE_REPORT_S
            if is_due or (self._meter.max_perf and self._meter.is_changed):
                body = self._meter.report(time.time())
                await asyncio.to_thread(_post_three_times, address, body)

    async def run(self) -> None:
        """Serve until the process is ended."""
        application = web.Application()
        application.router.add_post("/generate", self.generate)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(os.environ["WORKER_PORT"])).start()
        await asyncio.gather(self.benchmark(), self.report())


def _post_three_times(address: str, body: dict[str, Any]) -> None:
    """The status of the answer is not looked at; only silence is tried again."""
    for _ in range(3):
        try:
            requests.post(address, json=body, timeout=1)
        except requests.RequestException:
            time.sleep(2)
        else:
            return


if __name__ == "__main__":
    asyncio.run(GenerationAWorker().run())

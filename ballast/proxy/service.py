"""What makes the proxy a service: callers' keys from a file, readiness, metrics, an orderly end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Mapping
from pathlib import Path

import aiohttp
from aiohttp import web

from ballast.proxy.callers import Caller, CallersError, Limits, digest_of, read_callers
from ballast.proxy.metrics import CONTENT_TYPE, Metrics
from ballast.proxy.runner import ProxyRunner

logger = logging.getLogger(__name__)

LOOK_AGAIN_S = 5.0
"""Between two looks at the file of callers, and at the control plane."""

PROBE_TIMEOUT = aiohttp.ClientTimeout(total=3)


class CallersFile:
    """The callers of a file, read again when it changes; a broken one changes nothing."""

    def __init__(self, path: Path) -> None:
        """Read it.

        Raises:
            CallersError: it cannot be used.
        """
        self._path = path
        self._looked_at = float("-inf")
        self._stamp: tuple[int, int] = (0, 0)
        self._callers: Mapping[bytes, Caller] = {}
        self._read()

    def find(self, key: str, now: float) -> Caller | None:
        """Whose key it is."""
        if now - self._looked_at >= LOOK_AGAIN_S:
            self._looked_at = now
            try:
                self._read()
            except CallersError as error:
                logger.warning("callers kept as they were: %s", error)
        return self._callers.get(digest_of(key)) if key else None

    def _read(self) -> None:
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp == self._stamp:
                return
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CallersError(f"{self._path}: {error}") from error
        self._stamp = stamp
        try:
            self._callers = read_callers(text)
        except CallersError as error:
            raise CallersError(f"{self._path}: {error}") from error


class Service:
    """The state of one process that a balancer and a monitor ask for."""

    def __init__(self, url: str) -> None:
        self.limits = Limits()
        self.metrics = Metrics()
        self.is_draining = False
        self._url = url.rstrip("/")
        self._probed_at = float("-inf")
        self._problem = ""

    async def problem(self, http: aiohttp.ClientSession) -> str:
        """Why this process should get no new requests; empty: it should."""
        if self.is_draining:
            return "this proxy is ending"
        now = asyncio.get_running_loop().time()
        if now - self._probed_at >= LOOK_AGAIN_S:
            self._probed_at = now
            self._problem = await self._probe(http)
        return self._problem

    async def _probe(self, http: aiohttp.ClientSession) -> str:
        try:
            async with http.get(f"{self._url}/pubkey/", timeout=PROBE_TIMEOUT) as answer:
                if answer.status == 200:
                    return ""
                return f"the control plane answers HTTP {answer.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"the control plane does not answer ({type(error).__name__})"

    def metrics_page(self) -> web.Response:
        """The metrics as Prometheus reads them."""
        is_ready = not (self.is_draining or self._problem)
        text = self.metrics.text(is_ready=is_ready)
        return web.Response(text=text, headers={"Content-Type": CONTENT_TYPE})


CTRL_C_GRACE_S = 3.0


async def serve(
    app: web.Application, service: Service, address: tuple[str, int], drain_s: float, grace_s: float
) -> None:
    """Serve until SIGTERM or Ctrl-C, then end in order.

    `drain_s` seconds `/ready` says no while requests are still taken, so that a balancer turns away
    first; then no connection is taken, and answers under way have `grace_s` seconds. Ctrl-C skips
    the first and gives answers CTRL_C_GRACE_S at most, as somebody waits at the terminal; a second
    signal ends at once.
    """
    runner = ProxyRunner(app, grace_s)
    await runner.setup()
    await web.TCPSite(runner, *address).start()
    print(f"Ballast's proxy answers at http://{address[0]}:{address[1]}", flush=True)
    if await _signal() == signal.SIGTERM:
        service.is_draining = True
        logger.info("ending: %d requests under way", service.metrics.n_running)
        await _signal(drain_s)
    else:
        service.is_draining = True
        await _cut(runner, min(grace_s, CTRL_C_GRACE_S))
    cleaned, again = asyncio.ensure_future(runner.cleanup()), asyncio.ensure_future(_signal())
    await asyncio.wait({cleaned, again}, return_when=asyncio.FIRST_COMPLETED)
    again.cancel()


async def _cut(runner: web.AppRunner, grace_s: float) -> None:
    """Take no more connections; what is not answered after so many seconds is cut."""
    for site in list(runner.sites):
        await site.stop()
    if runner.server is not None:
        await runner.server.shutdown(grace_s)


async def _signal(timeout_s: float | None = None) -> signal.Signals | None:
    """The next signal that means an end; None after so many seconds without one."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[signal.Signals] = loop.create_future()

    def take(sign: signal.Signals) -> None:
        if not came.done():
            came.set_result(sign)

    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, take, sign)
    try:
        return await asyncio.wait_for(came, timeout_s)
    except TimeoutError:
        return None

"""Telling the control plane in words why this instance does not serve."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp

from workers.pyworker.reporting.control_plane import ControlPlane, ControlPlaneError
from workers.pyworker.reporting.messages import REPORT_VERSION
from workers.pyworker.settings import ReporterIdentity
from workers.pyworker.tickets.server_clock import steady_now

logger = logging.getLogger(__name__)

REPORT_AGAIN_S = 30.0
FIRST_PAUSE_S = 5.0
Made = TypeVar("Made")


class ErrorReports:
    """Reports that say nothing but an error; a failed delivery is logged."""

    def __init__(self, identity: ReporterIdentity, http: aiohttp.ClientSession) -> None:
        self._identity = identity
        self._control_plane = ControlPlane(identity.control_plane, http)

    async def tell(self, error: str) -> None:
        """Report it once."""
        logger.error("reported", extra={"error": error})
        message: dict[str, object] = {
            "id": self._identity.instance_id,
            "mtoken": self._identity.master_token,
            "version": REPORT_VERSION,
            "ticket": "D",
            "seq": int(steady_now() * 1000),
            "error_msg": error,
        }
        try:
            await self._control_plane.send_report(message)
        except ControlPlaneError as failure:
            logger.warning("report not delivered", extra={"reason": str(failure)})

    async def until_done(self, what: str, step: Callable[[], Awaitable[Made]]) -> Made:
        """Take a step again and again until it succeeds; what is in its way is reported.

        A disk, a certificate and a port are the instance's, and may be mended while we wait.
        """
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return await step()
            except (OSError, ValueError) as error:
                await self.tell(f"{what}: {error}")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, REPORT_AGAIN_S)  # a step may ask others, as Vast's signer

    async def repeat(self, error: str) -> None:
        """Report it again and again until cancelled: only the owner can change it."""
        while True:
            await self.tell(error)
            await asyncio.sleep(REPORT_AGAIN_S)

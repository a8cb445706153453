"""The PyWorker's HTTP client to the control plane: public key, reports, finished requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import aiohttp

from workers.pyworker.settings import ControlPlaneAddress

TIMEOUT_S = 10.0


class ControlPlaneError(Exception):
    """The control plane did not answer 2xx; the message has no secrets."""


class ControlPlane:
    """One connection pool to REPORT_ADDR; user-info goes as Basic authorisation."""

    def __init__(self, address: ControlPlaneAddress, http: aiohttp.ClientSession) -> None:
        self._url = address.url
        self._http = http
        self._headers: dict[str, str] = {}
        if address.user or address.password:
            basic = aiohttp.encode_basic_auth(address.user, address.password)
            self._headers["Authorization"] = basic

    async def fetch_public_key(self) -> str:
        """The PEM text for this instance.

        Raises:
            ControlPlaneError: no 2xx answer.
        """
        return (await self._call("GET", "/pubkey/", None))[0]

    async def send_report(self, report: dict[str, object]) -> dict[str, object]:
        """Deliver a report; the reply's fields, `now` from its Date header if it names none.

        Raises:
            ControlPlaneError: no 2xx answer.
        """
        text, headers = await self._call("POST", "/worker_status/", report)
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = None
        reply: dict[str, object] = parsed if isinstance(parsed, dict) else {}
        reply.setdefault("now", _date(headers.get("Date", "")))
        return reply

    async def send_finished(self, body: dict[str, object]) -> None:
        """Deliver a batch of finished requests.

        Raises:
            ControlPlaneError: no 2xx answer.
        """
        await self._call("POST", "/delete_requests/", body)

    async def _call(
        self, method: str, path: str, body: dict[str, object] | None
    ) -> tuple[str, Mapping[str, str]]:
        try:
            async with self._http.request(
                method,
                self._url + path,
                json=body,
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                allow_redirects=False,
            ) as response:
                if not 200 <= response.status < 300:
                    raise ControlPlaneError(f"{path} answered HTTP {response.status}")
                return await response.text(), response.headers
        except (TimeoutError, aiohttp.ClientError, UnicodeDecodeError) as error:
            raise ControlPlaneError(f"{path} failed: {type(error).__name__}") from error


def _date(header: str) -> float | None:
    try:
        return parsedate_to_datetime(header).timestamp()
    except ValueError:
        return None

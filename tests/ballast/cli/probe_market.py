"""A pretend market in virtual time behind the probe's transport, and single changes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from werkzeug.test import Client
from werkzeug.wrappers import Response

from ballast.cli.probe.prober import Prober
from ballast.cli.probe.records import Recorder
from chalicelib.adapters.vast.http import VastAnswer, VastRequest
from fakes.market.market import Market
from fakes.ports.clock import ManualClock
from lab.local.market.marketplace_processes import ProcessDriver
from lab.local.market.marketplace_server import MarketplaceApp
from lab.local.market.marketplace_world import MarketWorld

URL = "https://console.vast.ai"
KEY = "probe-key-canary-0123456789abcdef"
Change = Callable[[VastRequest, VastAnswer], VastAnswer]


@dataclass(slots=True)
class ProbeMarket:
    """The market, the probe's clock, and what is changed in its answers."""

    changes: list[Change] = field(default_factory=list)
    clock: ManualClock = field(default_factory=ManualClock)
    market: Market = field(default_factory=Market)
    ignored: str = ""  # calls that are answered with a success and do nothing

    def prober(self) -> Prober:
        """A probe of this market."""
        world = MarketWorld(self.market, cast(ProcessDriver, None), now=self.clock.now)
        client = Client(MarketplaceApp(world, KEY), Response)

        def send(request: VastRequest) -> VastAnswer:
            if "/logs/" in request.url or not request.url.startswith(f"{URL}/api"):
                return VastAnswer(200, "ballast-probe-was-here\n")
            if self.ignored and self.ignored in f"{request.method} {request.url}":
                return VastAnswer(200, '{"success": true}')
            headers = {"Authorization": f"Bearer {request.api_key}", "Host": "127.0.0.1"}
            found = client.open(
                request.url.removeprefix(URL),
                method=request.method,
                query_string=dict(request.params),
                json=request.body,
                headers=headers,
            )
            text = found.text.replace("http://127.0.0.1", "https://logs.example")
            answer = VastAnswer(found.status_code, text, dict(found.headers))
            for change in self.changes:
                answer = change(request, answer)
            return answer

        return Prober(
            url=URL,
            api_key=KEY,
            send=send,
            clock=self.clock,
            recorder=Recorder("2026-11-29"),
        )


def editing(call: str, edit: Callable[[dict[str, Any]], None]) -> Change:
    """Change the JSON of the answers to calls whose method and path hold this text."""

    def change(request: VastRequest, answer: VastAnswer) -> VastAnswer:
        if call not in f"{request.method} {request.url}" or not answer.text.startswith("{"):
            return answer
        body = json.loads(answer.text)
        edit(body)
        return VastAnswer(answer.status, json.dumps(body), answer.headers)

    return change


def answering(call: str, status: int, text: str) -> Change:
    """Give this answer to such calls, whatever the market said."""

    def change(request: VastRequest, answer: VastAnswer) -> VastAnswer:
        if call in f"{request.method} {request.url}":
            return VastAnswer(status, text, {})
        return answer

    return change


def each_row(name: str, edit: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], None]:
    """Edit every row under a member."""

    def change(body: dict[str, Any]) -> None:
        rows = body.get(name)
        for row in rows if isinstance(rows, list) else []:
            edit(row)

    return change

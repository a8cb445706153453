"""The environment never overrides an explicit key, nor sends somebody else's: ~/.netrc, proxies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from ballast.cli.errors import CliError
from ballast.cli.models.hub import fetch_facts
from ballast.cli.remote.server import Server
from ballast.client.errors import CallError
from ballast.client.transport import Transport
from ballast.client.trust import RootUnavailableError, fetch_root
from ballast.proxy.server import ProxySettings, make_application
from chalicelib.adapters.system import SystemClock
from chalicelib.adapters.vast.client import VastMarketplace
from chalicelib.adapters.vast.http import VastRequest, send_over_http
from chalicelib.ports.marketplace import MarketplaceError
from fakes.local_http import QuietHandler, serving

KEY = "the-explicit-key"
NETRC = {
    "default": "default login anonymous password canary-of-netrc\n",
    "host": "machine 127.0.0.1 login somebody password canary-of-netrc\n",
}
Call = Callable[[str], object]


class Recorder(QuietHandler):
    """Remembers what each request carried; answers an empty object."""

    seen: list[str] = []  # noqa: RUF012  filled by the server's thread, read after it

    def answer(self) -> None:
        self.read()
        self.seen.append(str(self.headers))
        self.reply(200, b"{}")


@pytest.fixture
def url() -> Iterator[str]:
    Recorder.seen.clear()
    with serving(Recorder) as address:
        yield f"http://{address}"


def marketplace(url: str) -> VastMarketplace:
    """The adapter as the functions and `panic --direct` use it."""
    return VastMarketplace(url=url, api_key=lambda: KEY, clock=SystemClock())


def through_the_proxy(url: str) -> None:
    """A caller's chat; the proxy asks `/route/` again and again, so we leave after a moment."""

    async def chat() -> None:
        app = make_application(ProxySettings(url=url, endpoint="llm", api_key=KEY))
        async with TestClient(TestServer(app)) as caller:
            body = {"model": "llm", "messages": [{"role": "user", "content": "hello"}]}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await caller.post("/v1/chat/completions", json=body)

    asyncio.run(chat())


WITH_A_KEY: dict[str, Call] = {
    "adapter, listing": lambda url: marketplace(url).list_instances(),
    "adapter, destroy": lambda url: marketplace(url).destroy_instances([7]),
    "adapter, search": lambda url: marketplace(url).search_offers({}, disk_gb=8, limit=1),
    "command line": lambda url: Server(url, KEY).get("/api/v0/endptjobs/"),
    "command line, change": lambda url: Server(url, KEY).put("/api/v0/endptjobs/1/", {}),
    "proxy": through_the_proxy,
    "a private model's facts": lambda url: fetch_facts("o/m", KEY),
    "client": lambda url: Transport(url, KEY).route("llm", 1.0, 0),
}
WITHOUT_A_KEY: dict[str, Call] = {
    "adapter, a log's place": lambda url: send_over_http(
        VastRequest(method="GET", url=url, api_key="")
    ),
    "the public root": fetch_root,
    "a public model's facts": lambda url: fetch_facts("o/m"),
}
REFUSALS = (CliError, CallError, RootUnavailableError, MarketplaceError)


@pytest.mark.parametrize("netrc", NETRC)
@pytest.mark.parametrize("name", [*WITH_A_KEY, *WITHOUT_A_KEY])
def test_netrc_neither_replaces_a_key_nor_is_sent(
    url: str, name: str, netrc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some FTP packages write a `default` entry; requests would prefer it over a header."""
    path = tmp_path / "netrc"
    path.write_text(NETRC[netrc])
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", url)
    with contextlib.suppress(*REFUSALS):
        {**WITH_A_KEY, **WITHOUT_A_KEY}[name](url)
    assert Recorder.seen
    for headers in Recorder.seen:
        assert "canary" not in headers
        assert "Basic" not in headers
        assert (f"Bearer {KEY}" in headers) is (name in WITH_A_KEY)

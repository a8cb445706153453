"""A prompt with a word that stands nowhere else, on every path: no log and no message has it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from ballast.client.async_sdk import AsyncClient
from ballast.client.errors import CallError
from ballast.client.sdk import Client
from ballast.proxy.server import ProxySettings, make_application
from fakes.control_plane_server import ControlPlaneServer
from tests.ballast.client.world import Servers, real_worker, served, servers

CANARY = "zwqx-diary"
PROMPT = f"{CANARY} begins here. " * 300
CHAT = {"messages": [{"role": "system", "content": PROMPT}, {"role": "user", "content": PROMPT}]}
WAIT = {"endpoint": "llm", "request_idx": 7, "status": "no worker", "poll_after_s": 0.05}


@pytest.fixture
def it() -> Iterator[Servers]:
    with servers() as running:
        yield running


def left(control_plane: ControlPlaneServer, caplog: pytest.LogCaptureFixture) -> str:
    """All that the control plane was told, and every line that was logged, with what it carries."""
    told = vars(control_plane) | {"signer": None, "next_grant": None}
    return repr(told) + repr([vars(r) | {"text": r.getMessage()} for r in caplog.records])


def fine(_it: Servers) -> None:
    """Nothing is scripted."""


def worker_fails(it: Servers) -> None:
    it.worker.statuses[:] = [500, 422, 401, 503]


def plane_fails(it: Servers) -> None:
    it.control_plane.route_replies[:] = [(500, {}), (400, {"error_msg": "no"})]


def nobody_is_free(it: Servers) -> None:
    it.control_plane.route_replies[:] = [(200, dict(WAIT))] * 100


def worker_is_gone(it: Servers) -> None:
    it.worker_url = "http://127.0.0.1:9"


@pytest.mark.parametrize("how", [fine, worker_fails, plane_fails, nobody_is_free, worker_is_gone])
def test_sdk_and_async_sdk_tell_nothing_of_a_prompt(
    it: Servers, how: Callable[[Servers], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    how(it)
    with Client("blk.key", it.control_plane_url) as client:
        for ask in (client.request, client.stream):
            with suppress(CallError):
                ask("llm", "/generate", CHAT, timeout_s=0.6, conversation=CANARY).close()

        async def ask_too() -> None:
            answer = await AsyncClient(client).request("llm", "/generate", CHAT, timeout_s=0.6)
            await answer.json()

        how(it)
        with suppress(CallError):
            asyncio.run(ask_too())
    assert len(it.control_plane.routes) >= 3
    assert all(len(body["affinity"]) == 2 for body in it.control_plane.routes)  # type: ignore[arg-type]
    assert CANARY not in left(it.control_plane, caplog)


def test_proxy_and_worker_tell_nothing_of_a_prompt_however_it_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    caplog.set_level("INFO", logger="urllib3")  # this test's own caller, which has a query
    asked = [
        {"inputs": PROMPT, "parameters": {"max_new_tokens": 5}},
        {"inputs": PROMPT, "parameters": {"max_new_tokens": 5, "status": 500}},
        {"inputs": PROMPT, "parameters": {"max_new_tokens": [PROMPT]}},
        {"inputs": PROMPT, "parameters": PROMPT},
        {"inputs": [PROMPT]},
        {"inputs": {PROMPT: PROMPT}},
        {PROMPT: 1},
    ]
    with real_worker(tmp_path) as (world, url):
        settings = ProxySettings(url=url, endpoint="TGI-Llama3")
        with served(make_application(settings)) as proxy, requests.Session() as http:
            http.headers["Authorization"] = "Bearer blk.caller"
            http.headers["Ballast-Conversation"] = CANARY
            http.headers["Content-Type"] = "application/json"
            bodies = [json.dumps(one) for one in asked] + [PROMPT, json.dumps([PROMPT])]
            statuses = [
                http.post(proxy + path, data=body, timeout=20).status_code
                for path in ("/generate", "/generate_stream", f"/v1/completions?prompt={CANARY}")
                for body in bodies
            ]
        ticket = world.ticket()
        worker = world.worker.settings.url + "/generate"
        for raw in (PROMPT, json.dumps({"payload": PROMPT}), json.dumps({"auth_data": PROMPT})):
            requests.post(worker, data=raw, timeout=20)
        requests.post(worker, json={"auth_data": ticket, "payload": [PROMPT]}, timeout=20)
        assert statuses[0] == 200
        assert max(statuses) >= 500
        assert {400, 500} <= set(statuses)
        assert world.control_plane.routes
        assert CANARY not in left(world.control_plane, caplog)

"""Clients that are not ours work against our worker, and older tickets only while migrating."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import requests
from aiohttp import web

from chalicelib.wire.ticket import Ticket
from fakes.certificate_authority import CertificateAuthority
from tests.wire.javascript import through_javascript
from tests.workers.world import World, prompt, serve, world

ROOT = Path(__file__).parents[2]


def grant_by(it: World) -> None:
    it.control_plane.next_grant = lambda body: it.ticket(
        cost=body["cost"], endpoint=body["endpoint"]
    )


def control_plane_url(it: World) -> str:
    return it.worker.settings.control_plane.url


async def test_the_quick_starts_printed_example(tmp_path: Path) -> None:
    """The seed's two functions, with only the host changed."""

    def get_endpoint_group_response(url: str) -> str:
        auth_data = requests.post(
            url + "/route/",
            json={"api_key": "KEY", "endpoint": "TGI-Llama3", "cost": 256},
            timeout=60,
        ).json()
        payload = {"inputs": "What is the best movie?", "parameters": {"max_new_tokens": 256}}
        worker_url = urljoin(auth_data["url"], "/generate")
        body = {"auth_data": auth_data, "payload": payload}
        return requests.post(worker_url, json=body, timeout=60).text

    async with world(tmp_path) as it:
        grant_by(it)
        text = await asyncio.to_thread(get_endpoint_group_response, control_plane_url(it))
        assert json.loads(text)["inputs"] == "What is the best movie?"


async def test_a_client_of_2024_that_passes_on_five_fields(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        ticket = it.ticket()
        auth_data = {k: ticket[k] for k in ("signature", "cost", "endpoint", "reqnum", "url")}
        assert (await it.post(auth_data=auth_data))[0] == 200


async def test_a_client_in_javascript_that_rewrites_numbers(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        rewritten = through_javascript(it.ticket())
        assert isinstance(rewritten, dict)
        assert json.dumps(rewritten["cost"]) == "100"
        assert (await it.post(auth_data=rewritten))[0] == 200


async def test_the_vendors_sdk_plain_streaming_and_in_a_session(tmp_path: Path) -> None:
    async with world(tmp_path) as it, serve(console()) as console_url:
        grant_by(it)
        script = SDK_SCRIPT.format(console=console_url, router=control_plane_url(it))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", "-c", script),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"HOME": str(tmp_path), "PATH": ""},
        )
        stdout, stderr = await asyncio.wait_for(process.communicate(), 120)
        assert process.returncode == 0, stderr.decode()[-2000:]
        said = json.loads(stdout.decode().splitlines()[-1])
        assert said["plain"]["inputs"] == "hello"
        assert said["streamed"] == "01234"
        assert [r["inputs"] for r in said["in_session"]] == ["a", "b"]
        await it.until(lambda: len(it.control_plane.finished) == 3, "plain, stream, session")
        assert {r["status"] for r in it.control_plane.finished} == {"Success"}


def console() -> web.Application:
    """What the SDK asks a console for."""
    row = {
        "id": 7,
        "endpoint_name": "TGI-Llama3",
        "api_key": "endpoint-key",
        "user_id": 1,
        "created_at": 1.0,
    }
    pem = CertificateAuthority().pem

    async def endpoints(_request: web.Request) -> web.Response:
        return web.json_response({"success": True, "results": [row]})

    async def root(_request: web.Request) -> web.Response:
        return web.Response(body=pem)

    app = web.Application()
    app.router.add_get("/api/v0/endptjobs/", endpoints)
    app.router.add_get("/static/jvastai_root.cer", root)
    return app


SDK_SCRIPT = """
import asyncio, json
from vastai import Serverless

async def main():
    Serverless.SSL_CERT_URL = "{console}/static/jvastai_root.cer"
    client = Serverless(
        api_key="account", autoscaler_url="{router}", webserver_url="{console}"
    )
    async with client:
        endpoint = await client.get_endpoint("TGI-Llama3")
        payload = {{"inputs": "hello", "parameters": {{"max_new_tokens": 10}}}}
        plain = await endpoint.request("/generate", payload, cost=10)
        stream = await endpoint.request("/generate_stream", payload, cost=10, stream=True)
        streamed = ""
        async for event in stream["response"]:
            streamed += str(event).strip()
        session = await endpoint.session(cost=10, lifetime=30)
        in_session = []
        for text in ("a", "b"):
            answer = await session.request("/generate", {{"inputs": text}})
            in_session.append(answer["response"])
        await session.close()
    said = {{"plain": plain["response"], "streamed": streamed, "in_session": in_session}}
    print(json.dumps(said))

asyncio.run(main())
"""


def older_ticket(it: World, generation: str, reqnum: int = 1) -> dict[str, Any]:
    url = it.worker.settings.url
    ticket = Ticket(cost=100, endpoint="e", reqnum=reqnum, request_idx=9, url=url)
    text = getattr(ticket, f"signed_bytes_{generation.lower()}")()
    return {
        "cost": 100,
        "endpoint": "e",
        "reqnum": reqnum,
        "request_idx": 9,
        "url": url,
        "signature": it.control_plane.signer.sign_text(text),
    }


async def test_older_generations_are_refused_unless_the_owner_migrates(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        for generation in "ABC":
            assert (await it.post(auth_data=older_ticket(it, generation)))[0] == 401
    async with world(tmp_path, ACCEPT_TICKETS="D,A,C") as it:
        assert (await it.post(auth_data=older_ticket(it, "A")))[0] == 200
        assert (await it.post(auth_data=older_ticket(it, "A")))[0] == 401  # used before
        assert (await it.post(auth_data=older_ticket(it, "B", 2)))[0] == 401  # not listed
        assert (await it.post(auth_data=older_ticket(it, "C")))[0] == 200
        elsewhere = {**older_ticket(it, "A", 3), "url": "http://127.0.0.1:1"}
        assert (await it.post(auth_data=elsewhere))[0] == 401
        assert (await it.post(auth_data={**older_ticket(it, "A", 4), "cost": 1}))[0] == 401
        assert (await it.post())[0] == 200


ONLY_REQUIREMENTS = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"aiohttp", "matplotlib", "numpy", "httpx", "psutil", "openai"}:
            raise ImportError(f"{name} is not in requirements.txt")
sys.meta_path.insert(0, Blocker())
import ballast.client.sdk, ballast.client.async_sdk, ballast.client.trust
from workers.tgi import client, test_load
from workers.openai import client, test_load
from workers.comfyui import client, test_load
from workers.hello_world import client, test_load
"""


def test_clients_and_load_tests_need_no_more_than_requirements_txt() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ONLY_REQUIREMENTS], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("route", ["/generate", "/generate_stream"])
async def test_a_caller_without_a_ticket_never_reaches_the_model(
    tmp_path: Path, route: str
) -> None:
    async with world(tmp_path) as it:
        for auth_data in ({"signature": ""}, {"signature": "x", "cost": 1}):
            assert (await it.post(route, auth_data, prompt()))[0] == 401
        async with it.http.post(it.worker.settings.url + route, json=prompt()) as answer:
            assert answer.status == 422
        assert it.model.bodies == []

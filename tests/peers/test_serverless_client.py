"""The vendor's `Serverless` client, unmodified but for its constructor's addresses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import requests
from vastai import Serverless

from lab.local.system.local_system import LocalSystem
from lab.local.system.owner import MarketView
from tests.peers.fleet import (
    OURS,
    OURS_WITH_TLS,
    READY_TIMEOUT_S,
    VENDOR,
    Fleet,
    Fleets,
    n_route_calls,
)

MAX_ROUTE_CALLS_PER_S = 5
N_AT_ONCE, LONG = 8, 1_500


def prompt(n_tokens: int = 8) -> dict[str, Any]:
    """A request as TGI takes it."""
    return {"inputs": "hello", "parameters": {"max_new_tokens": n_tokens}}


@asynccontextmanager
async def client_of(system: LocalSystem) -> AsyncIterator[Serverless]:
    """The vendor's client; its root certificate comes from our server, as documented."""

    class LocalServerless(Serverless):  # type: ignore[misc]
        SSL_CERT_URL = f"{system.url}/static/jvastai_root.cer"

    async with LocalServerless(
        api_key=system.account_key, autoscaler_url=system.url, webserver_url=system.url
    ) as client:
        yield client


@pytest.fixture
def fleet(fleets: Fleets) -> Fleet:
    """Two ready workers on the vendor's SDK."""
    fleet = fleets.get("peers-vendor", {VENDOR: 2})
    fleet.wait_ready(2)
    return fleet


async def test_a_plain_request(system: LocalSystem, fleet: Fleet) -> None:
    async with client_of(system) as client:
        endpoint = await client.get_endpoint(name=fleet.name)
        answer = await endpoint.request("/generate", prompt(), cost=8)
    assert answer["ok"], answer
    assert len(answer["response"]["generated_text"].split()) == 8


async def test_a_streamed_request(system: LocalSystem, fleet: Fleet) -> None:
    async with client_of(system) as client:
        endpoint = await client.get_endpoint(name=fleet.name)
        answer = await endpoint.request("/generate_stream", prompt(6), cost=6, stream=True)
        events = [event async for event in answer["response"]]
    assert [event["token"]["text"] for event in events if "token" in event][:2] == [
        " these",
        " are",
    ]
    assert len(events) == 6


async def test_fifty_requests_at_once(system: LocalSystem, fleet: Fleet) -> None:
    served_by: set[str] = set()
    ends_at = time.monotonic() + READY_TIMEOUT_S
    async with client_of(system) as client:
        endpoint = await client.get_endpoint(name=fleet.name)
        while len(served_by) < 2:  # both have their share, once routers know both
            assert time.monotonic() < ends_at
            with suppress(RuntimeError):  # it gives a busy machine no more than 10 s to route
                answers = await asyncio.gather(
                    *(endpoint.request("/generate", prompt(32), cost=32) for _ in range(50))
                )
                assert [answer["status"] for answer in answers] == [200] * 50
                served_by = {answer["url"] for answer in answers}


async def test_a_session_stays_on_its_worker(system: LocalSystem, fleet: Fleet) -> None:
    async with client_of(system) as client:
        endpoint = await client.get_endpoint(name=fleet.name)
        async with await endpoint.session(cost=50, lifetime=30) as session:
            answers = [
                await endpoint.request("/generate", prompt(), cost=8, session=session)
                for _ in range(3)
            ]
            assert {answer["url"] for answer in answers} == {session.url}
            assert await session.is_open()
    assert all(answer["ok"] for answer in answers)


async def test_get_workers(system: LocalSystem, fleet: Fleet) -> None:
    async with client_of(system) as client:
        endpoint = await client.get_endpoint(name=fleet.name)
        workers = await endpoint.get_workers()
    assert {worker.id for worker in workers} == {row["id"] for row in fleet.wait_ready(2)}
    assert all(worker.measured_perf > 0 for worker in workers)


async def test_a_killed_worker_is_left_for_another_at_a_civil_pace(
    system: LocalSystem, fleets: Fleets
) -> None:
    """On a refused connection this client asks 500 times a second for another; we pace it."""
    fleet = fleets.get("peers-killed", {OURS: 2})
    fleet.wait_ready(2)
    async with client_of(system) as client:
        endpoint = await client.get_endpoint(name=fleet.name)
        try:
            n_before, began_at = n_route_calls(system), time.monotonic()
            asked = asyncio.gather(
                *(endpoint.request("/generate", prompt(LONG), cost=LONG) for _ in range(N_AT_ONCE))
            )
            while n_route_calls(system) < n_before + N_AT_ONCE:
                await asyncio.sleep(0.05)
            while not (busy := [w for w in await endpoint.get_workers() if w.cur_load > 0]):
                assert not asked.done(), "none was seen busy"
                await asyncio.sleep(0.05)
            killed = max(busy, key=lambda worker: worker.cur_load)
            MarketView(system.market_url).set_fault("host-dies", instance_id=killed.id)
            answers = await asked
            n_calls, elapsed_s = n_route_calls(system) - n_before, time.monotonic() - began_at
            assert all(answer["ok"] for answer in answers), answers
            assert n_calls > N_AT_ONCE  # those who were at the killed one asked again
            assert n_calls <= N_AT_ONCE * (2 + MAX_ROUTE_CALLS_PER_S * elapsed_s)
        finally:
            MarketView(system.market_url).set_fault("host-dies", on=False)


async def test_a_client_without_the_certificate_takes_no_worker_from_others(
    system: LocalSystem, fleets: Fleets
) -> None:
    """It can reach nobody and asks again and again; the worker stays everybody else's."""
    fleet = fleets.get("peers-tls", {OURS_WITH_TLS: 1})
    async with client_of(system) as stranger:
        endpoint = await stranger.get_endpoint(name=fleet.name)
        n_before, began_at = n_route_calls(system), time.monotonic()
        lost = asyncio.ensure_future(endpoint.request("/generate", prompt(), cost=8, timeout=6))
        statuses = [await asyncio.to_thread(_serve_one, fleet) for _ in range(6)]
        with pytest.raises(asyncio.TimeoutError):
            await lost
    n_calls, elapsed_s = n_route_calls(system) - n_before, time.monotonic() - began_at
    assert statuses == [200] * 6
    assert 1 <= n_calls <= 2 + MAX_ROUTE_CALLS_PER_S * elapsed_s
    assert fleet.wait_ready(1)


def _serve_one(fleet: Fleet) -> int:
    """Another client, which trusts the worker: route, ask, and say the status."""
    ticket = fleet.owner.ticket(fleet.name, cost=8)
    body = {"auth_data": ticket, "payload": prompt()}
    (row,) = fleet.owner.workers(fleet.endpoint_id)
    disk = fleet.system.state_directory / "instances" / f"instance-{row['id']}" / "disk"
    certificate = str(disk / "worker.crt")
    url = f"{ticket['url']}/generate"
    return requests.post(url, json=body, verify=certificate, timeout=90).status_code

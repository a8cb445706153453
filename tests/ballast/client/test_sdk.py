"""The SDK routes, waits, retries with the same idx, streams, and keeps the key to itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ballast.client.async_sdk import AsyncClient
from ballast.client.errors import (
    RouteRefusedError,
    StreamBrokenError,
    WaitTimeoutError,
    WorkerRefusedError,
)
from ballast.client.sdk import Client
from tests.ballast.client.world import Servers, real_worker, servers
from tests.workers.world import free_port, prompt

KEY = "blk.e7-r-own.1.secret"
WAITING = (200, {"endpoint": "e", "request_idx": 55, "status": "1 loading", "poll_after_s": 0.25})


@pytest.fixture
def it() -> Iterator[Servers]:
    with servers() as running:
        yield running


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(it: Servers, pauses: list[float]) -> Iterator[Client]:
    with Client(KEY, it.control_plane_url, pause=pauses.append) as open_client:
        yield open_client


def test_a_request_is_routed_and_answered(it: Servers, client: Client) -> None:
    with client.request("TGI-Llama3", "/generate", {"inputs": "hi"}, cost=256) as answer:
        assert answer.json() == {"inputs": "hi"}
    (asked,) = it.control_plane.routes
    assert asked == {
        "endpoint": "TGI-Llama3",
        "cost": 256,
        "request_idx": 0,
        "paced": True,
        "route": "/generate",
    }
    assert it.worker.bodies[0].keys() == {"auth_data", "payload"}


def test_the_key_goes_to_the_control_plane_and_never_to_a_worker(
    it: Servers, client: Client
) -> None:
    client.request("e", "/generate", {"inputs": "hi"}).close()
    assert it.control_plane.route_authorizations == [f"Bearer {KEY}"]
    sent = json.dumps([it.worker.bodies, it.worker.headers, it.worker.queries])
    assert KEY not in sent
    assert "Authorization" not in sent


def test_one_trace_leads_from_the_caller_to_the_worker(it: Servers, client: Client) -> None:
    ours = "4bf92f3577b34da6a3ce929d0e0e4736"
    it.control_plane.route_replies = [WAITING]
    header = f"00-{ours}-00f067aa0ba902b7-01"
    with client.request("e", "/generate", {}, traceparent=header) as answer:
        assert answer.trace.trace_id == ours
    sent = [*it.control_plane.route_traces, it.worker.headers[0]["traceparent"]]
    assert [text.split("-")[1] for text in sent] == [ours] * 3
    with client.request("e", "/generate", {}) as answer:
        assert answer.trace.trace_id == it.worker.headers[1]["traceparent"].split("-")[1] != ours


def test_waiting_follows_the_servers_pace_and_keeps_the_idx(
    it: Servers, client: Client, pauses: list[float]
) -> None:
    it.control_plane.route_replies = [WAITING, WAITING]
    answer = client.request("e", "/generate", {})
    assert pauses == [0.25, 0.25]
    assert [body["request_idx"] for body in it.control_plane.routes] == [0, 55, 55]
    assert answer.trace.status == "1 loading"


@pytest.mark.parametrize("status", [408, 424, 429, 500, 502, 503])
def test_a_worker_that_fails_is_left_for_another_under_the_same_idx(
    it: Servers, client: Client, status: int, pauses: list[float]
) -> None:
    it.worker.statuses = [status]
    with client.request("e", "/generate", {"inputs": "hi"}) as answer:
        assert answer.json() == {"inputs": "hi"}
    assert [body["request_idx"] for body in it.control_plane.routes] == [0, 77]
    assert len(answer.trace.worker_urls) == 2
    assert len(pauses) == 1
    assert pauses[0] < 0.3


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_an_answer_that_no_worker_would_better_is_told_at_once(
    it: Servers, client: Client, status: int
) -> None:
    it.worker.statuses = [status]
    with pytest.raises(WorkerRefusedError) as caught:
        client.request("e", "/generate", {})
    assert caught.value.http_status == status
    assert len(it.control_plane.routes) == 1


def test_a_dead_worker_costs_few_route_calls(
    it: Servers, client: Client, pauses: list[float]
) -> None:
    dead = {**it.grant({"endpoint": "e", "cost": 1}), "url": f"http://127.0.0.1:{free_port()}"}
    it.control_plane.route_replies = [(200, dead)] * 4
    client.request("e", "/generate", {}).close()
    assert len(it.control_plane.routes) == 5
    assert pauses == sorted(pauses)
    assert sum(pauses) > 2


def test_a_refused_key_is_an_error_at_once(it: Servers, client: Client) -> None:
    it.control_plane.route_replies = [
        (401, {"error": "auth_error", "error_msg": "invalid api_key"})
    ]
    with pytest.raises(RouteRefusedError, match="invalid api_key"):
        client.request("e", "/generate", {})


def test_a_control_plane_in_trouble_is_asked_again(
    it: Servers, client: Client, pauses: list[float]
) -> None:
    it.control_plane.route_replies = [(500, {}), (429, {})]
    client.request("e", "/generate", {}).close()
    assert len(pauses) == 2


def test_waiting_ends_with_the_groups_own_words(it: Servers, client: Client) -> None:
    it.control_plane.route_replies = [WAITING] * 3
    with pytest.raises(WaitTimeoutError, match="1 loading"):
        client.request("e", "/generate", {}, timeout_s=0.2)


def test_without_a_control_plane_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BALLAST_URL", raising=False)
    with pytest.raises(ValueError, match="BALLAST_URL"):
        Client(KEY)


def test_a_key_that_was_not_copied_whole_is_told_without_quoting_it() -> None:
    with pytest.raises(ValueError, match="copied whole") as caught:
        Client("blk.…", "http://127.0.0.1:1")
    assert "blk" not in str(caught.value)


def test_a_stream_arrives_in_pieces_and_a_broken_one_says_so(tmp_path: Path) -> None:
    with real_worker(tmp_path) as (it, url):
        with Client(KEY, url) as client:
            with client.stream("e", "/generate_stream", prompt(n_chunks=3, chunk_s=0.05)) as answer:
                assert b"".join(answer.chunks()) == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
            broken = client.stream("e", "/generate_stream", prompt(n_chunks=9, break_after=2))
            with broken, pytest.raises(StreamBrokenError):
                broken.content()
        assert it.control_plane.route_authorizations[0] == f"Bearer {KEY}"


async def test_asyncio_programs_call_without_blocking(it: Servers) -> None:
    async with AsyncClient(Client(KEY, it.control_plane_url)) as client:
        async with await client.request("e", "/generate", {"inputs": "hi"}) as answer:
            assert await answer.json() == {"inputs": "hi"}
        async with await client.stream("e", "/generate", {"inputs": "hi"}) as answer:
            assert b"".join([chunk async for chunk in answer.chunks()]) == b'{"inputs": "hi"}'

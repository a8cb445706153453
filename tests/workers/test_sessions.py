"""Sessions: opened by one ticket, which may then be used again inside them and nowhere else."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from chalicelib.core.model.caller_key import key_name, own_key_id
from chalicelib.ports.bundles import HotPorts
from chalicelib.services.keys import issue_key, revoke_key, worker_token
from chalicelib.services.routing.reports import ReportsMemory, receive_report
from chalicelib.services.routing.session_keys import SEEN_S
from chalicelib.wire.reports import WorkerReport
from chalicelib.wire.ticket import TICKET_HEADER
from fakes.bundles.hot_ports import INTENT_TOKEN, OWN_SOFTWARE, HotWorld, make_group
from fakes.control_plane_server import ControlPlaneServer
from fakes.ports.clock import ManualClock
from tests.workers.world import QUICK_TGI, World, prompt, world
from workers.pyworker.reporting.load_ledger import LoadLedger, RequestFacts
from workers.pyworker.serving.envelope import Envelope
from workers.pyworker.serving.sessions import MAX_LIFETIME_S, SessionTable, SessionTerms


async def create(it: World, **payload: object) -> tuple[int, dict[str, Any], dict[str, object]]:
    ticket = it.ticket()
    status, body = await it.post("/session/create", ticket, {"lifetime": 60.0, **payload})
    return status, json.loads(body), ticket


async def session_call(
    it: World, verb: str, session_id: str, ticket: object
) -> tuple[int, dict[str, Any]]:
    body = {"session_id": session_id, "session_auth": ticket}
    url = f"{it.worker.settings.url}/session/{verb}"
    async with it.http.post(url, json=body) as answer:
        return answer.status, await answer.json()


async def test_a_session_lives_from_create_to_end(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        status, opened, ticket = await create(it)
        session_id = opened["session_id"]
        assert status == 201
        assert (await session_call(it, "health", session_id, ticket)) == (200, {"ok": True})
        for _ in range(3):  # the same ticket, inside the session it opened
            assert (await it.post(auth_data=ticket, session_id=session_id))[0] == 200
        status, got = await session_call(it, "get", session_id, ticket)
        assert (status, got["lifetime"], got["auth_data"]) == (200, 60.0, ticket)
        assert got["expiration"] > opened["expiration"]  # a request keeps it open
        assert (await session_call(it, "end", session_id, ticket))[0] == 200
        assert (await session_call(it, "end", session_id, ticket))[0] == 400
        assert (await session_call(it, "health", session_id, ticket)) == (200, {"ok": False})
        assert (await it.post(auth_data=ticket, session_id=session_id))[0] == 410
        await it.until(lambda: it.counters()["n_served"] == 4, "the session and its requests")
        assert it.counters()["cur_load"] == 0
        assert it.counters()["received_load"] == it.counters()["finished_load"] == 100
        assert it.counters()["served_workload"] == 3 * 100 + 300  # the seat is worth its requests


async def test_a_session_is_work_in_flight_while_it_is_open(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await create(it)
        await it.until(lambda: it.counters()["cur_load"] == 100, "its cost is reported")
        assert (await it.post())[0] == 200  # nobody queues behind it


@pytest.mark.parametrize("how", ["forged", "replayed", "for another worker"])
async def test_opening_a_session_needs_a_good_ticket(tmp_path: Path, how: str) -> None:
    async with world(tmp_path) as it:
        ticket = it.ticket(instance_id=1) if how == "for another worker" else it.ticket()
        if how == "forged":
            ticket["cost"] = 1
        elif how == "replayed":
            assert (await it.post(auth_data=ticket))[0] == 200
        assert (await it.post("/session/create", ticket, {}))[0] == 401


async def test_nobody_else_gets_into_or_ends_a_session(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        _, opened, _ = await create(it)
        stranger, session_id = it.ticket(), opened["session_id"]
        assert (await it.post(auth_data=stranger, session_id=session_id))[0] == 401
        for verb in ("get", "end", "health"):
            assert (await session_call(it, verb, session_id, stranger))[0] == 401
        assert (await it.post(auth_data=stranger))[0] == 200  # its own ticket is still good


async def test_what_is_no_text_opens_no_session_and_breaks_nothing(tmp_path: Path) -> None:
    """Half a surrogate pair was anybody's 500 with a traceback, as long as a session was open."""
    half = {"signature": "\ud800"}
    async with world(tmp_path) as it:
        _, opened, _ = await create(it)
        session_id = opened["session_id"]
        assert (await session_call(it, "get", session_id, half))[0] == 401
        assert (await it.post(auth_data=half, session_id=session_id))[0] == 401
        assert (await it.post(auth_data=half, payload={"text": "x" * 40_000}))[0] == 401
        reader, writer = await asyncio.open_connection("127.0.0.1", it.worker.settings.port)
        header = TICKET_HEADER.encode() + b": \xff\xfe\r\n"
        writer.write(b"POST /generate HTTP/1.1\r\nHost: x\r\n" + header)
        writer.write(b"Content-Length: 2\r\n\r\n{}")
        assert b" 422 " in await reader.readline()
        writer.close()


async def test_the_opening_ticket_is_used_up_outside_of_its_session(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        _, _, ticket = await create(it)
        assert (await it.post(auth_data=ticket))[0] == 401


async def test_ending_a_session_stops_its_requests_and_calls_the_model(tmp_path: Path) -> None:
    closing = replace(QUICK_TGI, close_routes=frozenset({"/close"}))
    async with world(tmp_path, closing) as it:
        _, opened, ticket = await create(
            it, on_close_route="/close", on_close_payload={"note": "bye"}
        )
        body = {
            "auth_data": ticket,
            "session_id": opened["session_id"],
            "payload": prompt(n_chunks=10_000, chunk_s=0.01),
        }
        url = it.worker.settings.url + "/generate_stream"
        stream = asyncio.create_task(_read(it, url, body))
        await it.until(lambda: it.model.n_at_work == 1, "a stream runs")
        assert (await session_call(it, "end", opened["session_id"], ticket))[0] == 200
        assert await stream is False
        assert json.loads(it.model.bodies[-1]) == {
            "session_id": opened["session_id"],
            "note": "bye",
        }


async def _read(it: World, url: str, body: object) -> bool:
    """Whether the stream came whole."""
    try:
        async with it.http.post(url, json=body) as answer:
            await answer.read()
    except aiohttp.ClientError:
        return False
    return True


async def test_a_session_ends_when_it_did_what_its_cost_was_for(tmp_path: Path) -> None:
    """A ticket of cost 1 may do 100, as in the review's 64 answers of 200 tokens it may not."""
    async with world(tmp_path) as it:
        ticket = it.ticket(cost=1.0)
        _, body = await it.post("/session/create", ticket, {"lifetime": 60.0})
        inside = {"auth_data": ticket, "session_id": json.loads(body)["session_id"]}
        statuses = [
            (await it.post(payload=prompt(max_new_tokens=60), **inside))[0] for _ in range(4)
        ]
        assert statuses == [200, 200, 410, 410]
        await it.until(lambda: it.counters()["served_workload"] == 120, "they are booked")
        assert it.counters()["received_workload"] == 121


class AtWork:
    """A request that does not end."""

    def cancel(self) -> bool:
        """It is asked to."""
        return True


def test_a_session_is_over_after_an_hour_however_busy_it_is() -> None:
    terms = SessionTerms.from_payload({"lifetime": MAX_LIFETIME_S})
    facts = RequestFacts(request_idx=1, reqnum=1, cost=1.0, workload=1.0, is_session=True)
    table = SessionTable(0)
    envelope = Envelope({"signature": "x"}, {})
    session = table.open(envelope, terms, LoadLedger().enter(facts, 0.0), 0.0)
    for minute in range(60):
        session.extend(minute * 60.0)
    assert session.expires_at == MAX_LIFETIME_S
    session.at_work.add(AtWork())
    assert table.expired(MAX_LIFETIME_S - 1) == []
    assert table.expired(MAX_LIFETIME_S) == [session]


class Joined(ControlPlaneServer):
    """Reports are taken by the real services, over fakes whose time may be moved on."""

    def __init__(self) -> None:
        super().__init__()
        self.hot, self.memory, self.ahead_s = HotWorld(), ReportsMemory(), 0.0
        self.hot.publish(make_group())
        self.hot.add_worker(4711, **OWN_SOFTWARE)
        self.token = worker_token(self.hot.secrets, 7, INTENT_TOKEN.format(instance_id=4711))

    def ports(self) -> HotPorts:
        now = time.time() + self.ahead_s
        return replace(self.hot.ports(), clock=ManualClock(now))

    async def _report(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.reports.append(json.loads(body))
        reply = receive_report(self.ports(), self.memory, WorkerReport.from_json(body), "")
        assert reply is not None
        return web.json_response({"now": time.time(), "ended_keys": list(reply.ended_keys)})


@pytest.mark.parametrize("ends", ["revoked", "deleted", "its group's generation"])
async def test_a_session_ends_when_its_key_does(tmp_path: Path, ends: str) -> None:
    """It lived on for an hour; the stream that runs in it is cut, too."""
    joined = Joined()
    closing = replace(QUICK_TGI, close_routes=frozenset({"/close"}))
    async with world(tmp_path, closing, joined, MASTER_TOKEN=joined.token) as it:
        (_, row), (_, others) = (issue_key(joined.ports(), name=n, verbs=("route",)) for n in "xy")
        key_id = own_key_id(7) if ends == "its group's generation" else row.key_id
        name = key_name(key_id, 1)
        mine, other = it.ticket(key=name), it.ticket(key=key_name(others.key_id, 1))
        opened = {}
        for ticket, route in ((mine, "/generate"), (other, "/close")):
            terms = {"lifetime": 3_600.0, "on_close_route": route}
            status, body = await it.post("/session/create", ticket, terms)
            assert status == 201
            opened[str(ticket["signature"])] = json.loads(body)["session_id"]
        inside = {"auth_data": mine, "session_id": opened[str(mine["signature"])]}
        assert (await it.post(**inside))[0] == 200
        await it.until(lambda: name in str(it.counters().get("session_keys")), "it is told")
        endless = {**inside, "payload": prompt(n_chunks=10_000, chunk_s=0.01)}
        url = it.worker.settings.url + "/generate_stream"
        stream = asyncio.create_task(_read(it, url, endless))
        await it.until(lambda: it.model.n_at_work == 1, "a stream runs")
        n_asked = len(it.model.bodies)
        if ends == "revoked":
            revoke_key(joined.ports(), row.key_id)
        elif ends == "deleted":
            joined.hot.keys.remove(row.key_id)
        else:
            joined.hot.publish(make_group(key_generation=2))
        joined.ahead_s = SEEN_S
        async with asyncio.timeout(20):
            while (status := (await it.post(**inside))[0]) == 200:
                await asyncio.sleep(0.1)
        assert status == 410
        assert await asyncio.wait_for(stream, 20) is False  # the sweep comes every five seconds
        status, _ = await session_call(it, "get", inside["session_id"], mine)
        assert status == 400
        theirs = {"auth_data": other, "session_id": opened[str(other["signature"])]}
        assert (await it.post(**theirs))[0] == 200
        later = [body for body in it.model.bodies[n_asked:] if b"session_id" in body]
        assert later == []  # what its on_close route costs is not paid any more


async def test_too_many_sessions_are_turned_away(tmp_path: Path) -> None:
    async with world(tmp_path, MAX_SESSIONS="1") as it:
        assert (await create(it))[0] == 201
        assert (await create(it))[0] == 429


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"lifetime": -1}, "lifetime"),
        ({"lifetime": "long"}, "lifetime"),
        ({"lifetime": 1e9}, "lifetime"),
        ({"on_close_route": "http://169.254.169.254/"}, "on_close_route"),
        ({"on_close_payload": [1]}, "on_close_payload"),
        ({"lifetime": 86_400}, "lifetime"),
        # Inputs of the security review and of real vLLM: none of these is a route of TGI's.
        ({"on_close_route": "/v1/load_lora_adapter"}, "on_close_route"),
        ({"on_close_route": "/admin/unload?x=1"}, "on_close_route"),
        ({"on_close_route": "/generate?x=1"}, "on_close_route"),
        ({"on_close_route": "/../admin"}, "on_close_route"),
        ({"on_close_route": "/shutdown"}, "on_close_route"),
    ],
)
async def test_bad_terms_are_named(tmp_path: Path, payload: object, field: str) -> None:
    async with world(tmp_path) as it:
        status, body = await it.post("/session/create", payload=payload)
        assert status == 422
        assert field in json.loads(body)["payload"]

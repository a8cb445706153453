"""A ticket of a key with limits is good for what was taken from its quotas, in a session too."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from chalicelib.wire.ticket import Allowance
from tests.workers.world import QUICK_TGI, World, prompt, world


async def open_session(it: World, allowance: Allowance) -> tuple[str, dict[str, object]]:
    ticket = it.ticket(allowance=allowance)
    status, body = await it.post("/session/create", ticket, {"lifetime": 3_600.0})
    assert status == 201
    return str(json.loads(body)["session_id"]), ticket


async def test_a_request_may_ask_for_what_its_ticket_paid(tmp_path: Path) -> None:
    """A key of load 1/s said cost 0.0001 and had 47 answers of 200 tokens in 22 s."""
    async with world(tmp_path, QUICK_TGI) as it:
        for stated in (0.0, 0.0001, 99.9):
            ticket = it.ticket(cost=stated, allowance=Allowance(max_load=stated))
            status, body = await it.post(auth_data=ticket, payload=prompt(max_new_tokens=100))
            assert status == 422
            assert b"state the request's cost" in body
        ticket = it.ticket(cost=100.0, allowance=Allowance(max_load=100.0))
        assert (await it.post(auth_data=ticket, payload=prompt(max_new_tokens=100)))[0] == 200
        assert (await it.post(auth_data=it.ticket(cost=0.0001)))[0] == 200  # without limits


async def test_a_session_of_a_key_with_a_request_quota_is_one_request(tmp_path: Path) -> None:
    """64 generations of 200 tokens went through one grant of a key of 0.001 requests/s."""
    async with world(tmp_path, QUICK_TGI) as it:
        session_id, ticket = await open_session(it, Allowance(max_requests=1, max_load=150.0))
        statuses = [(await it.post(auth_data=ticket, session_id=session_id))[0] for _ in range(64)]
        assert (statuses.count(200), statuses.count(410)) == (1, 63)


async def test_a_session_does_the_load_that_was_paid(tmp_path: Path) -> None:
    async with world(tmp_path, QUICK_TGI) as it:
        session_id, ticket = await open_session(it, Allowance(max_load=250.0))
        statuses = [(await it.post(auth_data=ticket, session_id=session_id))[0] for _ in range(6)]
        assert statuses == [200, 200, 422, 422, 422, 422]


async def test_a_session_ends_with_its_key(tmp_path: Path) -> None:
    """After the key had expired the session still served."""
    async with world(tmp_path, QUICK_TGI) as it:
        ends_at = time.time() + 2.0
        session_id, ticket = await open_session(it, Allowance(ends_at=ends_at))
        assert (await it.post(auth_data=ticket, session_id=session_id))[0] == 200
        await asyncio.sleep(max(0.0, ends_at - time.time()) + 0.2)
        assert (await it.post(auth_data=ticket, session_id=session_id))[0] == 410


async def test_a_session_of_a_key_of_one_at_once_has_one_at_work(tmp_path: Path) -> None:
    async with world(tmp_path, QUICK_TGI) as it:
        session_id, ticket = await open_session(it, Allowance(max_at_once=1))
        calls = [it.post(auth_data=ticket, session_id=session_id) for _ in range(8)]
        statuses = [status for status, _ in await asyncio.gather(*calls)]
        assert set(statuses) == {200, 429}
        assert (await it.post(auth_data=ticket, session_id=session_id))[0] == 200

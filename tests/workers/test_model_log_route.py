"""`/model_log`: the log for its owner's ticket alone, in every state, to the end or live."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from chalicelib.wire.ticket import LOG_PATH
from tests.workers.world import World, loading, until, world
from workers.pyworker.serving.log_route import MAX_READERS


async def ask(it: World, auth_data: object = None, **payload: Any) -> tuple[int, str]:
    auth_data = it.ticket(reads_log=True) if auth_data is None else auth_data
    status, body = await it.post(LOG_PATH, auth_data, payload)
    return status, body.decode()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "model.log"
    path.write_text("".join(f"line {n}\n" for n in range(10)))
    return path


async def test_the_last_lines_and_those_of_the_start_before(tmp_path: Path, log: Path) -> None:
    async with world(tmp_path, MODEL_LOG=str(log)) as it:
        assert await ask(it, tail=2) == (200, "line 8\nline 9\n")
        assert (await ask(it))[1].count("\n") == 10
        assert await ask(it, tail=0) == (200, "")
        log.rename(tmp_path / "model.log.old")
        log.write_text("ValueError: no memory\nhalf a li")
        assert await ask(it, tail=4) == (
            200,
            "--- before the model server was last started ---\nline 8\nline 9\n"
            "--- since the model server was last started ---\nValueError: no memory\nhalf a li",
        )
        log.unlink()
        assert (await ask(it, tail=1))[0] == 200


async def test_it_is_read_while_the_worker_does_not_become_ready(tmp_path: Path, log: Path) -> None:
    async with loading(tmp_path, MODEL_LOG=str(log)) as it:
        await until(lambda: it.control_plane.reports, "it reports")
        status, text = await ask(it, tail=1)
        while status == 503 and "public key" in text:
            await asyncio.sleep(0.05)
            status, text = await ask(it, tail=1)
        assert (status, text) == (200, "line 9\n")
        assert (await it.post())[0] == 503


async def test_live_through_a_restart_of_the_model_server(tmp_path: Path, log: Path) -> None:
    async with world(tmp_path, MODEL_LOG=str(log)) as it:
        body = {
            "auth_data": it.ticket(reads_log=True),
            "payload": {"tail": 1, "follow": True},
        }
        async with it.http.post(it.worker.settings.url + LOG_PATH, json=body) as answer:
            assert await answer.content.readline() == b"line 9\n"
            with log.open("a") as file:
                file.write("added\nhalf")
                file.flush()
                assert await answer.content.readline() == b"added\n"
                file.write(" of it\n")
            assert await answer.content.readline() == b"half of it\n"
            log.rename(tmp_path / "model.log.old")
            log.write_text("new\n")
            assert (await answer.content.readline()).startswith(b"--- since the model server")
            assert await answer.content.readline() == b"new\n"


async def test_a_few_read_at_once_and_who_leaves_makes_room(tmp_path: Path, log: Path) -> None:
    async with world(tmp_path, MODEL_LOG=str(log)) as it:
        url = it.worker.settings.url + LOG_PATH
        readers = []
        for _ in range(MAX_READERS):
            body = {"auth_data": it.ticket(reads_log=True), "payload": {"follow": True}}
            readers.append(await it.http.post(url, json=body))
            assert readers[-1].status == 200
        assert (await ask(it))[0] == 429
        for reader in readers:
            reader.close()
        deadline = asyncio.get_running_loop().time() + 30
        while (await ask(it, tail=1))[0] != 200:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.1)


async def test_only_the_ticket_for_it_opens_it_once_and_it_opens_nothing_else(
    tmp_path: Path, log: Path
) -> None:
    async with world(tmp_path, MODEL_LOG=str(log)) as it:
        await until(it.is_ready, "it is ready")
        assert (await ask(it, it.ticket()))[0] == 401
        assert (await ask(it, {**it.ticket(reads_log=True), "signature": "x"}))[0] == 401
        assert (await ask(it, it.ticket(reads_log=True, instance_id=1)))[0] == 401
        assert (await ask(it, it.ticket(reads_log=True, boot_id="00" * 8)))[0] == 503
        once = it.ticket(reads_log=True)
        assert [(await ask(it, once, tail=1))[0] for _ in range(2)] == [200, 401]
        n_asked = len(it.model.bodies)
        for route in ("/generate", "/generate_stream", "/session/create"):
            status, body = await it.post(route, it.ticket(reads_log=True))
            assert (status, b"log only" in body) == (401, True)
        assert len(it.model.bodies) == n_asked
        assert (await it.post())[0] == 200


@pytest.mark.parametrize("tail", [-1, 100_001, "9", True, 1.5, None])
async def test_what_makes_no_sense_is_refused_before_the_ticket_is_used(
    tmp_path: Path, log: Path, tail: object
) -> None:
    async with world(tmp_path, MODEL_LOG=str(log)) as it:
        ticket = it.ticket(reads_log=True)
        assert (await ask(it, ticket, tail=tail))[0] == 422
        assert (await ask(it, ticket, tail=1))[0] == 200


async def test_a_worker_without_a_log_says_so(tmp_path: Path) -> None:
    async with world(tmp_path, MODEL_LOG="") as it:
        status, body = await ask(it)
        assert (status, "MODEL_LOG" in body) == (404, True)

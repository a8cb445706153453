"""Model servers that are not what their health route says."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from tests.workers.world import World, prompt, world


async def stream(it: World, **parameters: object) -> tuple[int, bool]:
    """The status of a stream, and whether it came whole."""
    body = {"auth_data": it.ticket(), "payload": prompt(**parameters)}
    async with it.http.post(it.worker.settings.url + "/generate_stream", json=body) as answer:
        try:
            await answer.read()
        except aiohttp.ClientError:
            return answer.status, False
        return answer.status, True


async def test_a_zombie_with_a_good_health_route_is_not_ready(tmp_path: Path) -> None:
    """Health 200, every generation 500: 32 of 32 requests were lost to one that stayed ready."""
    async with world(tmp_path) as it:
        it.model.is_zombie = True
        statuses = []
        for _ in range(8):
            statuses.append((await it.post())[0])
            await asyncio.sleep(0.2)
        assert statuses[:3] == [500, 500, 500]
        assert statuses[-1] == 503  # the worker says no before the model can
        reports = it.control_plane.reports
        await it.until(lambda: it.counters()["max_perf"] == 0, "it is told")
        assert any("answers fail: 500 CUDA error" in str(r["error_msg"]) for r in reports)
        it.model.is_zombie = False
        await it.until(lambda: it.counters()["max_perf"], "it serves again", 30)
        assert (await it.post())[0] == 200


async def test_failures_that_a_request_of_our_own_does_not_have_hurt_nobody(
    tmp_path: Path,
) -> None:
    """One client's requests fail: the server is asked itself, before it is believed dead."""
    async with world(tmp_path) as it:
        for _ in range(10):
            assert (await it.post(payload=prompt(status=500)))[0] == 500
        assert (await it.post())[0] == 200
        assert not any(report["error_msg"] for report in it.control_plane.reports)


async def test_a_dead_server_breaks_what_it_held_and_is_told_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        held = asyncio.create_task(stream(it, n_chunks=100_000, chunk_s=0.05))
        await it.until(lambda: it.model.n_at_work == 1, "a stream runs")
        it.model.is_zombie = True
        for _ in range(3):
            await it.post()
        async with asyncio.timeout(30):
            assert await held == (200, False)  # broken, never a clean half answer
        await it.until(lambda: it.counters()["n_errored"] == 4, "all are errors of the worker's")


@pytest.mark.parametrize("status", [429, 503, 422, 404])
async def test_refusals_and_full_queues_are_no_signs_of_death(tmp_path: Path, status: int) -> None:
    async with world(tmp_path) as it:
        for _ in range(6):
            answered, body = await it.post(payload=prompt(status=status))
            assert (answered, json.loads(body)["inputs"]) == (status, "hello")
        assert (await it.post())[0] == 200

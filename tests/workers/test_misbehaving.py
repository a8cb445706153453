"""Model servers that are not what their health route says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from tests.workers.world import World, loading, prompt, world
from workers.pyworker.model.life import DEFAULT_PATIENCE, Patience

QUICK = Patience(
    ready_poll_s=0.25,
    doubt_poll_s=0.05,
    health_timeout_s=0.25,
    sign_of_life_s=0.75,
    still_s=1.0,
    silent_s=3.0,
    forgotten_s=3.0,
    probe_timeout_s=0.5,
    slow_probe_timeout_s=2.0,
    metrics_poll_s=0.1,
    benchmark_retry_s=0.5,
)
"""A twentieth of what a model server is given."""


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
    patience = replace(DEFAULT_PATIENCE, benchmark_retry_s=0.5)
    async with world(tmp_path, patience=patience) as it:
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


@asynccontextmanager
async def counting(
    folder: Path, patience: Patience, *, has_counters: bool = True
) -> AsyncIterator[World]:
    """A ready worker of a model server that counts what it makes."""
    async with loading(folder, patience=patience) as it:
        it.model.has_counters, it.model.is_healthy = has_counters, True
        await it.until(it.is_ready, "it is ready")
        await asyncio.sleep(3 * patience.metrics_poll_s)
        yield it


def all_errors(it: World) -> str:
    return " ".join(str(report["error_msg"]) for report in it.control_plane.reports)


def no_error(it: World) -> bool:
    return not any(report["error_msg"] for report in it.control_plane.reports)


async def test_a_slow_health_route_under_load_is_no_death(tmp_path: Path) -> None:
    """/health took 6 s, all answers came at once: 503 for everybody, and a reboot."""
    async with world(tmp_path, patience=QUICK) as it:
        it.model.health_delay_s = 3 * QUICK.health_timeout_s
        held = asyncio.create_task(stream(it, n_chunks=60, chunk_s=0.05))
        for _ in range(10):
            assert (await it.post())[0] == 200
            await asyncio.sleep(0.3)
        assert await held == (200, True)
        assert no_error(it)


async def test_a_slow_health_route_of_an_idle_server_is_asked_about(tmp_path: Path) -> None:
    async with world(tmp_path, patience=QUICK) as it:
        it.model.health_delay_s = 3 * QUICK.health_timeout_s
        await it.until(lambda: len(it.model.bodies) >= 2, "requests of our own", 30)
        assert no_error(it)
        assert (await it.post())[0] == 200
        it.model.is_frozen = True  # now it really is dead
        await it.until(lambda: it.counters()["max_perf"] == 0, "it is not ready", 30)
        assert "health check fails" in all_errors(it)
        it.model.is_frozen, it.model.health_delay_s = False, 0.0
        await it.until(lambda: it.counters()["max_perf"], "it serves again", 30)


@pytest.mark.parametrize("has_counters", [True, False])
async def test_a_frozen_engine_behind_a_good_health_route_is_found(
    tmp_path: Path, has_counters: bool
) -> None:
    """SIGSTOP of vLLM's engine: /health 200, `running` stands, not a token for anybody."""
    async with counting(tmp_path, QUICK, has_counters=has_counters) as it:
        held = [
            asyncio.create_task(stream(it, n_chunks=100_000, chunk_s=0.02)),
            asyncio.create_task(stream(it, n_chunks=100_000, chunk_s=0.02)),
        ]
        await it.until(lambda: it.model.n_chunks_sent > 50, "they stream")
        it.model.is_frozen = True
        await it.until(lambda: it.counters()["max_perf"] == 0, "it is not ready", 30)
        why = "holds requests and makes nothing"
        await it.until(lambda: why in all_errors(it), "why it is not")
        async with asyncio.timeout(30):
            assert await asyncio.gather(*held) == [(200, False)] * 2  # broken at once
        await it.until(lambda: it.counters()["n_errored"] == 2, "errors of the worker's")
        assert it.counters()["n_cancelled"] == 0
        assert (await it.post())[0] == 503
        it.model.is_frozen = False
        await it.until(lambda: it.counters()["max_perf"], "it serves again", 30)
        assert (await it.post())[0] == 200


async def test_a_request_that_a_living_engine_lost_is_an_error_and_nobody_else_notices(
    tmp_path: Path,
) -> None:
    """One chat in 2,600 was "Added" by vLLM and never run (`Running: 0`)."""
    async with counting(tmp_path, QUICK) as it:
        lost = asyncio.create_task(it.post(payload=prompt(is_lost=True)))
        await it.until(lambda: it.model.n_lost, "it is lost")
        async with asyncio.timeout(20):
            assert (await lost)[0] == 502  # others may serve it
        await it.until(lambda: it.counters()["n_errored"] == 1, "an error of the worker's")
        assert (await it.post())[0] == 200
        assert no_error(it)


async def test_an_engine_that_froze_while_it_was_idle_is_found(tmp_path: Path) -> None:
    """Its counters stand at "nothing runs", whatever comes."""
    async with counting(tmp_path, QUICK) as it:
        it.model.is_frozen = it.model.is_frozen_idle = True
        held = asyncio.create_task(it.post())
        await it.until(lambda: it.counters()["max_perf"] == 0, "it is not ready", 30)
        assert "holds requests and makes nothing" in all_errors(it)
        assert (await held)[0] == 502
        it.model.is_frozen = it.model.is_frozen_idle = False
        await it.until(lambda: it.counters()["max_perf"], "it serves again", 30)


async def test_one_request_that_stays_silent_ends_while_others_are_served(tmp_path: Path) -> None:
    async with world(tmp_path, patience=replace(QUICK, request_silence_s=2.0)) as it:
        stuck = asyncio.create_task(it.post(payload=prompt(is_lost=True)))
        while not stuck.done():
            assert (await it.post())[0] == 200
            await asyncio.sleep(0.1)
        assert (await stuck)[0] == 502
        assert no_error(it)


async def test_who_leaves_a_dead_engine_was_lost_by_it_and_others_only_left(tmp_path: Path) -> None:
    still = replace(QUICK, still_s=0.5, ready_poll_s=60.0, doubt_poll_s=60.0)
    async with counting(tmp_path, still) as it:
        left = asyncio.create_task(stream(it, n_chunks=100_000, chunk_s=0.02))
        await it.until(lambda: it.model.n_chunks_sent > 50, "it streams")
        left.cancel()
        await it.until(lambda: it.counters()["n_cancelled"] == 1, "its client's wish")
        lost = asyncio.create_task(stream(it, n_chunks=100_000, chunk_s=0.02))
        await it.until(lambda: it.model.n_at_work == 1, "it is held")
        it.model.is_frozen = True
        await asyncio.sleep(2.0)
        lost.cancel()
        await it.until(lambda: it.counters()["n_errored"] == 1, "the engine's fault")
        assert it.counters()["n_cancelled"] == 1


async def test_what_a_dying_server_says_of_a_request_is_told_to_nobody(tmp_path: Path) -> None:
    """Its log may quote the prompt that it died of; of its next start, it quotes no client."""
    log = tmp_path / "model.log"
    log.write_text("")
    async with world(tmp_path, patience=QUICK, MODEL_LOG=str(log)) as it:
        it.model.is_zombie, it.model.is_healthy = True, False
        for _ in range(4):
            await it.post()
        await it.until(lambda: it.counters()["max_perf"] == 0, "it is lost")
        log.write_text("Error: ShardCannotStart: it chokes on 'my diary'\n")
        await it.until(lambda: "Shard" in str(it.counters()["error_msg"]), "the marker is told")
        assert not any("diary" in str(report) for report in it.control_plane.reports)
        fresh = tmp_path / "fresh.log"
        fresh.write_text("Error: ShardCannotStart: no such model\n")
        fresh.replace(log)
        await it.until(lambda: "no such model" in str(it.counters()["error_msg"]), "the cause is")

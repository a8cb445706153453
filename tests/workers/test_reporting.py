"""Reports: at once when it matters, patient while nobody listens, and nothing is lost or leaked."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fakes.control_plane_server import ControlPlaneServer, TicketSigner
from tests.workers.world import QUICK_TGI, loading, prompt, world
from workers.pyworker.reporting.log_format import JsonFormatter
from workers.pyworker.reporting.report_loop import Pace


def test_the_pace_of_reports() -> None:
    assert Pace(sent_at=100.0, is_urgent=True).due_at() == 100.0
    assert Pace(sent_at=100.0, is_urgent=False, has_news=True).due_at() == 101.0
    assert Pace(sent_at=100.0, is_urgent=False).due_at() == 110.0
    waits = [
        Pace(sent_at=0.0, is_urgent=True, n_failures=n).due_at() for n in (1, 2, 3, 4, 5, 6, 9)
    ]
    assert waits == [1, 2, 4, 8, 16, 30, 30]  # urgency does not break the back-off


async def test_while_the_control_plane_is_away_requests_are_served_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as it:
        it.control_plane.status = 503
        for _ in range(5):
            assert (await it.post())[0] == 200
        await asyncio.sleep(0)
        it.control_plane.status = 200
        await it.until(lambda: len(it.control_plane.finished) == 5, "all five are told")
        await it.until(lambda: it.counters()["n_served"] == 5, "all five are counted")
        assert it.counters()["received_load"] == it.counters()["finished_load"] == 500
        assert (await it.post())[0] == 200
        await it.until(lambda: it.counters()["n_served"] == 6, "and the sixth")
        for name in ("new_load", "cur_perf"):  # what is told as "since the last one" adds up, too
            assert sum(float(str(r[name])) for r in it.control_plane.reports) == 600
        numbers = [report["seq"] for report in it.control_plane.reports]
        assert numbers == sorted(set(map(int, map(str, numbers))))


async def test_an_error_of_the_start_and_its_end_are_told_at_once(tmp_path: Path) -> None:
    """The model's log tells of a failure; upstream's workers would tell up to 11 s later."""
    log = tmp_path / "model.log"
    log.write_text("Error: ShardCannotStart\n")
    async with loading(tmp_path, MODEL_LOG=str(log)) as it:
        await it.until(lambda: it.counters().get("error_msg"), "the error is told")
        assert "ShardCannotStart" in str(it.counters()["error_msg"])
        assert (it.counters()["max_perf"], (await it.post())[0]) == (0, 503)
        it.model.is_healthy = True
        await it.until(lambda: it.is_ready() and not it.counters()["error_msg"], "its end is told")
        assert (await it.post())[0] == 200


async def test_what_clients_write_into_the_log_of_a_ready_server_is_not_believed(
    tmp_path: Path,
) -> None:
    """Of vLLM the model name that a caller sent, whatever it is; of ComfyUI node values."""
    log = tmp_path / "model.log"
    async with world(tmp_path, MODEL_LOG=str(log)) as it:
        log.write_text("Error: ShardCannotStart\nError: DownloadError\n")
        await asyncio.sleep(1.5)  # longer than the log is left unread
        assert (await it.post())[0] == 200
        assert not any(report["error_msg"] for report in it.control_plane.reports)


async def test_tickets_of_a_new_key_are_accepted_during_a_rotation(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        old_tickets = [it.ticket(), it.ticket()]
        old_signer = it.control_plane.signer
        it.control_plane.signer, it.control_plane.key_id = TicketSigner(), "k2"
        assert (await it.post(auth_data=old_tickets[0]))[0] == 200
        # The reply to the report of that request names the new key.
        await it.until(lambda: it.control_plane.n_key_fetches == 2, "the new key is fetched")
        assert (await it.post())[0] == 200
        assert (await it.post(auth_data=old_tickets[1]))[0] == 200  # issued just before
        forged = old_signer.ticket(it.claims(instance_id=1))
        assert (await it.post(auth_data=forged))[0] == 401


async def test_forged_tickets_do_not_make_the_worker_ask_for_the_key_all_the_time(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as it:
        forger = TicketSigner()
        for _ in range(10):
            assert (await it.post(auth_data=forger.ticket(it.claims())))[0] == 401
        assert it.control_plane.n_key_fetches <= 2
        assert it.model.bodies == []


@pytest.mark.parametrize("offset_s", [-3600.0, -300.0, 300.0, 3600.0])
async def test_a_wrong_clock_is_corrected_by_the_servers_time(
    tmp_path: Path, offset_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    control_plane = ControlPlaneServer(clock_offset_s=offset_s)
    async with world(tmp_path, control_plane=control_plane) as it:
        server_now = time.time() + offset_s
        good = it.ticket(issued_at=server_now, expires_at=server_now + 60)
        assert (await it.post(auth_data=good))[0] == 200
        assert (await it.post())[0] == 503  # valid by the worker's own clock only
    told = [r for r in caplog.records if r.message == "the clock is wrong, corrected"]
    assert [round(r.offset_s, -1) for r in told] == [offset_s]  # type: ignore[attr-defined]


async def test_the_benchmark_is_kept_across_restarts_of_the_same_model(tmp_path: Path) -> None:
    calls: list[str] = []

    def count(kind: str, _rng: object, _model: str) -> dict[str, object]:
        calls.append(kind)
        return prompt()

    makers: Any = {f"make_{kind}": partial(count, kind) for kind in ("payload", "short")}
    counting = replace(QUICK_TGI, benchmark=replace(QUICK_TGI.benchmark, **makers))
    async with world(tmp_path, counting, MODEL_ID="a") as it:
        perf = it.counters()["max_perf"]
    assert calls == ["payload"] * 2  # the first is not counted
    async with world(tmp_path, counting, MODEL_ID="a") as it:
        assert it.counters()["max_perf"] == perf
    assert calls == ["payload"] * 2 + ["short"]  # a brief warm-up alone
    async with world(tmp_path, counting, MODEL_ID="b"):
        assert calls[3:] == ["payload"] * 2  # another model is measured anew


@pytest.mark.parametrize("text", ["", "{}", '{"perf": -1}', '{"perf": "x", "fingerprint": 1}', "["])
async def test_a_spoilt_benchmark_file_is_measured_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "benchmark.json").write_text(text)
    async with world(tmp_path) as it:
        assert float(str(it.counters()["max_perf"])) > 0


async def test_no_prompt_and_no_secret_is_ever_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    canary, secret = "CANARY-PROMPT-7f3a", "7.CANARY-TOKEN.mac"
    caplog.set_level(logging.DEBUG)
    async with world(tmp_path, MASTER_TOKEN=secret, HF_TOKEN="CANARY-HF") as it:
        answers = [
            await it.post(payload={**prompt(), "inputs": canary}),
            await it.post(payload={"inputs": canary, "parameters": canary}),
            await it.post(auth_data={"signature": canary}, payload={"inputs": canary}),
            await it.post(payload={**prompt(break_after=0), "inputs": canary}),
        ]
        assert [status for status, _ in answers] == [200, 422, 401, 502]
        errors = [body for status, body in answers if status >= 400]
        kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    lines = [JsonFormatter().format(record) for record in caplog.records]
    assert len(lines) > 3
    assert not canaries_in([*lines, *map(repr, errors), *map(repr, kept)])
    assert canaries_in([*lines, f"planted: {canary}"]) == 1  # the same scan finds a leak


def canaries_in(texts: list[str]) -> int:
    return sum("CANARY" in text for text in texts)


async def test_a_worker_stops_when_told_even_while_a_report_is_being_woken(tmp_path: Path) -> None:
    """The wake-up and the cancellation may meet in one turn of the loop; neither may be lost."""
    for _ in range(3):
        async with asyncio.timeout(60) as limit, world(tmp_path) as it:
            await it.post()
        assert not limit.expired()

"""A PyWorker answers, streams, and refuses, between a fake control plane and a scripted model."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.workers.world import prompt, world
from workers.pyworker.reporting.log_format import JsonFormatter


async def test_the_model_gets_the_payload_alone_and_its_answer_comes_back(tmp_path: Path) -> None:
    payload = prompt(temperature=0.7, top_p=0.9, do_sample=True, big=2**60, text="żółw 🐢")
    async with world(tmp_path) as it:
        status, body = await it.post(payload=payload)

        assert (status, json.loads(body)) == (200, payload)
        assert [json.loads(sent) for sent in it.model.bodies] == [payload]


async def test_the_model_server_gets_the_trace_and_the_log_names_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01", "tracestate": "a=b"}
    caplog.set_level("INFO")
    caplog.handler.setFormatter(JsonFormatter())
    async with world(tmp_path) as it:
        url = it.worker.settings.url + "/generate"
        body = {"auth_data": it.ticket(), "payload": prompt()}
        async with it.http.post(url, json=body, headers=headers) as answer:
            assert answer.status == 200
        async with it.http.post(url, json=body, headers=headers) as answer:
            assert answer.status == 401  # the ticket is used up
        await it.until(lambda: "ticket refused" in caplog.text, "it is logged")
    assert it.model.headers[-1]["traceparent"] == headers["traceparent"]
    assert it.model.headers[-1]["tracestate"] == "a=b"
    (line,) = [line for line in caplog.text.splitlines() if "ticket refused" in line]
    assert json.loads(line)["trace_id"] == trace_id


async def test_a_stream_comes_chunk_by_chunk(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        body = {"auth_data": it.ticket(), "payload": prompt(n_chunks=3, chunk_s=0.5)}
        async with it.http.post(it.worker.settings.url + "/generate_stream", json=body) as answer:
            assert answer.content_type == "text/event-stream"
            assert await answer.content.readany() == b"data: 0\n\n"
            assert it.model.n_at_work == 1  # the model is still writing while we read
            assert await answer.read() == b"data: 1\n\ndata: 2\n\n"


async def test_the_first_report_of_a_ready_worker_says_so_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        report = it.counters()
        assert report["ticket"] == "D"
        assert report["boot_id"] == it.worker.boot_id
        assert report["error_msg"] == ""
        assert it.control_plane.authorizations[0] == "Basic dzo3LmludGVudC5tYWM="
        assert len(it.control_plane.reports) <= 3


async def test_ping_needs_no_ticket(tmp_path: Path) -> None:
    async with world(tmp_path) as it, it.http.get(it.worker.settings.url + "/ping") as answer:
        assert await answer.text() == "pong"


async def test_a_client_that_leaves_stops_the_model_and_is_accounted(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        body = {"auth_data": it.ticket(), "payload": prompt(n_chunks=1000, chunk_s=0.02)}
        async with it.http.post(it.worker.settings.url + "/generate_stream", json=body) as answer:
            await answer.content.readany()
        await it.until(lambda: it.model.n_cancelled == 1, "the model stops")
        await it.until(lambda: it.counters().get("n_cancelled") == 1, "it is counted")
        assert it.counters()["cur_load"] == 0
        await it.until(lambda: it.control_plane.finished, "it is told by itself, too")
        assert [r["status"] for r in it.control_plane.finished] == ["Cancelled"]


async def test_a_serial_back_end_takes_one_at_a_time_in_order(tmp_path: Path) -> None:
    from dataclasses import replace

    from tests.workers.world import QUICK_TGI

    async with world(tmp_path, replace(QUICK_TGI, is_serial=True)) as it:
        calls = []
        for number in range(4):
            calls.append(asyncio.create_task(it.post(payload=prompt(delay_s=0.2, n=number))))
            await asyncio.sleep(0.05)
        assert [status for status, _ in await asyncio.gather(*calls)] == [200] * 4
        assert it.model.max_at_work == 1
        assert [json.loads(b)["parameters"]["n"] for b in it.model.bodies] == [0, 1, 2, 3]


async def test_beyond_the_longest_queue_the_answer_is_429(tmp_path: Path) -> None:
    async with world(tmp_path, MAX_QUEUE_TIME="0.001") as it:
        slow = asyncio.create_task(it.post(payload=prompt(delay_s=600, max_new_tokens=100_000_000)))
        await it.until(lambda: it.model.n_at_work == 1, "the first is at work")
        assert (await it.post())[0] == 429
        slow.cancel()
        await it.until(lambda: it.counters().get("rejected_load") == 100, "it is reported")

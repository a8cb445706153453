"""docs/interruptible.md, "Try it without spending", over HTTP: outbid while they stream.

Market, machines and model are simulated; control plane, workers, tickets, SDK and CLI are real.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ballast.cli.__main__ import run
from ballast.client.sdk import Client
from ballast.client.sse import event_data
from lab.local.system.local_system import LocalSystem
from lab.local.system.owner import MarketView, Owner, wait_until
from lab.local.system.templates import TGI_SIMULATED, register_templates

GROUP = "outbid-live"
LOADED_S, MOVED_S = 300.0, 120.0
HEARD_S = 4.0  # until all streams are under way
N_STREAMS, N_WORDS = 6, 1500  # 12 s each, at 125 words a second and slot


def stream(system: LocalSystem) -> tuple[int, int]:
    """(words, how often it went on elsewhere) of one streamed text."""
    payload = {"inputs": "hello", "parameters": {"max_new_tokens": N_WORDS}}
    client = Client(system.account_key, system.url)
    answer = client.stream(GROUP, "/generate_stream", payload, cost=N_WORDS, resume=True)
    n_words = sum(1 for _ in event_data(answer.chunks()))
    n_resumed = answer.trace.n_resumed
    client.close()
    return n_words, n_resumed


@pytest.mark.long
def test_outbid_while_they_stream_and_what_is_told(
    system: LocalSystem,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BALLAST_URL", system.url)
    monkeypatch.setenv("BALLAST_API_KEY", system.account_key)
    monkeypatch.setenv("BALLAST_MARKET_URL", system.market_url)
    monkeypatch.setenv("BALLAST_CONFIG", str(tmp_path / "config.json"))
    monkeypatch.setenv("COLUMNS", "200")

    def told(*words: str) -> str:
        assert run(list(words)) == 0
        return capsys.readouterr().out

    owner, market = Owner(system.url, system.account_key), MarketView(system.market_url)
    template_hash = register_templates(system.market_url, [TGI_SIMULATED])[TGI_SIMULATED.name]
    endpoint_id = owner.create_group(GROUP, max_workers=8, cold_workers=0, interruptible="mixed")
    owner.create_autogroup(GROUP, template_hash, test_workers=1)

    def rows(*, is_bid: bool, is_outbid: bool = False) -> list[dict[str, Any]]:
        return [
            row
            for row in owner.workers(endpoint_id)
            if row["is_interruptible"] is is_bid
            and row["is_outbid"] is is_outbid
            and (is_outbid or row["status"] == "idle")
        ]

    (first, *_) = wait_until("a ready worker", lambda: rows(is_bid=False), LOADED_S)
    owner.call("PUT", f"/api/v0/endptjobs/{endpoint_id}/", {"min_load": 2.2 * first["perf"]})
    wait_until(
        "two at bids",
        lambda: len(rows(is_bid=True)) >= 2,
        LOADED_S,
        shown=lambda: owner.workers(endpoint_id),
    )
    assert "interruptible" in told("explain", "last", "--endpoint", GROUP)

    with ThreadPoolExecutor(N_STREAMS) as threads:
        streams = [threads.submit(stream, system) for _ in range(N_STREAMS)]
        time.sleep(HEARD_S)
        told("chaos", "outbid")
        ended = [one.result(timeout=MOVED_S) for one in streams]
    assert all(n_words >= N_WORDS for n_words, _ in ended), ended
    assert sum(n_resumed for _, n_resumed in ended) >= 1, "somebody was cut, and went on"

    wait_until("they are outbid", lambda: len(rows(is_bid=True, is_outbid=True)) >= 2, MOVED_S)
    outbid = {row["id"] for row in rows(is_bid=True, is_outbid=True)}
    billed = {row["id"] for row in market.instances(GROUP) if row["actual_status"] == "running"}
    assert not outbid & billed
    assert "outbid" in told("status")
    assert "outbid" in told("workers", GROUP)
    assert "taken" in told("spend")
    told("compare", GROUP)

    told("chaos", "outbid", "--off")
    wait_until("they come back", lambda: len(rows(is_bid=True)) >= 1, LOADED_S)
    owner.delete_group(endpoint_id)
    wait_until("nothing rented", lambda: not market.instances(GROUP), LOADED_S)

"""`ballast chaos` on the local system: each of its faults by name, and what two of them do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from ballast.cli.__main__ import run
from lab.local.system.local_system import LocalSystem
from lab.local.system.owner import MarketView, Owner, wait_until
from lab.local.system.templates import TGI_SIMULATED, register_templates

NAMED = (
    "deprecated-list",
    "empty-list",
    "create-timeout-rented",
    "success-false-contract",
    "host-dies",
    "start-refused",
    "load-stuck",
    "price-increase",
    "429-storm",
    "market-down",
    "report-loss",
    "own-ingest-down",
)
Chaos = Callable[..., int]


@pytest.fixture
def chaos(system: LocalSystem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Chaos]:
    """`ballast chaos WORDS…` against the local system; everything is switched off in the end."""
    monkeypatch.setenv("BALLAST_URL", system.url)
    monkeypatch.setenv("BALLAST_API_KEY", system.account_key)
    monkeypatch.setenv("BALLAST_MARKET_URL", system.market_url)
    monkeypatch.setenv("BALLAST_CONFIG", str(tmp_path / "config.json"))
    used: set[str] = set()

    def call(fault: str, *words: str) -> int:
        used.add(fault)
        return run(["chaos", fault, *words])

    yield call
    for fault in sorted(used):
        call(fault, "--off")


@pytest.mark.parametrize("fault", NAMED)
def test_each_named_fault_goes_on_and_off(
    chaos: Chaos, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chaos(fault) == 0
    assert chaos(fault, "--off") == 0
    assert f"{fault} is off" in capsys.readouterr().out


def test_an_unknown_fault_is_refused_with_the_nearest_and_where_all_are(
    chaos: Chaos, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["chaos", "market-dwn"]) != 0
    said = capsys.readouterr().err
    assert "there is no fault 'market-dwn'" in said
    assert "known faults: market-down, " in said
    assert "`ballast chaos` lists all" in said


def test_own_ingest_down_refuses_reports_and_routes_on(system: LocalSystem, chaos: Chaos) -> None:
    chaos("own-ingest-down")
    report = requests.post(f"{system.url}/worker_status/", json={"id": 1}, timeout=30)
    assert report.status_code == 503
    route = requests.post(f"{system.url}/route/", json={"endpoint": "x"}, timeout=30)
    assert route.status_code < 500


@pytest.mark.long
@pytest.mark.parametrize("fault", ["own-ingest-down", "report-loss", "market-down"])
def test_workers_that_serve_are_neither_replaced_nor_returned(
    system: LocalSystem, chaos: Chaos, fault: str
) -> None:
    """Two minutes of it: the same instances stay, and requests are routed to them."""
    owner, market = Owner(system.url, system.account_key), MarketView(system.market_url)
    template_hash = register_templates(system.market_url, [TGI_SIMULATED])[TGI_SIMULATED.name]
    name = f"chaos-{fault}"
    endpoint_id = owner.create_group(name, min_load=1_500.0, cold_workers=0, max_workers=2)
    owner.create_autogroup(name, template_hash, test_workers=2)
    wait_until("two ready workers", lambda: len(owner.ready_workers(endpoint_id)) == 2, 240.0)
    before = {row["id"] for row in market.instances(name)}
    chaos(fault)
    until = time.monotonic() + 120.0
    while time.monotonic() < until:
        assert owner.ticket(name, cost=8)
        time.sleep(2.0)
    assert {row["id"] for row in market.instances(name)} == before
    chaos(fault, "--off")
    owner.delete_group(endpoint_id)
    wait_until("nothing rented", lambda: not market.instances(name), 240.0)

"""The marketplaces that one suite holds to one contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.adapters.vast.client import VastMarketplace
from fakes.market.market import Market
from fakes.ports.clock import ManualClock
from fakes.worlds.marketplace import FakeMarketplace
from lab.local.market.marketplace_processes import ProcessDriver
from lab.local.market.marketplace_server import serve_world
from lab.local.market.marketplace_world import MarketWorld
from lab.local.processes.process_watchdog import ProcessWatchdog
from tests.contracts.marketplace_subject import CONFIG, TEMPLATE, Subject


@pytest.fixture(scope="module")
def watchdog() -> Iterator[ProcessWatchdog]:
    """One for all: no test here starts a process."""
    with ProcessWatchdog() as running:
        yield running


@pytest.fixture(params=["in process", "over HTTP"])
def subject(
    request: pytest.FixtureRequest, tmp_path: Path, watchdog: ProcessWatchdog
) -> Iterator[Subject]:
    """Both marketplaces, each with a fresh market."""
    clock = ManualClock()
    driver = ProcessDriver(tmp_path, watchdog)
    over_http = request.param == "over HTTP"
    market = Market(CONFIG, seed=7, driver=driver if over_http else None)
    template_hash = str(market.templates.add(TEMPLATE, clock.now())["hash_id"])
    if not over_http:
        yield Subject(FakeMarketplace(market, clock), market, clock, template_hash)
        return
    with serve_world(MarketWorld(market, driver, now=clock.now), api_key="key") as url:
        adapter = VastMarketplace(url=url, api_key=lambda: "key", clock=clock)
        yield Subject(adapter, market, clock, template_hash)

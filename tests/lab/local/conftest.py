"""What the local system's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.local.market.marketplace_server import RunningMarketplace, serve_marketplace
from lab.local.market.marketplace_world import MarketSettings
from tests.lab.local.market_calls import INSTANT


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMarketplace]:
    """A market without delays."""
    state_dir = tmp_path_factory.mktemp("market")
    with serve_marketplace(MarketSettings(config=INSTANT, state_dir=state_dir)) as running:
        yield running

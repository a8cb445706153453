"""What the contract suites of the marketplace work on: a marketplace and the market behind it."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.ports.marketplace import CreateRequest, Marketplace
from fakes.market.market import Market
from fakes.market.market_config import CALM, PROMPT, MarketConfig
from fakes.ports.clock import ManualClock

CONFIG = MarketConfig(timings=PROMPT, odds=CALM)
RTX_4090 = {"gpu_name": {"eq": "RTX 4090"}, "num_gpus": {"eq": "1"}}
SECRET = "master-token-canary"
BOOTED_S = 30.0
TEMPLATE = {
    "name": "hello",
    "image": "example/hello",
    "tag": "1",
    "env": "-e A=B -e WORDS='two words' -p 3000:3000",
    "extra_filters": {"gpu_ram": {"gte": 23_000.0}},
    "recommended_disk_space": 16.0,
}


@dataclass(frozen=True)
class Subject:
    """A marketplace, the market behind it, and the clock of both."""

    marketplace: Marketplace
    market: Market
    clock: ManualClock
    template_hash: str

    def rent(self, label: str = "chat - 0123", place: int = 0) -> int:
        """Rent the nth offer as the scaler does."""
        offers = self.marketplace.search_offers({}, disk_gb=40.0, limit=200)
        return self.marketplace.create_instance(self.request(offers[place].offer_id, label))

    def request(self, offer_id: int, label: str = "chat - 0123") -> CreateRequest:
        """A create."""
        return CreateRequest(
            offer_id=offer_id,
            label=label,
            template_hash=self.template_hash,
            disk_gb=40.0,
            env={"MASTER_TOKEN": SECRET, "-p 3000:3000": "1"},
        )

    def later(self, seconds: float = BOOTED_S) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.market.advance(self.clock.now())

    def fault(self, name: str, **options: float) -> None:
        """Switch a fault on."""
        self.market.switch_on(name, self.clock.now(), **options)

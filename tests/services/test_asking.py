"""Questions to the scaler: Vast's pacing holds for them too, and a bound key has few."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest

from chalicelib.core.fleet.pacing import MARGIN_S, MIN_INTERVAL_S, Verb
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.ports.bundles import ScalerPorts
from chalicelib.ports.marketplace import FoundOffers, RateLimitedError
from chalicelib.services.keys import Caller
from chalicelib.services.owner.preview import PLAN_EVERY_S, plan
from chalicelib.services.rounds.questions import QUESTION_WAITS_S, answer
from fakes.bundles.scaler_ports import fake_scaler_ports
from fakes.market.market import Market
from fakes.market.market_config import MarketConfig
from fakes.ports.clock import ManualClock
from fakes.ports.scaler_poke import FakeScalerPoke
from fakes.worlds.marketplace import FakeMarketplace

SEARCH = {"ask": "bundles", "search": {}}
SPACE_S = MIN_INTERVAL_S[Verb.SEARCH] + MARGIN_S


@pytest.fixture
def market() -> Market:
    return Market(MarketConfig(), seed=1)


@pytest.fixture
def ports(market: Market) -> ScalerPorts:
    clock = ManualClock()
    return fake_scaler_ports(clock, FakeMarketplace(market, clock))


def searches(market: Market) -> list[float]:
    return [call.at for call in market.calls if call.verb is Verb.SEARCH]


def test_ten_searches_keep_the_shared_pacing(ports: ScalerPorts, market: Market) -> None:
    """Ten went to Vast within 0.14 s, and nobody knew of them."""
    for _ in range(10):
        answer(ports, SEARCH)
    sent = searches(market)
    assert len(sent) == 10
    assert all(b - a >= SPACE_S - 1e-6 for a, b in itertools.pairwise(sent))
    assert ports.ledger.account().next_call_at["search"] == pytest.approx(sent[-1] + SPACE_S)


def test_a_turn_that_comes_too_late_is_refused_at_once(ports: ScalerPorts, market: Market) -> None:
    began_at = ports.clock.now()
    ports.ledger.book_turn("search", began_at + QUESTION_WAITS_S + 1)
    with pytest.raises(RateLimitedError, match="next turn in 16"):
        answer(ports, SEARCH)
    assert not searches(market)
    assert ports.clock.now() == began_at


def test_what_vast_refuses_is_known_to_all(ports: ScalerPorts, market: Market) -> None:
    class Busy(FakeMarketplace):
        def search_offers(
            self,
            query: Mapping[str, Mapping[str, object]],
            *,
            disk_gb: float,
            limit: int,
            is_bid: bool = False,
        ) -> FoundOffers:
            raise RateLimitedError("too fast", 77.0)

    assert isinstance(ports.clock, ManualClock)
    busy = fake_scaler_ports(ports.clock, Busy(market, ports.clock), ledger=ports.ledger)
    with pytest.raises(RateLimitedError, match="too fast"):
        answer(busy, SEARCH)
    assert ports.ledger.account().next_call_at["search"] >= ports.clock.now() + 77


def test_a_question_that_meets_a_running_round_is_asked_again() -> None:
    """The round searched without a claim: the owner was shown Vast's refusal."""
    clock = ManualClock()
    market = Market(MarketConfig(), seed=1, enforces_limits=True)
    vast = FakeMarketplace(market, clock)
    ports = fake_scaler_ports(clock, vast)
    vast.search_offers({}, disk_gb=10.0, limit=1)
    clock.advance(0.1)
    began_at = clock.now()
    assert answer(ports, SEARCH)["offers"]
    assert market.n_too_frequent == 1
    waited_s = clock.now() - began_at
    assert SPACE_S - 0.2 <= waited_s <= QUESTION_WAITS_S
    assert ports.ledger.account().next_call_at["search"] >= ports.clock.now() + SPACE_S - 1e-6


def test_a_bound_key_has_one_plan_in_ten_seconds(market: Market) -> None:
    """Forty plans of a read key of one group each listed all machines of the account."""
    clock, poke = ManualClock(), FakeScalerPoke()
    poke.answers["plan"] = {}
    ports = fake_scaler_ports(clock, FakeMarketplace(market, clock), poke=poke)
    group = EndpointGroup(endpoint_id=7, name="llm", created_at=0.0)
    bound = Caller(key_id="e7-o-1", verbs=frozenset({"read"}), endpoint_id=7, generation=1)
    n_asked = 0
    for _ in range(40):
        try:
            plan(ports, bound, group)
        except RateLimitedError as error:
            assert 0 < error.retry_after_s <= PLAN_EVERY_S  # noqa: PT017
        else:
            n_asked += 1
        clock.advance(0.5)
    assert n_asked == 2
    owner = Caller(key_id="a-o-1", verbs=frozenset({"read"}), endpoint_id=None, generation=1)
    for _ in range(3):
        plan(ports, owner, group)


@pytest.mark.parametrize("with_bids", [False, True])
def test_a_preview_of_interruptible_machines_asks_for_their_bids_too(
    ports: ScalerPorts, market: Market, *, with_bids: bool
) -> None:
    ports.groups.add_group(EndpointGroup(endpoint_id=1, name="g", created_at=0.0))
    search = {"search": {}, "limit": 64, "with_bids": with_bids}
    found = answer(ports, {"ask": "plan", "endpoint_id": 1, "offers_for": search})["found"]
    assert isinstance(found, Mapping)
    assert len(searches(market)) == 1 + with_bids
    if not with_bids:
        assert "bids" not in found
        return
    prices = [offer["usd_per_hour"] for offer in found["offers"]]
    assert 0 < found["bids"]["cheapest_usd_per_hour"] < min(prices)
    assert found["bids"]["n"] > 0

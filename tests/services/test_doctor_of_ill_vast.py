"""`doctor` while Vast is ill: within the gateway's time, and the key is not blamed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from chalicelib.adapters.vast.http import VastAnswer
from chalicelib.core.model.caller_key import VERBS
from chalicelib.ports.marketplace import Marketplace
from chalicelib.services.keys import Caller
from chalicelib.services.owner.views.doctor import WAIT, run_checks
from chalicelib.services.rounds.questions import answer
from fakes.worlds.world import World
from tests.adapters.vast_transport import Transport, adapter

GATEWAY_S = 29.0  # that API Gateway waits for a whole answer
OWNER = Caller(key_id="k", verbs=VERBS, endpoint_id=None, generation=0)


@dataclass
class Asking:
    """ScalerPoke whose questions the scaler answers in this process."""

    ask: Callable[[Mapping[str, object]], Mapping[str, object]]

    def poke(self, endpoint_id: int, reason: str) -> None:
        """Nobody is there to be poked."""


class Slow:
    """The world's market, each of whose answers takes so long."""

    def __init__(self, world: World, seconds: float) -> None:
        self._world, self._seconds = world, seconds

    def __getattr__(self, name: str) -> Any:
        self._world.clock.advance(self._seconds)
        return getattr(self._world.ports.marketplace, name)


def doctor(world: World, vast: Marketplace) -> dict[str, Mapping[str, Any]]:
    scaler = replace(world.ports, marketplace=vast)
    ports = replace(scaler, poke=Asking(lambda question: answer(scaler, question)))
    return {str(row["name"]): row for row in run_checks(ports, OWNER, "prod")}


@pytest.mark.parametrize("seconds", [0.2, 2.0, 8.0, 9.9])
def test_a_market_that_answers_late_is_called_slow_within_the_gateways_time(
    seconds: float,
) -> None:
    world = World(seed=1)
    for name in ("llm", "images", "audio"):
        world.add_group(name)
    started = world.clock.now()
    told = doctor(world, Slow(world, seconds))
    assert world.clock.now() - started < GATEWAY_S
    assert told["scaler"]["ok"], "it did answer"
    ill = [row for row in told.values() if not row["ok"] and "slowly" in row["detail"]]
    assert bool(ill) == (seconds > 1.0)
    assert all("try again" in row["fix"] for row in ill)
    assert "give the key" not in told["vast key"]["fix"]


@pytest.mark.parametrize("body", ["Internal Server Error", "<html>502</html>", "{}"])
def test_a_plain_500_of_vast_is_named_and_no_key_is_blamed(body: str) -> None:
    world = World(seed=1)
    world.add_group("llm")
    told = doctor(world, adapter(Transport(VastAnswer(500, body))))
    for name in ("scaler", "vast key"):
        assert not told[name]["ok"]
        assert "500" in told[name]["detail"]
        assert told[name]["fix"] == WAIT
    assert "500" in told["template of llm"]["detail"]
    assert "try again" in told["template of llm"]["fix"]

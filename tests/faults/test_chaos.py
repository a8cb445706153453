"""Chaos: thousands of rounds on a market where everything goes wrong, by its own bill.

Replay a failure: `BALLAST_CHAOS_SEED=SEED pytest tests/faults/test_chaos.py -m long`.
"""

from __future__ import annotations

import os
import random

import pytest

from chalicelib.core.account import day_of
from chalicelib.services.scaling_loop import LEASE_S, scaling_loop
from fakes.faulty_ports import Break, Killed, Mode, OutgoingCalls
from fakes.market_config import MarketConfig, Odds
from fakes.world import World

CAP_USD_PER_HOUR, CAP_USD_PER_DAY = 3.0, 25.0
MAX_WORKERS = 5
ROUGH = MarketConfig(
    odds=Odds(
        boot_error=0.1, load_stuck=0.1, start_refused=0.1, start_stuck=0.05, mean_life_s=36_000.0
    ),
    credit_usd=1e6,
)
FAULTS = (
    "deprecated-list",
    "empty-list",
    "html-list",
    "duplicate-ids",
    "listing-lags",
    "create-timeout-rented",
    "create-timeout-not-rented",
    "success-false-contract",
    "offer-gone",
    "boot-error",
    "load-stuck",
    "start-refused",
    "start-stuck",
    "partial-bulk",
    "destroy-fails",
    "destroy-404",
    "429-storm",
    "market-down",
    "host-dies",
    "interrupted",
    "price-increase",
    "credit-zero",
)


class Chaos:
    """A world, dice, and what the market billed per day."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = World(ROUGH, seed=seed)
        self.world.ledger.set_caps(
            {
                "caps_microusd_per_hour": int(CAP_USD_PER_HOUR * 1e6),
                "caps_microusd_per_day": int(CAP_USD_PER_DAY * 1e6),
                "caps_idle_microusd_per_day": 20_000_000,
            }
        )
        self.group = self.world.add_group(max_workers=MAX_WORKERS, cold_workers=1)
        self.on: set[str] = set()
        self.day = day_of(self.world.now)
        self.billed_before_today = 0.0

    def step(self) -> None:
        """One moment of bad luck, one round, some traffic, some time."""
        self._toggle_a_fault()
        self._silence_workers()
        self._round()
        if self.dice.random() < 0.5:
            self.world.ask(self.group.endpoint_id, self.dice.randrange(6))
        self.world.tick(self.dice.choice((5.0, 5.0, 5.0, 15.0, 60.0)))
        self.check()

    def heal(self, n_rounds: int = 60) -> None:
        """Everything works again; the owner raises no cap, but a new day begins."""
        for fault in sorted(self.on):
            self.world.market.switch_off(fault, self.world.now)
        self.on.clear()
        self.world.clock.advance(86_400.0)
        for _ in range(n_rounds):
            for process in self.world.processes.values():
                process.is_silent = False
            scaling_loop(self.world.owner_ports, deadline_at=self.world.now + 1)
            self.world.tick(60.0)

    def check(self) -> None:
        world = self.world
        bill = world.market.bill(world.now)
        assert bill.peak_usd_per_hour <= CAP_USD_PER_HOUR, "the hour's cap, by the market's bill"
        if day_of(world.now) != self.day:
            self.day, self.billed_before_today = day_of(world.now), bill.total_usd
        assert bill.total_usd - self.billed_before_today <= CAP_USD_PER_DAY, "the day's cap"
        rows = {row.instance_id for row in world.workers.rows.values()}
        n_unknown = len(set(world.market.instances) - rows)
        n_open = sum(1 for intent in world.ledger.intents() if intent.is_open)
        assert len(rows) + n_open <= MAX_WORKERS + n_unknown

    def _toggle_a_fault(self) -> None:
        if self.dice.random() > 0.1:
            return
        fault = self.dice.choice(FAULTS)
        if fault in self.on:
            self.world.market.switch_off(fault, self.world.now)
            self.on.discard(fault)
        elif len(self.on) < 3:
            self.world.market.switch_on(fault, self.world.now)
            self.on.add(fault)

    def _silence_workers(self) -> None:
        for process in self.world.processes.values():
            if self.dice.random() < 0.02:
                process.is_silent = not process.is_silent

    def _round(self) -> None:
        world = self.world
        luck = self.dice.random()
        breaks = None
        if luck < 0.15:
            breaks = Break(self.dice.randrange(30), self.dice.choice(tuple(Mode)))
        ports = OutgoingCalls(breaks).wrap(world.owner_ports)
        try:
            scaling_loop(ports, deadline_at=world.now + self.dice.choice((1.0, 30.0)))
        except Killed:
            if self.dice.random() < 0.5:
                world.clock.advance(LEASE_S + 1)
        if luck > 0.9:
            scaling_loop(world.owner_ports, deadline_at=world.now + 1)


def _run(seed: int, n_rounds: int) -> None:
    chaos = Chaos(seed)
    try:
        for _ in range(n_rounds):
            chaos.step()
        chaos.heal()
        world = chaos.world
        rows = {row.instance_id for row in world.workers.rows.values()}
        assert rows == set(world.market.instances)
        assert len(rows) <= MAX_WORKERS
        world.ask(chaos.group.endpoint_id, 2)
        chaos.heal(20)
        assert world.n_waiting == 0, "demand is served again"
    except AssertionError as error:
        error.add_note(f"replay: BALLAST_CHAOS_SEED={seed} pytest tests/faults/test_chaos.py")
        raise


@pytest.mark.parametrize("seed", range(3))
def test_short_chaos(seed: int) -> None:
    _run(seed, 250)


@pytest.mark.long
def test_ten_thousand_rounds_of_chaos() -> None:
    _run(int(os.environ.get("BALLAST_CHAOS_SEED", random.randrange(10**6))), 10_000)

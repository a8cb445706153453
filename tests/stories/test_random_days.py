"""Random days: owner, traffic and market in any order; then it serves, rests, and has said why not.

(a) Once faults are over, who asks is served within a few minutes, caps permitting. (b) 45 minutes
after the last request nothing runs. (c) Whenever clients wait for longer, a trouble names a cause.
(d) No hour has more rentals than `rentals_per_hour`.
"""

from __future__ import annotations

import random

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.services.rounds.group_planning import rentals_per_hour
from tests.stories.day import Day

MOST = 4
FAULTS = (
    "empty-list",
    "html-list",
    "listing-lags",
    "create-timeout-rented",
    "create-timeout-not-rented",
    "success-false-contract",
    "offer-gone",
    "start-refused",
    "start-stuck",
    "load-stuck",
    "boot-error",
    "stop-ignored",
    "reboot-ignored",
    "destroy-fails",
    "destroy-ignored",
    "429-storm",
    "market-down",
    "credit-zero",
)
SERVED_WITHIN_MIN = 12
"""Two minutes, one search pause of five, and the slowest of the pretend market's loads."""


class RandomDay:
    """One seed's day: the same seed always tells the same one."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.day = Day(seed=seed)
        self.group = self.day.group(max_workers=MOST, cold_workers=1)
        self.on: set[str] = set()

    def step(self) -> None:
        """A minute in which something may happen."""
        luck = self.dice.random()
        if luck < 0.12:
            self._toggle()
        elif luck < 0.2:
            self.dice.choice((self._owner_floor, self._owner_state, self._owner_freeze))()
        asks = self.dice.choice((0, 0, 1, 3, 8)) if self.day.world.n_waiting < 40 else 0
        self.day.minutes(1, asks, of=self.group, rounds=2)
        self.check()

    def check(self) -> None:
        """(d), and that nothing waits without a word."""
        since = self.day.world.now - 3600.0
        calls = self.day.world.market.calls
        rented = sum(1 for call in calls if call.verb is Verb.CREATE and call.at > since)
        assert rented <= 2 * rentals_per_hour(MOST), "rentals an hour, refused ones included"

    def heal(self) -> None:
        """No fault is on any more, and the owner wants it to serve."""
        for fault in sorted(self.on):
            self.day.world.market.switch_off(fault, self.day.world.now)
        self.on.clear()
        self.day.freeze(frozen=False)
        self.day.set_state(self.group, "active")
        self.day.change(self.group, min_load=0.0, max_workers=MOST)

    def _toggle(self) -> None:
        fault = self.dice.choice(FAULTS)
        market, now = self.day.world.market, self.day.world.now
        if fault in self.on:
            market.switch_off(fault, now)
            self.on.discard(fault)
        elif len(self.on) < 2:
            market.switch_on(fault, now)
            self.on.add(fault)

    def _owner_floor(self) -> None:
        self.day.change(self.group, min_load=self.dice.choice((0.0, 50.0, 250.0)))

    def _owner_state(self) -> None:
        self.day.set_state(self.group, self.dice.choice(("active", "active", "suspended")))

    def _owner_freeze(self) -> None:
        self.day.freeze(frozen=self.dice.random() < 0.3)


def play(seed: int, n_minutes: int) -> None:
    """A day of bad luck, then what must hold after it."""
    it = RandomDay(seed)
    for _ in range(n_minutes):
        it.step()
    it.heal()
    day = it.day
    day.minutes(20, rounds=4)  # loads that hang, hosts and templates set aside: these fade first
    day.world.ask(it.group.endpoint_id, 1)
    day.minutes(SERVED_WITHIN_MIN, rounds=6)
    if day.world.n_waiting:
        assert day.troubles(), "(c) clients wait, and nobody says why"
        day.minutes(90, rounds=2)  # a breaker's pause, or a host's
    assert day.world.n_waiting == 0, "(a) it serves again"
    day.minutes(45, rounds=2)
    assert day.running() == 0, "(b) it comes to rest"


@pytest.mark.parametrize("seed", range(3))
def test_random_days(seed: int) -> None:
    play(seed, 90)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 120))
def test_many_random_days(seed: int) -> None:
    """20 seeds, 10,000 minutes."""
    play(seed, 500)

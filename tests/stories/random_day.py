"""One engine for days in which anything may happen: a seed's dice play it, or Hypothesis does.

A day is a list of acts: what somebody did (the owner, the market, a deploy, a clock), and the
minute of traffic that followed. After every minute its liveness is checked beside its safety:

(a) once no fault has been on for `SETTLED_S`, whoever asks is served, or somebody comes who will
    serve; (b) 45 minutes after the last request nothing runs, but for floors; (c) where (a) or (b)
    is not so, a trouble says why; (d) an hour has no more rentals than `rentals_per_hour`, nor
    more refused tries than the pauses between them allow, and
    never are there more machines than `max_workers`, nor dollars an hour than the cap.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from chalicelib.core.fleet.intents import IntentState
from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.fleet.set_aside import FREE_TRIES, LONGEST_PAUSE_S
from chalicelib.core.model.worker import WorkerState
from chalicelib.services.rounds.group_planning import rentals_per_hour
from chalicelib.services.routing.memory import RouterMemory
from tests.stories.day import Day

MOST = 4
CAP_USD = 20.0
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
FLOORS = (0.0, 50.0, 250.0)
SLIPS_S = (-120.0, 600.0, 86_400.0, 40 * 86_400.0)
TRAFFIC = (0, 0, 1, 3, 8)
MINUTE_S = 60.0
SETTLED_S = 420.0
"""Two minutes, and one search pause of five."""
LOAD_S = 300.0
"""More than the 95th percentile of the pretend market's prompt loads (`fakes/market`)."""
FIRST_TRIES = FREE_TRIES + 3  # without a pause, and in the pauses that grow to the longest
REST_S = 45 * MINUTE_S
ON_ITS_WAY = frozenset(
    {
        WorkerState.CREATING,
        WorkerState.LOADING,
        WorkerState.MODEL_LOADING,
        WorkerState.STARTING,
        WorkerState.REBOOTING,
        WorkerState.READY,
    }
)


@dataclass(frozen=True, slots=True)
class Act:
    """What happens before a minute: its kind and its argument; `asks`: requests in that minute."""

    kind: str  # "fault", "floor", "state", "freeze", "most", "deploy", "slip" or "" (nothing)
    what: str = ""
    amount: float = 0.0
    asks: int = 0


KINDS = ("fault", "floor", "state", "freeze", "most", "deploy", "slip")


def random_act(dice: random.Random) -> Act:
    """Mostly nothing; else anything."""
    asks = dice.choice(TRAFFIC)
    luck = dice.random()
    if luck < 0.12:
        return Act("fault", dice.choice(FAULTS), asks=asks)
    if luck > 0.22:
        return Act("", asks=asks)
    kind = dice.choice(KINDS[1:])
    what = dice.choice(("active", "active", "suspended")) if kind == "state" else ""
    amount = {
        "floor": dice.choice(FLOORS),
        "freeze": float(dice.random() < 0.3),
        "most": float(dice.choice((1, 2, MOST))),
        "slip": dice.choice(SLIPS_S),
    }.get(kind, 0.0)
    return Act(kind, what, amount, asks)


class RandomDay:
    """An account with one group, to which acts are done."""

    def __init__(self, seed: int) -> None:
        self.day = Day(seed=seed, cap_usd_per_hour=CAP_USD)
        self.group = self.day.group(max_workers=MOST, cold_workers=1)
        self.on: set[str] = set()
        self.floor, self.most, self.state, self.is_frozen = 0.0, MOST, "active", False
        self.calm_since = self.asked_at = self.day.world.now
        self.waiting_since = 0.0  # 0: nobody waits
        self.slipped: list[float] = []  # when a loop ran under a wrong clock

    def act(self, act: Act) -> None:
        """Do it, let a minute pass, look."""
        day = self.day
        match act.kind:
            case "fault":
                self._toggle(act.what)
            case "floor":
                self.floor = act.amount
                day.change(self.group, min_load=act.amount)
            case "state":
                self.state = act.what
                day.set_state(self.group, act.what)
            case "freeze":
                self.is_frozen = bool(act.amount)
                day.freeze(frozen=self.is_frozen)
            case "most":
                self.most = int(act.amount)
                day.change(self.group, max_workers=self.most)
            case "deploy":
                day.world.clients.deploy(RouterMemory())
            case "slip":
                day.slip(act.amount)
                self.calm_since = day.world.now
                self.slipped.append(day.world.now)
            case _:
                assert not act.kind, f"no such act: {act.kind}"
        self.minute(act.asks)

    def minute(self, asks: int = 0, *, rounds: int = 2) -> None:
        """A minute of traffic; then what must always hold."""
        day = self.day
        asks = asks if day.world.n_waiting < 40 else 0
        if asks:
            self.asked_at = day.world.now
        day.minutes(1, asks, of=self.group, rounds=rounds)
        now = day.world.now
        if self.on or self.is_frozen or self.state != "active":
            self.calm_since = now
        if not day.world.n_waiting:
            self.waiting_since = 0.0
        else:
            self.asked_at = now
            self.waiting_since = self.waiting_since or now
        self._check_safety()
        self._check_liveness()

    def heal(self) -> None:
        """No fault is on any more; the owner wants it to serve, and raises what idle may cost."""
        self.day.world.ledger.set_caps({"caps_idle_microusd_per_day": 1_000_000_000})
        for fault in sorted(self.on):
            self.day.world.market.switch_off(fault, self.day.world.now)
        self.on.clear()
        for act in (Act("freeze"), Act("state", "active"), Act("floor"), Act("most", amount=MOST)):
            self.act(act)

    def ends_well(self) -> None:
        """After the last fault who asks is served; after the last request nothing runs."""
        self.heal()
        for _ in range(20):  # hosts and templates that were set aside: these fade first
            self.minute(rounds=4)
        self.minute(1, rounds=6)
        for _ in range(int((SETTLED_S + LOAD_S) / MINUTE_S)):
            self.minute(rounds=6)
        for _ in range(90):  # a breaker's pause, or a host's: told meanwhile
            if self.day.world.n_waiting:
                self.minute()
        assert self.day.world.n_waiting == 0, "(a) it serves again"
        for _ in range(int(REST_S / MINUTE_S) + 1):
            self.minute()
        assert self.day.running() == 0, "(b) it comes to rest"

    def _check_safety(self) -> None:
        world = self.day.world
        since = world.now - 3600.0
        tried = sum(1 for c in world.market.calls if c.verb is Verb.CREATE and c.at > since)
        intents = [one for one in world.ledger.by_token.values() if one.planned_at > since]
        rented = sum(1 for one in intents if one.state is not IntentState.VOID)
        n_hours = 1 + sum(1 for at in self.slipped if at > since)  # for a slip's loop another one
        most = n_hours * rentals_per_hour(MOST)
        assert rented <= most + MOST, "(d) rentals an hour"
        # What Vast refuses costs nothing: it is tried once in each pause, after the first few.
        refused_at_most = n_hours * (3600.0 / LONGEST_PAUSE_S + FIRST_TRIES)
        assert tried - rented <= refused_at_most, "(d) refused rentals an hour"
        assert world.market.bill(world.now).peak_usd_per_hour <= CAP_USD
        open_intents = sum(1 for one in world.ledger.by_token.values() if one.is_open)
        assert len(world.workers.rows) + open_intents <= MOST + 1, "machines"

    def _check_liveness(self) -> None:
        day, now = self.day, self.day.world.now
        if now - self.calm_since < SETTLED_S:
            return
        comes = any(row.state in ON_ITS_WAY for row in day.world.workers.rows.values())
        waited_s = now - max(self.waiting_since, self.calm_since) if self.waiting_since else 0.0
        if waited_s >= SETTLED_S and not comes:
            assert day.troubles(), "(c) somebody waits, nobody comes, and nobody says why"
        if waited_s >= SETTLED_S + 2 * LOAD_S:
            assert day.troubles(), "(c) somebody waits for longer than a load, unsaid"
        is_at_rest = now - max(self.asked_at, self.calm_since) >= REST_S and self.floor == 0.0
        if is_at_rest and day.running():
            assert day.troubles(), "(b) a GPU is paid 45 minutes after the last request, unsaid"

    def _toggle(self, fault: str) -> None:
        market, now = self.day.world.market, self.day.world.now
        if fault in self.on:
            market.switch_off(fault, now)
            self.on.discard(fault)
        elif len(self.on) < 2:
            market.switch_on(fault, now)
            self.on.add(fault)

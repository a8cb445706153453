"""SkyServe's use of interruptible machines: spot first, over-provisioned, on demand as a fallback.

Source: skypilot-org/skypilot sky/serve/autoscalers.py, tests of FallbackRequestRateAutoscaler, and
docs spot-policy: spot wanted = target + num_overprovision; dynamic fallback = target - ready spot,
on demand; spot_placer "dynamic_fallback": zones that lately took a replica away are avoided while
another is left, and the zone with the fewest replicas is next. Mao et al., SkyServe, EuroSys 2025.

Kinder than the original: the scaling law is the strongest of the rivals (occupancy over u, held for
W seconds), both kinds of machines have our cold pool, and outbid ones are kept for an hour, since
they may come back. Tuned knobs: u, W and num_overprovision; without fallback: all interruptible.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ballast.simulator.rivals.occupancy_window import OccupancyWindow
from ballast.simulator.rivals.pool import (
    DRAIN_DEADLINE_S,
    POOL_WINDOW_S,
    UNUSED_S,
    LawPolicy,
    SlidingMax,
    by_price,
    give_up_stuck,
    pool_size,
)
from ballast.simulator.world.machine import Life, Machine
from ballast.simulator.world.world import World

KEPT_OUTBID_S = 3600.0
AVOIDED_S = 1800.0  # a zone that took a replica away
_SERVING = (Life.READY, Life.STARTING)


@dataclass(slots=True)
class SpotHedge(LawPolicy):
    """Interruptible machines for the target and some more, others for what is missing of it."""

    n_over: int = 1
    has_fallback: bool = True
    _spot_peak: SlidingMax = field(default_factory=lambda: SlidingMax(POOL_WINDOW_S))
    _fallback_peak: SlidingMax = field(default_factory=lambda: SlidingMax(POOL_WINDOW_S))
    _taken_at: dict[str, float] = field(default_factory=dict)

    def round(self, world: World, now: float) -> None:
        """Observe, ask the law, act on both kinds of machines."""
        hot = max(self.law.wanted(self._observe(world, now)), 0)
        give_up_stuck(world, now)
        self._note_losses(world, now)
        wanted = hot + self.n_over if hot else 0
        spots = [m for m in world.machines.values() if m.is_bid]
        _match(world, spots, wanted)
        n_ready = sum(m.life is Life.READY for m in spots)
        fallback = max(hot - n_ready, 0) if self.has_fallback else 0
        _match(world, [m for m in world.machines.values() if not m.is_bid], fallback)
        self._hold_spots(world, pool_size(wanted, self._spot_peak.add(now, wanted)), now)
        peak = self._fallback_peak.add(now, hot if self.has_fallback else 0)
        _hold_on_demand(world, math.ceil(peak), now)

    def _note_losses(self, world: World, now: float) -> None:
        for machine in list(world.machines.values()):
            if machine.life is not Life.PAUSED:
                continue
            if machine.since >= now - world.round_s:
                self._taken_at[machine.offer.geolocation] = now
            if now - machine.since > KEPT_OUTBID_S:
                world.destroy(machine)

    def _hold_spots(self, world: World, total: int, now: float) -> None:
        held = [m for m in world.machines.values() if m.is_bid and m.life is not Life.PAUSED]
        offers = world.market.bids(now, world.losses) if world.losses is not None else []
        n_at: dict[str, int] = {}
        for machine in held:
            zone = machine.offer.geolocation
            n_at[zone] = n_at.get(zone, 0) + 1
        for _ in range(max(total - len(held), 0)):
            calm = [o for o in offers if now - self._taken_at.get(o.geolocation, -1e9) > AVOIDED_S]
            usable = calm or offers
            if not usable:
                break
            best = min(
                usable,
                key=lambda o: (
                    n_at.get(o.geolocation, 0), o.usd_per_hour / o.dlperf, o.offer_id,
                ),
            )  # fmt: skip
            offers = [offer for offer in offers if offer.offer_id != best.offer_id]
            if world.rent(best) is not None:
                n_at[best.geolocation] = n_at.get(best.geolocation, 0) + 1
        _return_unused(world, held, total, now)


def _match(world: World, machines: list[Machine], wanted: int) -> None:
    """Recall, then start the cheapest while short; drain the dearest while long."""
    ranked = by_price(machines)
    serving = [machine for machine in ranked if machine.life in _SERVING]
    missing = wanted - len(serving)
    for machine in [m for m in ranked if m.life is Life.DRAINING][: max(missing, 0)]:
        world.recall(machine)
        missing -= 1
    for machine in [m for m in ranked if m.life is Life.STOPPED]:
        if missing <= 0:
            break
        world.start(machine)
        missing -= machine.life is Life.STARTING
    for machine in reversed([m for m in serving if m.life is Life.READY]):
        if missing >= 0:
            break
        world.drain(machine, then_destroy=False, deadline_s=DRAIN_DEADLINE_S)
        missing += 1


def _hold_on_demand(world: World, total: int, now: float) -> None:
    held = [machine for machine in world.machines.values() if not machine.is_bid]
    for _ in range(max(total - len(held), 0)):
        offers = world.market.offers(now)
        best = min(offers, key=lambda o: (o.usd_per_hour / o.dlperf, o.offer_id))
        if world.rent(best) is None:
            break
    _return_unused(world, held, total, now)


def _return_unused(world: World, held: list[Machine], total: int, now: float) -> None:
    unused = [m for m in by_price(held) if m.life is Life.STOPPED and now - m.since > UNUSED_S]
    n_left = len(held)
    while unused and n_left - 1 >= 1.2 * total:
        world.destroy(unused.pop())
        n_left -= 1


def spot_hedge(
    utilisation: float = 1.2, hold_s: float = 120.0, n_over: float = 1, *, has_fallback: bool = True
) -> SpotHedge:
    """The policy at a knob's point."""
    law = OccupancyWindow(utilisation, hold_s)
    return SpotHedge(law, n_over=int(n_over), has_fallback=has_fallback)

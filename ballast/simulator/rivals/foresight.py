"""What our law would reach if it knew what comes: a bound, no rival.

It is told through the owner's own floors: `min_load` is the most that will be in service within
the next start, `min_cold_load` the most within the next load, as if each request began at once on a
typical machine. So it has the same moves and market as ours, and the same odds of failures.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from itertools import accumulate

from ballast.simulator.ours import BallastPolicy
from ballast.simulator.world.traces import Trace
from ballast.simulator.world.world import World

START_S = 45.0  # nine of ten starts are up by then: a median of 20 s, sigma 0.5, and two rounds
LOAD_S = 900.0  # and nearly all loads: a median of 300 s, sigma 0.6
PERF = 1.2  # of the machines that the law picks from the default market, in the mean


@dataclass(slots=True)
class Foresight(BallastPolicy):
    """Our law, and what demand will be; its target says how much it does by itself."""

    _times: list[float] = field(default_factory=list)
    _levels: list[float] = field(default_factory=list)

    def round(self, world: World, now: float) -> None:
        """Set the floors, then decide as always."""
        if not self._times:
            self._times, self._levels = in_service(world.trace, world.config.slots, PERF)
        self.params = replace(
            self.params,
            min_load=self._most(now, now + START_S),
            min_cold_load=self._most(now, now + LOAD_S),
        )
        BallastPolicy.round(self, world, now)

    def _most(self, since: float, until: float) -> float:
        first = max(bisect_left(self._times, since) - 1, 0)
        return max(self._levels[first : bisect_left(self._times, until)], default=0.0)


def in_service(trace: Trace, slots: int, perf: float) -> tuple[list[float], list[float]]:
    """(times, load per second in service from then on), if every request begins as it comes."""
    steps = [(at, 1) for at in trace.times]
    service = slots / perf
    steps += [(at + load * service, -1) for at, load in zip(trace.times, trace.loads, strict=True)]
    steps.sort()
    counts = accumulate(step for _, step in steps)
    return [at for at, _ in steps], [n * perf / slots for n in counts]

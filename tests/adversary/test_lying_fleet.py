"""One liar in a fleet that works: it drains no honest machine, and starts and rents none.

Whatever it says, as long as the others serve all that is asked for. What it says may be false in
any field, and true to all its other fields: a machine that holds what it is granted, and tells of
its work in turn, is a slow one by every account.
"""

from __future__ import annotations

from statistics import fmean

import pytest

from fakes.worlds.world import PERF, REQUEST_COST
from tests.adversary.lying_fleet import SLOTS, Lie, LyingFleet, Told


def says(**fields: object) -> Lie:
    return lambda truth: {**truth, **fields}


def full(times: float, n: int = SLOTS, slots: int = SLOTS) -> Lie:
    """`n` requests are at work at every report, and what was granted before is done."""

    def lie(truth: Told) -> Told:
        load = n * REQUEST_COST
        done = max(0.0, float(str(truth["received_load"])) - load)
        told = {"max_perf": times * PERF, "slots": slots, "num_requests_working": n}
        return {**truth, **told, "cur_load": load, "finished_load": done}

    return lie


def saturated(times: float) -> Lie:
    """Full, and all that came is done: what the test on real processes tells, too."""
    return lambda truth: {
        **truth,
        "max_perf": times * PERF,
        "num_requests_working": SLOTS,
        "finished_load": truth["received_load"],
    }


def slow_by_its_account(times: float) -> Lie:
    """Full at every report, and finishes a third of what the others could, granted or not."""
    n_told = 0

    def lie(truth: Told) -> Told:
        nonlocal n_told
        n_told += 1
        done = float(str(truth["received_load"])) + 0.3 * PERF * n_told
        told = {"max_perf": times * PERF, "num_requests_working": SLOTS, "cur_load": 400.0}
        return {**truth, **told, "received_load": done + 400.0, "finished_load": done}

    return lie


def idle(times: float) -> Lie:
    return lambda truth: {
        **truth,
        "max_perf": times * PERF,
        "num_requests_working": 0,
        "cur_load": 0.0,
        "finished_load": truth["received_load"],
    }


SPEEDS = (0.01, 0.2, 0.5, 0.79, 1.0, 1.27, 2.0, 20.0, 1e10)
LIES: dict[str, Lie] = {
    **{f"perf x {times:g}": says(max_perf=times * PERF) for times in SPEEDS},
    **{f"full, perf x {times:g}": full(times) for times in SPEEDS},
    **{f"saturated, perf x {times:g}": saturated(times) for times in SPEEDS},
    **{f"idle, perf x {times:g}": idle(times) for times in SPEEDS},
    "slow, perf x 20": slow_by_its_account(20.0),
    "slow, perf x 1": slow_by_its_account(1.0),
    "slow, perf x 0.5": slow_by_its_account(0.5),
    "forty at work": full(1.0, n=40),
    "one slot, full": full(1.0, n=1, slots=1),
    "one slot, many": says(slots=1, num_requests_working=10**9),
    "no slots, load 1e15": says(slots=0, cur_load=1e15, num_requests_working=10**9),
    "slots 1e6": says(slots=10**6),
}

CASES = [(2, 1.1, 0.4), (2, 1.4, 0.3), (2, 1.88, 0.4), (3, 2.1, 0.5), (3, 2.5, 0.6), (4, 3.5, 0.65),
         (5, 4.3, 0.7)]  # fmt: skip
BESIDE_ONE = [name for name in LIES if not name.endswith(("x 0.01", "x 0.2"))]
"""Routers believe the slower one of two: beside a fifth of its speed callers wait for the other."""


@pytest.mark.parametrize("name", ["slow, perf x 20"])
def test_little_finished_work_of_a_full_machine_starts_no_other(name: str) -> None:
    seen = LyingFleet(2, 1.4, 0.2).play(LIES[name], warm_s=20, lied_s=60)
    assert (seen.lost, seen.n_started, seen.n_rented) == (set(), 0, 0)


@pytest.mark.long
@pytest.mark.parametrize(("n", "floor", "load"), CASES)
def test_a_liar_drains_no_honest_machine_and_starts_and_rents_none(
    n: int, floor: float, load: float
) -> None:
    """`floor` lies between what n - 1 and n serve, and what is asked for below what n - 1 do."""
    names = BESIDE_ONE if n == 2 else [*LIES]
    found = {name: LyingFleet(n, floor, load).play(LIES[name]) for name in names}
    assert {name: seen.lost for name, seen in found.items() if seen.lost} == {}
    done = {name: (seen.n_started, seen.n_rented) for name, seen in found.items()}
    assert {name: counts for name, counts in done.items() if counts != (0, 0)} == {}


@pytest.mark.long
@pytest.mark.parametrize(("n", "load", "most"), [(2, 0.85, 0.65), (2, 0.95, 0.61), (3, 0.85, 0.48)])
def test_a_claim_within_belief_wins_nothing_in_the_mean_beyond_idleness(
    n: int, load: float, most: float
) -> None:
    """`most` of the load: what docs/internals/security.md says of it, and two points for luck."""
    seeds = (1, 2, 3, 4, 5)
    means = {}
    for name in ("idle, perf x 1", "idle, perf x 1.27"):
        fleets = [LyingFleet(n, n - 0.12, load, seed=seed) for seed in seeds]
        shares = [f.play(LIES[name], warm_s=40).share(f.liar) for f in fleets]
        means[name] = fmean(shares)
    assert means["idle, perf x 1.27"] <= min(most, means["idle, perf x 1"] + 0.02)


@pytest.mark.long
def test_a_machine_that_is_really_slow_is_made_up_for_by_those_who_wait() -> None:
    """It counts as its type, so it is its callers that ask for another."""
    fleet = LyingFleet(2, 1.4, 0.7)
    fleet.speeds[fleet.liar] = 0.2
    seen = fleet.play(None, lied_s=400)
    assert seen.n_started + seen.n_rented >= 1
    assert fleet.world.n_waiting == 0

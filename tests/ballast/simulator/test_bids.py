"""Interruptible machines in the simulator: losses, lives and bills, rivals, the table."""

from __future__ import annotations

import gzip
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

import pytest

from ballast.simulator.bids import Run, main, read_runs, table
from ballast.simulator.policies import make_policy
from ballast.simulator.rivals.spothedge import spot_hedge
from ballast.simulator.run import Setting, make_dispatcher, run_policy
from ballast.simulator.world.losses import (
    MODEL_STAY_H,
    Losses,
    LossesError,
    model_losses,
    trace_losses,
)
from ballast.simulator.world.machine import Life
from ballast.simulator.world.market import read_market
from ballast.simulator.world.traces import Trace, read_trace
from ballast.simulator.world.world import World

SURE = read_market(
    boot_failure=0.0, start_stuck=0.0, mean_life_h=1e9, load_sigma=0.0, start_sigma=0.0
)
HOUR = 3600.0


def world_of(losses: Losses, *, times: list[float] | None = None) -> World:
    at = times or [0.0]
    trace = Trace(name="t", times=at, loads=[1.0] * len(at), duration_s=4 * HOUR)
    config = replace(SURE, zones=losses.zones)
    world = World(trace=trace, config=config, seed=1, losses=losses)
    world.dispatcher = make_dispatcher("early", world)
    return world


class RentOne:
    """Rents the cheapest bid at once, and does nothing more."""

    def round(self, world: World, now: float) -> None:
        if not world.machines:
            assert world.losses is not None
            best = min(world.market.bids(now, world.losses), key=lambda o: o.usd_per_hour)
            world.rent(best)


def test_a_machine_is_taken_and_comes_back_and_pays_its_bid_while_it_runs() -> None:
    losses = Losses({"a": [(-math.inf, 1.0), (HOUR, math.inf), (2 * HOUR, 1.0)]})
    world = world_of(losses)
    world.policy = RentOne()
    world.run()
    world.bill()  # settles what runs
    (machine,) = world.machines.values()
    assert machine.life is Life.READY
    assert (world.counters.n_taken, world.counters.n_resumed) == (1, 1)
    assert machine.gpu_s == pytest.approx(3 * HOUR - SURE.load_free_s)
    assert machine.gpu_usd == pytest.approx(machine.gpu_s / HOUR * machine.bid_usd_per_hour)
    on_demand = {o.gpu_name: o.usd_per_hour for o in world.market.offers(0.0)}
    assert machine.bid_usd_per_hour < 0.8 * on_demand[machine.offer.gpu_name]


def test_what_was_being_served_is_cut_and_served_again() -> None:
    losses = Losses({"a": [(-math.inf, 1.0), (HOUR, math.inf), (2 * HOUR, 1.0)]})
    world = world_of(losses, times=[HOUR - 1.0])
    world.policy = RentOne()
    world.run()
    assert world.counters.n_broken == 1
    assert world.waits[0] > HOUR


def test_a_higher_bid_outlives_a_rival_and_none_outlives_a_renter_on_demand() -> None:
    for floor, taken in ((1.2, 0), (1.3, 1), (math.inf, 1)):
        world = world_of(Losses({"a": [(-math.inf, 1.0), (HOUR, floor)]}))
        offer = min(world.market.bids(0.0, world.losses or Losses()), key=lambda o: o.offer_id)
        bid = 1.25 * offer.bid_usd_per_hour
        world.rent(replace(offer, bid_usd_per_hour=bid, usd_per_hour=bid, bid_margin=1.25))
        world.policy = RentOne()
        world.run()
        assert world.counters.n_taken == taken


def test_model_losses_are_the_same_for_a_seed_and_others_for_another() -> None:
    assert model_losses(86_400.0, 1).steps == model_losses(86_400.0, 1).steps
    assert model_losses(86_400.0, 1).steps != model_losses(86_400.0, 2).steps
    assert len(model_losses(86_400.0, 1).zones) == 5


@pytest.mark.parametrize("is_memoryless", [False, True])
def test_the_models_stays_are_as_long_and_as_uneven_as_said(*, is_memoryless: bool) -> None:
    stays_h = []
    for seed in range(12):
        steps = model_losses(40 * 86_400.0, seed, is_memoryless=is_memoryless).steps["zone-1"]
        stays_h += [
            (to - at) / HOUR
            for (at, floor), (to, _) in pairwise(steps)
            if floor == 1.0 and at > -math.inf
        ]
    assert fmean(stays_h) == pytest.approx(MODEL_STAY_H[0], rel=0.2)
    uneven = fmean(stays_h) / median(stays_h)
    assert 1.2 < uneven < 1.7 if is_memoryless else 3.0 < uneven < 5.0


def availability(path: Path, text: str) -> Path:
    with gzip.open(path, "wt") as file:
        file.write(text)
    return path


def test_a_trace_of_availability_is_played_from_a_moment_of_the_seeds(tmp_path: Path) -> None:
    path = availability(
        tmp_path / "z.csv.gz", "zone,from_s,to_s\na,0,1000\na,3000,90000\nb,0,90000\n"
    )
    losses = trace_losses(path, 80_000.0, 1)
    assert losses.zones == ("a", "b")
    assert losses.floor("b", 40_000.0) == 1.0
    assert trace_losses(path, 80_000.0, 1, ("b",)).zones == ("b",)
    with pytest.raises(LossesError, match="no zone"):
        trace_losses(path, 80_000.0, 1, ("c",))
    with pytest.raises(LossesError, match="days"):
        trace_losses(path, 200_000.0, 1)
    with pytest.raises(LossesError, match="not a trace"):
        trace_losses(availability(tmp_path / "x.csv.gz", "a,b\n1,2\n"), 10.0, 1)


def test_without_interruptible_machines_a_market_of_zones_changes_nothing_for_never() -> None:
    trace = read_trace("synthetic:steady", days=0.02, seed=0).scaled(3.0)
    plain = Setting(market=replace(SURE, zones=model_losses(1.0, 0).zones), queue="paced")
    with_losses = replace(plain, market=SURE, losses="model")
    alone = run_policy(trace, make_policy("ballast:0.99"), plain)
    beside = run_policy(trace, make_policy("ballast:0.99"), with_losses)
    assert alone == beside


def test_ours_pays_less_with_them_at_the_same_target() -> None:
    trace = read_trace("synthetic:steady", days=0.1, seed=0).scaled(3.0)
    setting = Setting(market=read_market(), queue="paced", losses="model")
    usd = {
        name: run_policy(trace, make_policy(f"{name}:0.99"), setting)
        for name in ("ballast", "ballast-mixed")
    }
    assert usd["ballast-mixed"].usd < 0.95 * usd["ballast"].usd
    assert usd["ballast-mixed"].bid_share > 0.3
    assert usd["ballast"].bid_share == 0.0
    assert usd["ballast-mixed"].within_slo > usd["ballast"].within_slo - 0.01


def test_the_rival_falls_back_to_machines_on_demand_and_back() -> None:
    losses = Losses({"a": [(-math.inf, 1.0), (HOUR, math.inf), (2 * HOUR, 1.0)]})
    world = world_of(losses, times=[60.0 * n for n in range(239)])
    world.policy = spot_hedge(1.0, 300.0, 1)
    seen: list[tuple[int, int]] = []

    def look(_: object) -> None:
        ready = [m for m in world.machines.values() if m.life is Life.READY]
        seen.append((sum(m.is_bid for m in ready), sum(not m.is_bid for m in ready)))

    for at in (0.9, 1.9, 3.5):
        world.at(at * HOUR, look)
    world.run()
    (bids, _), (none, fallback), (again, _) = seen
    assert bids >= 1
    assert (none, fallback >= 1) == (0, True)
    assert again >= 1


def run(policy: str, usd: float, within_slo: float = 0.99, seed: int = 0) -> Run:
    return Run(
        trace="t", days=1.0, losses="model", ratio=0.5, fleet=8.0, restart_s=20.0, policy=policy,
        seed=seed, within_slo=within_slo, usd=usd, creates_per_hour=2.0, taken=3, broken=0.0002,
        bid_share=0.8, lost=0,
    )  # fmt: skip


def test_the_table_compares_with_on_demand_and_with_rivals_at_equal_attainment() -> None:
    runs = [
        run("ballast:0.99", 100.0),
        run("ballast-mixed:0.99", 60.0),
        run("spothedge:1,120,1", 80.0, 0.999),
        run("spothedge:1.2,120,1", 75.0, 0.99),
    ]
    (line,) = table(runs)
    assert "| 0.600 | 1.00x | 0.00020 | 80% | 0.800 | - |" in line


def test_a_stopped_table_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "bids.jsonl"
    small = ["--trace", "synthetic:steady", "--days", "0.004", "--fleets", "2", "--seeds", "0"]
    options = [*small, "--rivals", "all-spot", "--results", str(results)]
    assert main(options) == 0
    lines = results.read_text().splitlines()
    results.write_text("\n".join(lines[:-1]) + "\n")
    capsys.readouterr()
    main(options)
    assert capsys.readouterr().err.count("Run(") == 1
    assert len(read_runs(results)) == len(lines)

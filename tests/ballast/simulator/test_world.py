"""The simulated world: its accounting on cases small enough to be worked out by hand."""

from __future__ import annotations

import json
import math

import pytest

from ballast.simulator.__main__ import main
from ballast.simulator.policies import KNOBS, LAWS, PolicyError, make_policy
from ballast.simulator.reference import clairvoyant_usd, lower_bound_usd
from ballast.simulator.rivals.foresight import in_service
from ballast.simulator.routed.routing import RoutingCase, compare
from ballast.simulator.run import QUEUES, ROUTED, Score, Setting, run_policy
from ballast.simulator.world.market import MachineType, MarketConfig, MarketError, read_market
from ballast.simulator.world.traces import Trace, TraceError, read_trace, synthesise

SURE = MarketConfig(
    types=(MachineType(name="X", usd_per_hour=3.6, perf=1.0),),
    slots=2,
    storage_usd_per_hour=0.0,
    price_sigma=0.0,
    perf_sigma=0.0,
    load_sigma=0.0,
    start_sigma=0.0,
    boot_failure=0.0,
    start_stuck=0.0,
    mean_life_h=1e9,
)


def trace_of(*requests: tuple[float, float], duration_s: float = 1000.0) -> Trace:
    times, loads = zip(*requests, strict=True)
    return Trace(name="t", times=list(times), loads=list(loads), duration_s=duration_s)


def test_the_lower_bound_is_the_load_at_the_best_price() -> None:
    assert lower_bound_usd(trace_of((0.0, 100.0), (5.0, 260.0)), SURE) == pytest.approx(0.36)


def test_foresight_is_told_the_load_in_service_as_if_each_request_began_at_once() -> None:
    # At 1.2 load/s in two slots the first lasts 40 s, the second from 10 s on 20 s.
    times, levels = in_service(trace_of((0.0, 24.0), (10.0, 12.0)), slots=2, perf=1.2)
    assert times == pytest.approx([0.0, 10.0, 30.0, 40.0])
    assert levels == pytest.approx([0.6, 1.2, 0.6, 0.0])


def test_clair_pays_busy_time_and_one_start_for_each_period() -> None:
    # Two requests of 10 s side by side, then one after a long pause: 10 + 20 and 10 + 20 seconds.
    trace = trace_of((100.0, 5.0), (100.0, 5.0), (500.0, 5.0))
    assert clairvoyant_usd(trace, SURE) == pytest.approx(60.0 / 3600 * 3.6)


def test_bills_count_the_gpu_from_a_minute_after_creation_and_not_while_stopped() -> None:
    # A fleet of one holds a spare too: both load until 300 s, the spare is parked at 305 s.
    score = run_policy(trace_of((800.0, 1.0)), make_policy("static:1"), Setting(market=SURE))
    serving_s, spare_s = 1000.0 - 100.0, 305.0 - 100.0  # the first 100 s are warm-up
    assert score.usd == pytest.approx((serving_s + spare_s) / 3600 * 3.6)
    assert score.within_slo == 1.0


def test_requests_queue_for_the_earliest_slot() -> None:
    trace = trace_of((800.0, 10.0), (800.0, 10.0), (801.0, 10.0))  # 20 s each on two slots
    score = run_policy(trace, make_policy("static:1"), Setting(market=SURE))
    assert score.p99_wait_s == pytest.approx(19.0)


CASES = [(policy, queue) for policy in sorted(LAWS) for queue in QUEUES if queue not in ROUTED]
CASES += [("ballast", queue) for queue in QUEUES]


@pytest.mark.parametrize(("policy", "queue"), CASES)
def test_every_policy_serves_every_queue_the_same_way_twice(policy: str, queue: str) -> None:
    trace = synthesise("chat", days=0.01, seed=1).scaled(1.5)
    market = read_market(load_median_s=30.0)
    runs = [
        run_policy(trace, make_policy(policy), Setting(market=market, queue=queue)) for _ in "ab"
    ]
    assert runs[0] == runs[1]
    assert runs[0].usd > 0


def test_routers_do_nearly_as_well_as_a_queue_that_knows_when_each_slot_comes_free() -> None:
    """Rows and views that are seconds old cost some waiting, but leave no slot unused for long."""
    trace = synthesise("chat", days=0.04, seed=1).scaled(6.0)
    policy = "static:9"  # hardly more than the load
    scores = {
        queue: run_policy(
            trace, make_policy(policy), Setting(market=read_market(load_median_s=30.0), queue=queue)
        )
        for queue in ("paced", "routed")
    }
    assert scores["routed"].within_slo > scores["paced"].within_slo - 0.03
    assert scores["routed"].lost == 0


def test_knobs_are_at_most_twelve_points_and_all_are_usable() -> None:
    for name, points in KNOBS.items():
        assert len(points) <= 12
        for point in points:
            make_policy(f"{name}:{point}")
    with pytest.raises(PolicyError, match="unknown policy"):
        make_policy("magic")


def test_traces_say_what_is_wrong_with_them(tmp_path) -> None:  # type: ignore[no-untyped-def]
    counts = tmp_path / "counts.csv"
    counts.write_text("t_s,count\n0,5\n")
    with pytest.raises(TraceError, match="counts per bin"):
        read_trace(str(counts))
    with pytest.raises(TraceError, match="unknown"):
        read_trace("synthetic:nothing")
    market = tmp_path / "market.toml"
    market.write_text("speed = 3\n[[types]]\nname='X'\nusd_per_hour=1.0\nperf=1.0\n")
    with pytest.raises(MarketError, match="speed"):
        read_market(market)


def test_scaling_a_trace_keeps_its_bursts_and_sets_its_mean() -> None:
    trace = synthesise("bursty", days=0.05, seed=3)
    scaled = trace.scaled(8.0)
    assert scaled.times == trace.times
    assert sum(scaled.loads) / scaled.duration_s == pytest.approx(8.0)


def test_a_part_of_a_trace_begins_at_its_own_second_0() -> None:
    whole = read_trace("synthetic:bursty", days=0.05, seed=3)
    part = read_trace("synthetic:bursty", days=0.01, start_day=0.04, seed=3)
    assert part.duration_s == pytest.approx(864.0)
    assert part.times[-1] + 3456.0 == pytest.approx(whole.times[-1])
    assert len(whole.part(math.inf, 0.04).times) == len(part.times)


def test_a_part_of_a_file_lasts_until_its_end_whatever_comes_last(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "trace.csv"
    file.write_text("t_s,load\n0,5\n40000,6\n70000,7\n80000,not read\n")
    part = read_trace(str(file), days=0.5, start_day=0.25)
    assert (part.times, part.loads) == ([18_400.0], [6.0])
    assert part.duration_s == 43_200.0
    with pytest.raises(TraceError, match="no request in days"):
        read_trace(str(file), days=0.05, start_day=0.5)


@pytest.mark.parametrize("policy", ["ballast", "window:1,120"])
def test_the_owners_floor_and_cap_bind_every_policy(policy: str) -> None:
    arrivals = [1200.0 + at for at in range(300)]
    trace = Trace(name="idle at first", times=arrivals, loads=[8.0] * 300, duration_s=1800.0)

    def play(min_load: float, max_workers: int) -> Score:
        market = read_market(load_median_s=60.0, max_workers=max_workers)
        made = make_policy(policy, min_load=min_load, max_workers=max_workers)
        return run_policy(trace, made, Setting(market=market, is_from_start=True))

    floored, capped = play(2.0, 200), play(0.0, 2)
    assert floored.first_ready_s < 1200.0
    assert capped.gpu_hours <= 2 * 0.5 < floored.gpu_hours
    assert capped.within_slo < floored.within_slo


def test_the_command_line_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--trace", "synthetic:steady", "--days", "0.01", "--seeds", "1", "--json"]
    assert main([*words, "--policy", "ballast", "static:12"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["policy"] for row in rows] == ["ballast", "static:12"]
    assert main(["--trace", "no-such-file"]) == 2


def test_fresh_knowledge_routes_best_and_chance_worst() -> None:
    scores = {score.policy: score for score in compare(RoutingCase(n_requests=4000))}
    assert scores["fresh"].mean_wait_s < scores["ours"].mean_wait_s < scores["random"].mean_wait_s

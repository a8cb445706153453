"""Days on which something that all stand on is away: our edge, a registry, Vast's list, a host."""

from __future__ import annotations

from dataclasses import replace

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.worker import WorkerState
from fakes.market.market_config import GpuModel
from fakes.worlds.world import PROMPT_MARKET
from tests.stories.day import Day

MISSING = "Error response from daemon: manifest for tgi:1 not found"  # show-manifest-missing
ONLY_ONE = GpuModel(
    name="RTX 4090", gpu_ram_gb=24, usd_per_hour=0.55, relative_perf=1.0, dlperf=105, n_machines=1
)


def test_while_no_report_reaches_us_bursts_are_served_and_nobody_is_replaced() -> None:
    """Grants that no report dates held their places: after two bursts nobody was served."""
    day = Day()
    group = day.group(max_workers=6, min_load=150.0)
    day.minutes(10, 20, of=group, rounds=4)
    for program in list(day.world.processes.values())[::2]:
        program.seq += 5  # they do not all report in one second
    day.seconds(30, 2, of=group)
    serving = {row.instance_id for row in day.world.workers.rows.values()}
    served = day.world.n_served
    day.world.report_loss = 1.0
    day.minutes(6, 20, of=group, rounds=4)
    assert day.world.n_served - served == 20 * 6
    assert day.world.clients.longest_wait_s <= 60.0
    assert serving <= {row.instance_id for row in day.world.workers.rows.values()}
    assert day.n(WorkerState.SUSPECT) == 0, "who fell silent a little before the others serves, too"
    assert "have not reported for" in day.troubles()["reports_missing"]
    day.world.report_loss = 0.0
    day.minutes(2, 20, of=group, rounds=4)
    assert (day.world.n_waiting, day.troubles()) == (0, {})
    assert day.told("reports_missing") == ["reports_missing", "reports_missing_over"]
    assert day.told("machines_lost") == []
    day.ends()


def test_the_only_workers_of_three_groups_fall_silent_at_once_and_none_is_replaced() -> None:
    """Each group by itself took its one worker for lost: all were returned, and nobody served."""
    day = Day()
    groups = [day.group(f"llm-{i}", min_load=50.0, cold_workers=0, max_workers=2) for i in "abc"]
    day.minutes(6, rounds=4)
    day.minutes(14, rounds=2)
    serving, rented = set(day.world.market.instances), day.calls(Verb.CREATE)
    assert day.n(WorkerState.READY) == len(groups)
    day.world.report_loss = 1.0
    for _ in range(12):
        for group in groups:
            day.world.ask(group.endpoint_id, 1)
        day.minutes(1, rounds=2)
    assert (day.world.n_waiting, day.running()) == (0, len(groups))
    assert (set(day.world.market.instances), day.calls(Verb.CREATE)) == (serving, rented)
    assert list(day.troubles()) == ["reports_missing"]
    day.world.report_loss = 0.0
    day.minutes(3, rounds=4)
    assert day.told("reports_missing") == ["reports_missing", "reports_missing_over"]
    assert day.troubles() == {}
    day.ends()


def test_what_was_on_its_way_when_reports_ceased_is_waited_for() -> None:
    """No start and no load is late while nobody could tell that it is over."""
    day = Day()
    group = day.group(min_load=250.0, max_workers=8, cold_workers=0)
    day.minutes(10, rounds=4)
    day.change(group, min_load=450.0)
    day.seconds(15)
    on_its_way = set(day.world.market.instances)
    day.world.report_loss = 1.0
    day.minutes(40)
    assert on_its_way <= set(day.world.market.instances)
    day.world.report_loss = 0.0
    day.minutes(2, rounds=4)
    assert on_its_way <= set(day.world.market.instances)
    assert day.told("breaker_open") == []
    assert day.n(WorkerState.READY) >= 5
    day.ends()


def test_an_image_that_is_gone_is_told_in_vasts_words_and_what_has_it_serves_on() -> None:
    day = Day()
    group = day.group(max_workers=5, cold_workers=0, min_load=50.0)
    day.minutes(4, rounds=2)
    day.world.market.switch_on("load-stuck", day.world.now)
    day.change(group, min_load=350.0)
    for _ in range(40):
        for one in day.world.market.instances.values():
            if one.actual_status == "loading":
                one.actual_status, one.status_msg = "created", MISSING
        day.minutes(1)
    day.world.ask(group.endpoint_id, 3)
    day.minutes(1)
    assert (day.world.n_waiting, day.n(WorkerState.READY)) == (0, 1), "what has it serves on"
    assert MISSING in day.troubles()["breaker_open"]
    assert day.calls(Verb.CREATE) < 10
    day.world.market.switch_off("load-stuck", day.world.now)
    day.minutes(70)
    assert day.n(WorkerState.READY) > 1, "once it is back, a trial finds out within the hour"
    assert day.told("breaker_open") == ["breaker_open", "breaker_open_over"]
    assert day.told("requests_wait") == []
    day.ends()


def test_a_first_load_of_four_minutes_is_no_trouble_and_one_that_never_ends_is() -> None:
    day = Day()
    group = day.group(cold_workers=0)
    day.world.market.switch_on("load-stuck", day.world.now)
    day.world.ask(group.endpoint_id, 2)
    day.minutes(13)
    assert day.told("requests_wait") == [], "a machine is on its way"
    day.minutes(5)
    assert "what is on its way takes long" in day.troubles()["requests_wait"]
    assert "loading: Pulling from" in day.troubles()["requests_wait"]
    day.world.market.switch_off("load-stuck", day.world.now)
    day.minutes(22, rounds=3)
    assert day.world.n_waiting == 0
    assert day.told("requests_wait") == ["requests_wait", "requests_wait_over"]
    day.ends()


def test_a_list_that_shows_a_machine_twice_for_half_an_hour_stops_nobody() -> None:
    """What was rented in such a doubt got no address, and waited beside its clients."""
    day = Day()
    group = day.group(max_workers=4)
    day.minutes(5, 4, of=group, rounds=4)
    day.minutes(20)
    assert day.n(WorkerState.STOPPED) == 1
    day.world.market.switch_on("duplicate-ids", day.world.now)
    day.minutes(12)
    assert "inventory_unknown" in day.troubles()
    day.minutes(3, 40, of=group, rounds=4)
    day.minutes(2, rounds=4)
    assert (day.world.n_waiting, day.n(WorkerState.READY) > 1) == (0, True)
    day.minutes(16)
    assert day.running() == 0, "what was told to stop is seen to have stopped"
    assert day.told("not_usable") == []
    day.world.market.switch_off("duplicate-ids", day.world.now)
    day.minutes(2)
    assert day.told("inventory_unknown") == ["inventory_unknown", "inventory_unknown_over"]
    day.ends()


def test_the_only_machine_of_a_type_goes_while_the_pool_sleeps_on_it_and_comes_back() -> None:
    day = Day(config=replace(PROMPT_MARKET, models=(ONLY_ONE,)))
    group = day.group(max_workers=2)
    day.minutes(4, 2, of=group, rounds=4)
    day.minutes(15)
    (asleep,) = day.world.market.instances.values()
    day.world.market.lives.lose_machine(asleep.machine.machine_id, day.world.now)
    day.minutes(30)
    assert (day.troubles(), day.world.market.instances) == ({}, {}), "nobody asks: nobody is told"
    day.world.ask(group.endpoint_id, 2)
    day.minutes(10)
    assert list(day.troubles()) == ["no_offers"]
    day.world.market.lives.revive_machines(day.world.now)
    day.minutes(8, rounds=4)
    assert (day.world.n_waiting, day.troubles()) == (0, {})
    assert day.told("no_offers") == ["no_offers", "no_offers_over"]
    day.ends()

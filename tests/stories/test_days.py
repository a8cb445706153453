"""Days and nights of one group, by what its clients see, what it costs, and what is told."""

from __future__ import annotations

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.worker import WorkerState
from chalicelib.services.owner.views.status import read_status
from tests.faults.stories import all_events
from tests.stories.day import DAY, HOUR, OWNER, Day

READY, STOPPED = WorkerState.READY, WorkerState.STOPPED
AT_REST = (STOPPED,)


def test_an_empty_account_pays_nothing_and_hears_nothing() -> None:
    day = Day()
    group = day.group(cold_workers=0)
    day.change_autogroup(group, test_workers=0)
    day.minutes(6 * HOUR)
    assert day.bill() == 0.0
    assert day.troubles() == {}
    assert day.calls(Verb.CREATE) == 0
    assert "the bill: $0.00; told: {}" in day.ends()


def test_a_morning_a_day_and_a_night() -> None:
    day = Day()
    group = day.group(max_workers=6, cold_workers=2)
    day.minutes(30, 2, of=group, rounds=4)
    assert day.world.n_waiting == 0
    day.minutes(2 * HOUR, 20, of=group, rounds=2)
    assert day.world.n_waiting == 0
    assert day.n(READY) >= 1
    day.minutes(45)
    assert day.running() == 0, "45 minutes after the last request nothing runs"
    before, begun = day.bill() - day.stored_usd, day.calls(Verb.CREATE)
    day.minutes(8 * HOUR)
    assert day.bill() - day.stored_usd == pytest.approx(before, abs=0.01), "to the cent: storage"
    assert day.calls(Verb.CREATE) == begun
    day.world.ask(group.endpoint_id, 3)
    day.minutes(3, rounds=12)
    assert day.world.n_waiting == 0, "the next morning the cold workers serve again"
    assert day.calls(Verb.CREATE) == begun
    assert day.told("cap_reached") == []
    day.ends()


def test_one_request_a_week_is_served_and_costs_storage() -> None:
    day = Day()
    group = day.group(cold_workers=1, max_workers=2)
    day.world.ask(group.endpoint_id, 1)
    day.minutes(30, rounds=4)
    assert day.world.n_waiting == 0
    for _ in range(2):
        day.minutes(20)
        before = day.bill()
        for _ in range(7 * 24):  # the world between two requests: nothing happens in it
            day.world.tick(3600.0 - 60.0)
            day.minutes(1)
        week = 7 * 24 * day.storage()
        assert day.bill() - before == pytest.approx(week, rel=0.05)
        day.world.ask(group.endpoint_id, 1)
        day.minutes(5, rounds=12)
        assert day.world.n_waiting == 0
    day.ends()


@pytest.mark.parametrize("min_load", [0.0, 50.0])
@pytest.mark.parametrize("state", ["suspended", "stopped"])
def test_suspended_and_resumed_it_serves_again(state: str, min_load: float) -> None:
    day = Day()
    group = day.group(min_load=min_load)
    day.minutes(6, 2, of=group, rounds=6)
    day.set_state(group, state)
    day.minutes(12, rounds=4)
    assert day.running() == 0
    day.world.ask(group.endpoint_id, 2)
    day.minutes(30)
    assert day.world.n_waiting == 2, "nobody is served meanwhile"
    shown = str(read_status(day.world.owner_ports, OWNER, day.world.now, group.endpoint_id))
    assert ("'health': 'ok'" in shown, day.troubles()) == (True, {}), (
        "no alarm: the owner wished it"
    )
    assert f"{state}, as you wished: nothing runs" in shown
    told = {client.status for client in day.world.clients.waiting.values()}
    assert all(f"endpoint {state}: its owner" in status for status in told)
    day.set_state(group, "active")
    day.minutes(4, rounds=12)
    assert day.world.n_waiting == 0
    assert day.troubles() == {}
    day.ends()


def test_a_freeze_in_a_burst_is_told_and_the_thaw_serves_it() -> None:
    day = Day()
    group = day.group(max_workers=6)
    day.minutes(6, 2, of=group, rounds=6)
    day.freeze()
    calls = day.calls(Verb.CREATE) + day.calls(Verb.START) + day.calls(Verb.STOP)
    day.minutes(40)
    day.seconds(60, 6, of=group)
    assert day.calls(Verb.CREATE) + day.calls(Verb.START) + day.calls(Verb.STOP) == calls
    for machine in list(day.world.market.instances):
        day.world.market.destroy([machine], day.world.now)
    day.world.ask(group.endpoint_id, 4)
    day.minutes(5, rounds=4)
    assert "frozen" in day.troubles()
    day.freeze(frozen=False)
    day.minutes(6, rounds=12)
    assert day.world.n_waiting == 0
    assert day.told("frozen") == ["frozen", "frozen_over"]
    day.ends()


def test_an_autogroup_paused_amid_streams_cuts_none() -> None:
    day = Day()
    group = day.group(min_load=50.0)
    day.minutes(4, 2, of=group, rounds=6)
    (busy,) = [row.instance_id for row in day.world.workers.rows.values() if row.state is READY]
    day.world.occupy(busy, 2, 400.0)
    day.world.tick(10)
    day.change_autogroup(group, state="paused")
    day.minutes(8, rounds=4)
    assert day.world.workers.rows[group.endpoint_id, busy].state is WorkerState.DRAINING
    day.world.occupy(busy, 0, 0.0)
    day.minutes(4, rounds=4)
    assert day.running() == 0
    day.change_autogroup(group, state="active")
    day.minutes(4, rounds=12)
    assert day.n(READY) == 1
    day.ends()


def test_a_cap_too_low_for_any_machine_is_told_for_as_long_as_it_lasts() -> None:
    day = Day(cap_usd_per_hour=0.5)
    group = day.group(cold_workers=0)
    day.world.ask(group.endpoint_id, 1)
    for _ in range(4):
        day.minutes(5, rounds=6)
        assert "cap_reached" in day.troubles()
    assert day.told("cap_reached") == ["cap_reached"]
    day.world.ledger.set_caps({"caps_microusd_per_hour": 2_000_000})
    day.minutes(8, rounds=6)
    assert day.world.n_waiting == 0
    assert day.told("cap_reached") == ["cap_reached", "cap_reached_over"]
    day.ends()


def test_credit_ends_is_told_once_and_renting_goes_on_when_it_is_back() -> None:
    day = Day()
    group = day.group(cold_workers=0)
    day.world.market.switch_on("credit-zero", day.world.now)
    day.world.ask(group.endpoint_id, 1)
    day.minutes(30, rounds=2)
    assert "no_credit" in day.troubles()
    day.world.market.switch_off("credit-zero", day.world.now)
    day.minutes(10, rounds=6)
    assert day.world.n_waiting == 0
    assert day.told("no_credit") == ["no_credit", "no_credit_over"]
    day.ends()


def test_a_limit_of_the_spend_rate_is_told_as_such_and_tried_again_whatever_the_credit() -> None:
    day = Day()
    group = day.group(cold_workers=0)
    day.world.market.switch_on("spend-rate-limit", day.world.now)
    day.world.ask(group.endpoint_id, 1)
    day.minutes(30, rounds=4)
    assert day.told("no_credit") == ["no_credit"]
    [told] = [e for e in all_events(day.world) if e.kind == "no_credit"]
    assert "spend_rate_limit" in told.message
    assert "no credit" not in told.message
    assert 5 <= day.calls(Verb.CREATE) <= 8
    day.world.market.switch_off("spend-rate-limit", day.world.now)
    day.minutes(10, rounds=4)
    assert day.world.n_waiting == 0
    assert day.told("no_credit") == ["no_credit", "no_credit_over"]
    day.ends()


def test_a_cap_that_binds_is_told_and_what_serves_goes_on() -> None:
    day = Day(cap_usd_per_hour=1.0)
    group = day.group(max_workers=6, cold_workers=0)
    day.minutes(10, 3, of=group, rounds=6)
    assert day.n(READY) >= 1
    day.change(group, min_load=500.0)
    day.minutes(10, 3, of=group, rounds=6)
    assert day.world.n_waiting == 0
    words = day.troubles()["cap_reached"]
    used = float(words.partition("; $")[2].partition(" of $1.00 is in use")[0])
    assert 0.4 < used <= 1.0, words
    assert day.world.market.bill(day.world.now).peak_usd_per_hour <= 1.0
    day.change(group, min_load=0.0)
    day.minutes(60)
    assert "cap_reached" not in day.troubles()
    day.ends()


def test_an_empty_market_is_told_and_the_first_offer_is_taken() -> None:
    day = Day()
    group = day.group(cold_workers=0)
    day.change_autogroup(group, search_query={"gpu_name": {"eq": "RTX 0000"}})
    day.world.ask(group.endpoint_id, 1)
    day.minutes(20, rounds=2)
    assert set(day.troubles()) == {"no_offers"}, "no cap stands against it"
    day.change_autogroup(group, search_query={"gpu_name": {"eq": "RTX 4090"}})
    day.minutes(8, rounds=6)
    assert day.world.n_waiting == 0
    assert day.told("no_offers") == ["no_offers", "no_offers_over"]
    day.ends()


def test_a_host_that_dies_while_its_worker_drains_is_given_up_and_replaced() -> None:
    day = Day()
    group = day.group(min_load=50.0)
    day.minutes(5, 2, of=group, rounds=6)
    (busy,) = [row.instance_id for row in day.world.workers.rows.values() if row.state is READY]
    day.world.occupy(busy, 1, 200.0)
    day.world.tick(10)
    day.change_autogroup(group, state="paused")
    day.minutes(1, rounds=4)
    day.world.market.switch_on("host-dies", day.world.now, instance_id=busy)
    day.change_autogroup(group, state="active")
    day.minutes(30, rounds=4)
    assert busy not in day.world.market.instances
    assert day.n(READY) == 1
    day.world.ask(group.endpoint_id, 1)
    day.minutes(1, rounds=6)
    assert day.world.n_waiting == 0
    day.ends()


def test_a_template_changed_twice_in_an_hour_ends_with_the_last_one_everywhere() -> None:
    day = Day()
    group = day.group(min_load=90.0, max_workers=4)
    day.minutes(6, 2, of=group, rounds=6)
    hashes = []
    for tag in ("tgi:2", "tgi:3"):
        row = day.world.market.templates.add(
            {"name": "TGI", "image": tag, "env": "-e A=1"}, day.world.now
        )
        hashes.append(str(row["hash_id"]))
        day.change_autogroup(group, template_hash=hashes[-1])
        day.minutes(12, 2, of=group, rounds=4)
    day.minutes(60, 2, of=group, rounds=2)
    assert day.world.n_waiting == 0
    images = {
        one.order.image or one.order.template_hash
        for one in day.world.market.instances.values()
        if one.is_billed_for_gpu
    }
    assert len(images) == 1
    newest = {
        row.template_revision for row in day.world.workers.rows.values() if row.state is READY
    }
    assert len(newest) == 1
    day.ends()


def test_a_month_ends_and_the_new_one_has_its_own_budget() -> None:
    day = Day()
    day.world.clock.advance(16 * 86_400.0 - 6 * 3600.0)  # 31 January, 6 in the morning
    group = day.group(min_load=50.0, cold_workers=0, max_workers=1)
    day.minutes(60, 1, of=group)
    assert day.n(READY) == 1
    a_few_hours = 8 * day.bill()  # more than the disk costs in February
    day.world.ledger.set_caps({"caps_microusd_per_month": int(a_few_hours * 1e6)})
    day.minutes(10 * HOUR, rounds=1)
    assert day.running() == 0
    assert "cap_reached" in day.troubles()
    day.minutes(9 * HOUR)
    assert day.n(READY) == 1, "it is February"
    assert day.troubles() == {}
    day.ends()


def test_panic_returns_everything_and_says_so_until_it_is_cleared() -> None:
    day = Day()
    group = day.group(min_load=50.0)
    day.minutes(6, 2, of=group, rounds=6)
    day.panic()
    day.minutes(6, rounds=4)
    assert not day.world.market.instances
    assert "panic" in day.troubles()
    day.world.ledger.set_flags(is_panicking=False)
    day.minutes(6, rounds=6)
    assert day.n(READY) == 1
    assert day.told("panic") == ["panic", "panic_over"]
    day.ends()


def test_vast_is_down_for_an_hour_and_nobody_who_is_served_notices() -> None:
    day = Day()
    group = day.group(min_load=50.0)
    day.minutes(6, 2, of=group, rounds=6)
    day.world.market.switch_on("market-down", day.world.now)
    served = day.world.n_served
    day.minutes(60, 2, of=group)
    assert day.world.n_served - served == 120
    assert "inventory_unknown" in day.troubles()
    day.world.market.switch_off("market-down", day.world.now)
    day.minutes(5, 2, of=group, rounds=4)
    assert day.troubles() == {}
    assert day.told("inventory_unknown") == ["inventory_unknown", "inventory_unknown_over"]
    day.ends()


def test_a_start_that_is_refused_has_another_machine_serve() -> None:
    day = Day()
    group = day.group(cold_workers=1, max_workers=3)
    day.minutes(5, 1, of=group, rounds=6)
    day.minutes(45)
    assert day.running() == 0
    day.world.market.switch_on("start-refused", day.world.now)
    day.world.ask(group.endpoint_id, 2)
    day.minutes(10, rounds=6)
    assert day.world.n_waiting == 0
    day.ends()


def test_boots_that_only_fail_open_the_breaker_and_a_cure_closes_it() -> None:
    day = Day()
    group = day.group(cold_workers=0, max_workers=3)
    day.world.boot_error = "no such file: model.safetensors"
    day.world.ask(group.endpoint_id, 1)
    day.minutes(60, rounds=4)
    assert "no such file" in day.troubles()["breaker_open"]
    assert day.calls(Verb.CREATE) <= 8
    day.world.boot_error = ""
    day.minutes(3 * HOUR, rounds=2)
    assert day.world.n_waiting == 0
    assert day.told("breaker_open")[-1] == "breaker_open_over"
    day.ends()


def test_workers_that_crash_a_minute_after_they_are_ready_accuse_the_template_alone() -> None:
    """Each host of the market was avoided for a day, and nobody was told why nobody served."""
    day = Day()
    group = day.group(max_workers=3, cold_workers=1)
    ready_at: dict[str, float] = {}
    for minute in range(50):
        for program in day.world.processes.values():
            if day.world.now - ready_at.setdefault(program.boot_id, day.world.now) > 60:
                program.error = "CUDA error: an illegal memory access"
        day.minutes(1, minute % 2, of=group, rounds=2)
    assert "illegal memory access" in day.troubles()["breaker_open"]
    assert day.calls(Verb.CREATE) < 12
    day.minutes(30, 1, of=group)  # cured: the next trial serves
    assert day.world.n_waiting == 0
    day.minutes(62)
    assert "breaker_open" not in day.troubles()
    day.ends()


def test_a_machine_that_will_not_go_is_told_with_what_it_bills() -> None:
    day = Day()
    group = day.group(min_load=50.0, cold_workers=0)
    day.minutes(5, 1, of=group, rounds=6)
    day.world.market.switch_on("destroy-fails", day.world.now)
    day.delete(group)
    day.minutes(30)
    assert "$" in day.troubles()["will_not_go"]
    day.world.market.switch_off("destroy-fails", day.world.now)
    day.minutes(5, rounds=4)
    assert not day.world.market.instances
    assert day.troubles() == {}
    day.ends()


def test_a_burst_ten_times_the_usual_is_served_and_forgotten() -> None:
    day = Day()
    group = day.group(max_workers=10, cold_workers=2)
    day.minutes(20, 2, of=group, rounds=2)
    day.seconds(120, 20, of=group)
    day.minutes(10, 2, of=group, rounds=6)
    assert day.world.n_waiting == 0
    held = len(day.world.market.instances)
    day.minutes(2 * HOUR)
    assert day.running() == 0
    assert len(day.world.market.instances) <= held
    day.ends()


@pytest.mark.long
def test_a_whole_day_of_office_hours() -> None:
    day = Day()
    group = day.group(max_workers=6, cold_workers=2)
    for hour in range(24):
        asks = {9: 4, 10: 12, 11: 20, 12: 8, 13: 20, 14: 20, 15: 12, 16: 8, 17: 4}.get(hour, 0)
        day.minutes(HOUR, asks, of=group)
    assert day.world.n_served == 60 * (4 + 12 + 20 + 8 + 20 + 20 + 12 + 8 + 4)
    assert day.running() == 0
    assert day.calls(Verb.CREATE) <= 10
    assert day.troubles() == {}
    assert day.world.now - day.began_at == pytest.approx(DAY * 60.0, rel=0.01)
    day.ends()

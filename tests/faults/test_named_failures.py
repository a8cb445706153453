"""The failures that requirements.md 6.1 lists, one story each; R numbers are its rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.account import Account
from chalicelib.core.endpoint_group import GroupState, ScalingParams
from chalicelib.core.pacing import Verb
from chalicelib.core.worker import WorkerState
from chalicelib.ports.event_log import Event
from chalicelib.services.questions import answer
from chalicelib.services.scaling import run_round
from chalicelib.services.scaling_loop import scaling_loop
from fakes.faulty_ports import OutgoingCalls
from fakes.market_config import CALM, MarketConfig
from fakes.world import PROMPT_MARKET, World


def _rounds(world: World, n: int, every_s: float = 15.0) -> None:
    for _ in range(n):
        scaling_loop(world.ports, deadline_at=world.now + 1)
        world.tick(every_s)


def _serving(n: int = 2, seed: int = 4, config: MarketConfig = PROMPT_MARKET) -> tuple[World, int]:
    """A world with n ready workers and a cap far away."""
    world = World(config, seed=seed)
    world.ledger.set_caps({"caps_microusd_per_hour": 100_000_000})
    group = world.add_group(min_load=75.0 * n, max_workers=n + 3, cold_workers=0)
    _rounds(world, 10)
    assert len(_in(world, WorkerState.READY)) >= n
    return world, group.endpoint_id


def _lease(world: World) -> tuple[int, Account]:
    lease = world.ledger.take_lease("test", world.now, 60.0)
    assert lease is not None
    return lease.fence, lease.account


def _in(world: World, *states: WorkerState) -> list[int]:
    return [row.instance_id for row in world.workers.rows.values() if row.state in states]


def _n_calls(world: World, verb: Verb) -> int:
    return sum(1 for call in world.market.calls if call.verb is verb)


def _agrees(world: World) -> bool:
    return {row.instance_id for row in world.workers.rows.values()} == set(world.market.instances)


def _set_group(world: World, endpoint_id: int, **changes: object) -> None:
    groups = world.owner_ports.groups
    group = groups.find_group(endpoint_id)
    assert group is not None
    after = replace(group, **changes, revision=group.revision + 1)  # type: ignore[arg-type]
    groups.put_group(after, expected_revision=group.revision)


def test_r1_two_hours_without_vast_change_nothing_and_routing_goes_on() -> None:
    world, endpoint_id = _serving()
    before = set(world.workers.rows)
    world.market.switch_on("market-down", world.now)
    for _ in range(120):
        world.ask(endpoint_id, 1)
        _rounds(world, 1, every_s=60.0)
    assert set(world.workers.rows) == before
    assert world.n_waiting == 0
    world.market.switch_off("market-down", world.now)
    _rounds(world, 3)
    assert _agrees(world)


def test_r2_vasts_intervals_are_kept_even_when_much_is_to_be_done() -> None:
    world = World(seed=1)
    world.ledger.set_caps({"caps_microusd_per_hour": 100_000_000})
    world.add_group(min_load=700.0, max_workers=9)
    for _ in range(30):
        scaling_loop(world.ports, deadline_at=world.now + 50)
        world.tick(5)
    assert _n_calls(world, Verb.CREATE) >= 8
    assert world.market.n_too_frequent == 0


def test_r3_an_offer_that_is_gone_costs_no_extra_round_and_blames_no_host() -> None:
    world = World(seed=6)
    world.add_group(min_load=75.0)
    scaling_loop(world.ports, deadline_at=world.now + 1)
    world.tick(5)
    world.market.switch_on("offer-gone", world.now, times=1)
    run_round(world.ports, *_lease(world))
    assert len(world.market.instances) == 1
    assert _n_calls(world, Verb.CREATE) == 2


@pytest.mark.parametrize("fault", ["create-timeout-rented", "create-timeout-not-rented"])
def test_r4_an_ambiguous_create_counts_until_two_late_listings_settle_it(fault: str) -> None:
    world = World(seed=6)
    world.add_group(min_load=75.0, max_workers=1)
    scaling_loop(world.ports, deadline_at=world.now + 1)
    world.tick(5)
    world.market.switch_on(fault, world.now, times=1)
    scaling_loop(world.ports, deadline_at=world.now + 1)
    assert world.ledger.account().workers_by_group
    for _ in range(40):
        _rounds(world, 1, every_s=5.0)
        assert len(world.market.instances) <= 1
    assert len(_in(world, WorkerState.READY)) == 1
    assert _agrees(world)


def test_r4_success_false_with_a_contract_is_returned() -> None:
    world = World(seed=6)
    world.add_group(min_load=75.0)
    world.market.switch_on("success-false-contract", world.now, times=1)
    _rounds(world, 20)
    assert _agrees(world)
    assert len(world.market.instances) == 1
    assert len(world.market.bill(world.now).by_instance) == 2


@pytest.mark.parametrize("fault", ["partial-bulk", "destroy-fails", "destroy-404"])
def test_r5_r6_destroys_are_repeated_until_the_machines_are_confirmed_absent(fault: str) -> None:
    world, endpoint_id = _serving(3)
    world.market.switch_on(fault, world.now, times=4)
    _set_group(world, endpoint_id, state=GroupState.DELETING)
    _rounds(world, 30)
    assert not world.market.instances
    assert not world.workers.rows
    assert world.owner_ports.groups.list_groups() == []


def test_r11_a_silent_worker_is_suspected_then_replaced() -> None:
    world, endpoint_id = _serving(3)
    silent = _in(world, WorkerState.READY)[0]
    world.processes[silent].is_silent = True
    _rounds(world, 3)
    assert silent in _in(world, WorkerState.SUSPECT)
    _rounds(world, 4)
    assert silent in _in(world, WorkerState.UNREACHABLE)
    world.ask(endpoint_id, 2)
    _rounds(world, 60)
    assert silent not in world.market.instances
    assert len(_in(world, WorkerState.READY)) >= 3


def test_r11_when_all_fall_silent_at_once_it_is_our_fault_and_none_is_replaced() -> None:
    world, _ = _serving(3)
    ready = set(_in(world, WorkerState.READY))
    n_creates, n_destroys = _n_calls(world, Verb.CREATE), _n_calls(world, Verb.DESTROY)
    for process in world.processes.values():
        process.is_silent = True
    _rounds(world, 100)
    assert set(_in(world, WorkerState.READY)) == ready
    assert (_n_calls(world, Verb.CREATE), _n_calls(world, Verb.DESTROY)) == (n_creates, n_destroys)


def test_r14_a_machine_that_is_gone_is_not_routed_to_though_something_still_reports() -> None:
    world, _ = _serving(2)
    victim = _in(world, WorkerState.READY)[0]
    world.market.destroy([victim], world.now)
    _rounds(world, 4)
    assert victim not in _in(world, WorkerState.READY)
    _rounds(world, 10)
    assert _agrees(world)


def test_r15_interrupted_machines_are_seen_on_a_listing_not_after_a_timeout() -> None:
    world, endpoint_id = _serving(2)
    world.tick(60)
    world.market.switch_on("interrupted", world.now)
    world.tick(5)
    scaling_loop(world.ports, deadline_at=world.now + 1)
    assert _in(world, WorkerState.READY) == []
    world.market.switch_off("interrupted", world.now)
    world.ask(endpoint_id, 2)
    _rounds(world, 20)
    assert world.n_waiting == 0


@pytest.mark.parametrize("fault", ["start-stuck", "start-refused"])
def test_r16_a_start_that_hangs_is_substituted(fault: str) -> None:
    world = World(seed=4)
    group = world.add_group(cold_workers=1, max_workers=3)
    world.ask(group.endpoint_id, 1)
    _rounds(world, 60)
    assert _in(world, WorkerState.STOPPED)
    world.market.switch_on(fault, world.now)
    world.ask(group.endpoint_id, 2)
    _rounds(world, 60)
    assert world.n_waiting == 0
    world.market.switch_off(fault, world.now)
    _rounds(world, 40)
    assert _agrees(world)


def test_r17_no_credit_is_one_alarm_and_no_loop_of_creates() -> None:
    world, endpoint_id = _serving(2)
    n_creates = _n_calls(world, Verb.CREATE)
    world.market.switch_on("credit-zero", world.now)
    world.ask(endpoint_id, 5)
    _rounds(world, 120)
    alarms = world.events.tail("account", limit=1000, kinds=frozenset({"no_credit"}))
    assert len(alarms) <= 1
    assert _n_calls(world, Verb.CREATE) - n_creates <= 120 * 15 / 300 + 2
    world.market.switch_off("credit-zero", world.now)
    _rounds(world, 40)
    assert world.n_waiting == 0


def test_r18_a_price_above_the_cap_is_never_paid() -> None:
    world, _ = _serving(2)
    peak = world.market.bill(world.now).peak_usd_per_hour
    world.ledger.set_caps({"caps_microusd_per_hour": int(peak * 1.1e6)})
    for instance in world.market.instances.values():
        instance.gpu_usd_per_hour *= 1.5
    _rounds(world, 10)
    assert world.market.bill(world.now).usd_per_hour <= peak * 1.1


def test_r21_a_template_that_only_fails_stops_being_rented() -> None:
    world = World(replace(PROMPT_MARKET, odds=CALM), seed=8)
    world.ledger.set_caps({"caps_microusd_per_hour": 100_000_000})
    group = world.add_group(min_load=300.0, max_workers=4)
    world.ask(group.endpoint_id, 3)
    world.boot_error = "HF_TOKEN must be set"
    _rounds(world, 240)
    alarms = [e for e in _all_events(world) if e.kind == "breaker_open"]
    assert len(alarms) == 1
    assert "HF_TOKEN" in alarms[0].message
    n_rented = len(world.market.bill(world.now).by_instance)
    assert n_rented <= 12
    assert world.market.bill(world.now).total_usd < 10


def test_r22_freeze_stops_renting_and_returning_but_not_routing() -> None:
    world, endpoint_id = _serving(2)
    world.ledger.set_flags(is_frozen=True)
    changes = (_n_calls(world, Verb.CREATE), _n_calls(world, Verb.DESTROY))
    _set_group(world, endpoint_id, params=replace(_params(world, endpoint_id), min_load=400.0))
    for _ in range(20):
        world.ask(endpoint_id, 1)
        _rounds(world, 1)
    assert (_n_calls(world, Verb.CREATE), _n_calls(world, Verb.DESTROY)) == changes
    assert world.n_waiting == 0
    world.ledger.set_flags(is_frozen=False)
    _rounds(world, 10)
    assert len(world.market.instances) > 2


def test_r23_machines_are_claimed_again_by_their_labels_after_the_tables_are_lost() -> None:
    world, _ = _serving(2)
    machines = set(world.market.instances)
    n_creates = _n_calls(world, Verb.CREATE)
    world.workers.rows.clear()
    world.ledger.by_token.clear()
    world.ledger._blobs.clear()
    _rounds(world, 6)
    assert set(_in(world, WorkerState.READY)) == machines
    assert _n_calls(world, Verb.CREATE) == n_creates


def test_look_alike_labels_are_never_touched() -> None:
    world, _ = _serving(1)
    offer = world.market.offers.search({"gpu_name": {"eq": "H100 SXM"}}, world.now)[0]
    body = {"label": f"llm · {'0' * 16}AAAAAAAA", "image": "x", "disk": 10.0, "env": {}}
    foreign = world.market.create(int(str(offer["id"])), body, world.now).instance_id
    world.ledger.set_flags(is_panicking=True)
    _rounds(world, 20)
    assert set(world.market.instances) == {foreign}


def test_c7_a_plan_changes_nothing_and_the_next_round_does_just_that() -> None:
    world = World(seed=9)
    group = world.add_group(min_load=150.0)
    _rounds(world, 1)
    calls = OutgoingCalls()
    plan = answer(calls.wrap(world.owner_ports), {"ask": "plan", "endpoint_id": group.endpoint_id})
    reading = {"read_blob", "account", "intents", "list", "list_groups", "list_autogroups", "mac"}
    reading |= {"list_instances", "search_offers", "find_template", "find_instance"}
    assert {name.partition(".")[2] for name in calls.names} <= reading
    actions = plan["actions"]
    assert isinstance(actions, list)
    planned = [row["offer"]["offer_id"] for row in actions if "offer" in row]
    scaling_loop(world.ports, deadline_at=world.now + 1)
    created = [c.detail.split()[0] for c in world.market.calls if c.verb is Verb.CREATE]
    assert planned
    assert created == [str(offer_id) for offer_id in planned]


def test_shadow_mode_decides_and_does_nothing() -> None:
    world = World(seed=9)
    group = world.add_group(min_load=150.0)
    _set_group(world, group.endpoint_id, shadow=True)
    _rounds(world, 6)
    assert not world.market.instances
    decisions = [e for e in _all_events(world) if e.kind == "decision"]
    assert decisions
    assert all(event.facts.get("shadow") for event in decisions)


def _params(world: World, endpoint_id: int) -> ScalingParams:
    group = world.owner_ports.groups.find_group(endpoint_id)
    assert group is not None
    return group.params


def _all_events(world: World) -> list[Event]:
    scopes = {"account"}
    scopes |= {f"endpoint:{g.endpoint_id}" for g in world.owner_ports.groups.list_groups()}
    scopes |= {f"autogroup:{a.autogroup_id}" for a in world.owner_ports.groups.list_autogroups()}
    return [e for scope in sorted(scopes) for e in world.events.tail(scope, limit=10_000)]

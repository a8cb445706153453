"""C3: each cap holds by the market's own bill, is told with its reason, and costs nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.worker import WorkerState
from chalicelib.ports.errors import StorageUnavailableError
from chalicelib.ports.worker_repository import Grant
from fakes.bundles.faulty_ports import OutgoingCalls
from fakes.ports.notifier import FakeNotifier
from fakes.worlds.world import REQUEST_COST, World
from tests.faults.stories import (
    all_events,
    count_calls,
    in_state,
    params_of,
    run_rounds,
    serving_world,
    set_group,
)

WIDE = {
    "caps_microusd_per_hour": 100_000_000,
    "caps_microusd_per_day": 1_000_000_000,
    "caps_microusd_per_month": 10_000_000_000,
    "caps_idle_microusd_per_day": 1_000_000_000,
}
HOURS = {"hour": 1, "day": 4, "month": 6}
USD = {"hour": 2.0, "day": 6.0, "month": 9.0}
USED = {"hour": 0.5, "day": 0.5, "month": 0.15}  # disks must stay affordable to the month's end


class NoGuard(OutgoingCalls):
    """Ports whose ledger can be read, and takes no commitment."""

    def perform(self, name: str, call: Any) -> Any:
        """Make a call, unless it commits money."""
        if name in ("ledger.reserve", "ledger.reserve_start"):
            raise StorageUnavailableError("DynamoDB throttles")
        return super().perform(name, call)


def _busy_world(caps: dict[str, int], **params: Any) -> tuple[World, int]:
    """A group that would keep nine machines."""
    world = World(seed=4)
    world.ledger.set_caps({**WIDE, **caps})
    group = world.add_group(min_load=900.0, max_workers=12, cold_workers=0, **params)
    return world, group.endpoint_id


@pytest.mark.parametrize("per", ["hour", "day", "month"])
@pytest.mark.parametrize("whose", ["account", "group"])
def test_each_cap_holds_by_the_markets_bill_is_told_and_can_be_raised(whose: str, per: str) -> None:
    usd = USD[per]
    of_account = {f"caps_microusd_per_{per}": int(usd * 1e6)} if whose == "account" else {}
    of_group = {f"max_usd_per_{per}": usd} if whose == "group" else {}
    world, endpoint_id = _busy_world(of_account, **of_group)
    for _ in range(HOURS[per] * 12):
        world.ask(endpoint_id, 1)
        run_rounds(world, 1, every_s=300.0)
    bill = world.market.bill(world.now)
    assert (bill.peak_usd_per_hour if per == "hour" else bill.total_usd) <= usd
    assert bill.total_usd > USED[per] * usd, "what the cap allows is used"
    events = all_events(world)
    told = [e for e in events if e.kind == "cap_reached" and "cap" in e.facts]
    assert told[0].facts["cap"] == (f"group_cap_{per}" if whose == "group" else f"cap_{per}")
    (notifier,) = world.ports.notifiers
    assert isinstance(notifier, FakeNotifier)
    assert any(notice.kind == "cap_reached" for notice in notifier.sent)
    if whose == "account":
        world.ledger.set_caps(WIDE)
    else:
        wide: dict[str, Any] = {f"max_usd_per_{per}": None}
        params = replace(params_of(world, endpoint_id), **wide)
        set_group(world, endpoint_id, params=params)
    run_rounds(world, 20, every_s=60.0)
    assert len(in_state(world, WorkerState.READY)) >= 9
    assert world.n_waiting == 0


def test_requests_that_start_late_under_a_cap_are_counted_as_lost_to_it() -> None:
    world, endpoint_id = _busy_world({"caps_microusd_per_hour": 1_000_000})
    run_rounds(world, 10)
    instance_id, *_ = in_state(world, WorkerState.READY)
    for _ in range(5):
        world.workers.reserve(endpoint_id, instance_id, Grant(cost=REQUEST_COST, is_late=True))
    run_rounds(world, 10)
    minute = int(world.now // 60)
    minutes = world.ports.series.read(f"endpoint:{endpoint_id}", 0, minute)
    assert sum(values["slo_lost_to_cap"] for _, values in minutes) == 5
    kinds = [e.kind for e in all_events(world) if e.kind.startswith("cap_reached")]
    assert kinds == ["cap_reached"], "told once, however often offers are looked at"


def test_what_serves_nobody_is_paid_up_to_its_own_cap_only() -> None:
    """Machines that load for ever on a template that never fails: no breaker, only the cap."""
    world, endpoint_id = _busy_world({"caps_idle_microusd_per_day": 3_000_000})
    world.market.switch_on("load-stuck", world.now)
    for _ in range(3 * 30):
        world.ask(endpoint_id, 1)
        run_rounds(world, 1, every_s=120.0)
    assert world.market.bill(world.now).total_usd <= 3.0


def test_without_the_guard_nothing_is_rented_or_started() -> None:
    world, _ = _busy_world({})
    world.ports = NoGuard().wrap(world.owner_ports)
    run_rounds(world, 20)
    assert count_calls(world, Verb.CREATE) == count_calls(world, Verb.START) == 0
    world.ports = world.owner_ports
    run_rounds(world, 20)
    assert len(in_state(world, WorkerState.READY)) >= 9


@pytest.mark.parametrize("has_guard", [True, False])
def test_a_stopped_machine_is_started_only_within_the_cap_and_with_the_guard(
    has_guard: bool,
) -> None:
    world, endpoint_id = serving_world(2)
    set_group(world, endpoint_id, state=GroupState.SUSPENDED)
    run_rounds(world, 6)
    assert len(in_state(world, WorkerState.STOPPED)) == len(world.workers.rows) >= 2
    if has_guard:
        world.ledger.set_caps({"caps_microusd_per_hour": 300_000})  # their storage, no GPU
    else:
        world.ports = NoGuard().wrap(world.owner_ports)
    n_starts = count_calls(world, Verb.START)
    set_group(world, endpoint_id, state=GroupState.ACTIVE)
    run_rounds(world, 6)
    assert count_calls(world, Verb.START) == n_starts
    world.ports = world.owner_ports
    world.ledger.set_caps({"caps_microusd_per_hour": 100_000_000})
    run_rounds(world, 6)
    assert len(in_state(world, WorkerState.READY)) >= 2

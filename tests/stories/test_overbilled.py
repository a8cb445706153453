"""Days on which hosts bill other prices than their offers said, by Vast's rows and by its bill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf

import pytest

from chalicelib.core.model.market import NO_PAGES, InstanceListing
from chalicelib.core.model.worker import WorkerState
from chalicelib.ports.marketplace import CreateRequest
from fakes.worlds.marketplace import FakeMarketplace
from tests.stories.day import HOUR, Day


class DearMarketplace(FakeMarketplace):
    """One host's machines bill ten times what their offers said: from their rental, or stop, on."""

    host_id: int = 0
    is_dear_at_first: bool = True

    def create_instance(self, request: CreateRequest) -> int:
        instance_id = super().create_instance(request)
        self.host_id = self.host_id or self.market.instances[instance_id].machine.host_id
        if self.is_dear_at_first:
            self._make_dear(instance_id)
        return instance_id

    def stop_instance(self, instance_id: int) -> None:
        super().stop_instance(instance_id)
        if not self.is_dear_at_first:
            self._make_dear(instance_id)

    def n_theirs(self) -> int:
        """Machines of the dear host that are there."""
        there = self.market.instances.values()
        return sum(one.machine.host_id == self.host_id for one in there)

    def _make_dear(self, instance_id: int) -> None:
        instance = self.market.instances[instance_id]
        if instance.machine.host_id == self.host_id:
            self.market.lives.rebid(instance, 10.0 * instance.gpu_usd_per_hour, self._clock.now())


def dear_day(cap_usd_per_hour: float) -> tuple[Day, DearMarketplace]:
    day = Day(cap_usd_per_hour=cap_usd_per_hour)
    dear = DearMarketplace(day.world.market, day.world.clock)
    day.world.ports = replace(day.world.ports, marketplace=dear)
    return day, dear


@pytest.mark.parametrize("cap_usd_per_hour", [100.0, 2.0])
def test_a_host_that_bills_ten_times_its_offer_is_left_for_the_next(
    cap_usd_per_hour: float,
) -> None:
    day, dear = dear_day(cap_usd_per_hour)
    group = day.group(cold_workers=1, max_workers=2)
    day.minutes(60, 4, of=group)
    assert dear.n_theirs() == 0
    rented = day.world.market.lives.gone
    assert sum(one.machine.host_id == dear.host_id for one in rented) == 1, "not rented again"
    assert day.n(WorkerState.READY) >= 1
    assert day.world.n_waiting == 0
    assert day.troubles() == {}
    assert day.told("overbilled") == ["overbilled", "overbilled_over"]
    day.minutes(45)
    before = day.bill()
    day.minutes(HOUR)
    assert day.bill() - before == pytest.approx(day.storage(), rel=0.01)
    assert day.bill() < 1.0
    assert "the bill" in day.ends()


def test_a_reserve_that_got_too_dear_to_start_is_replaced_by_one_that_is_not() -> None:
    day, dear = dear_day(2.0)
    dear.is_dear_at_first = False
    group = day.group(cold_workers=1, max_workers=1)
    day.minutes(10, 4, of=group)
    day.minutes(60)  # to rest: it is stopped, and from then on would bill ten times as much
    assert dear.n_theirs() == 0
    assert day.told("overbilled") == ["overbilled", "overbilled_over"]
    day.world.ask(group.endpoint_id, 2)
    day.minutes(6, rounds=6)
    assert day.world.n_waiting == 0
    assert day.troubles() == {}
    assert "the bill" in day.ends()


class FalseRows(FakeMarketplace):
    """Some listings say that all machines bill ten times as much; the bill does not."""

    n_false: int = 0

    def list_instances(
        self, so_far: Mapping[str, object] = NO_PAGES, *, ends_at: float = inf
    ) -> InstanceListing:
        listing = super().list_instances(so_far, ends_at=ends_at)
        if self.n_false <= 0:
            return listing
        self.n_false -= 1
        rows = (replace(one, usd_per_hour=10.0 * one.usd_per_hour) for one in listing.instances)
        return replace(listing, instances=tuple(rows))


@pytest.mark.parametrize(("n_false", "n_returned"), [(1, 0), (2, 1), (3, 2)])
def test_rows_that_are_false_cost_no_machine_at_first_and_then_one_a_round(
    n_false: int, n_returned: int
) -> None:
    day = Day()
    listing = FalseRows(day.world.market, day.world.clock)
    day.world.ports = replace(day.world.ports, marketplace=listing)
    group = day.group(min_load=400.0, cold_workers=0, max_workers=6)
    day.minutes(10)
    fleet = dict(day.world.market.instances)
    prices = {row.instance_id: row.usd_per_hour for row in day.world.workers.rows.values()}
    assert len(fleet) >= 4
    listing.n_false = n_false
    day.minutes(15)
    assert listing.n_false == 0
    assert len(set(fleet) - set(day.world.market.instances)) == n_returned
    kept = {r.instance_id: r.usd_per_hour for r in day.world.workers.rows.values()}
    assert {id_: kept[id_] for id_ in kept if id_ in fleet} == {
        id_: usd for id_, usd in prices.items() if id_ in kept
    }
    serving = [r for r in day.world.workers.rows.values() if r.state is WorkerState.READY]
    assert sum(row.perf for row in serving) >= (group.params.min_load or 0.0) > 0

"""Scenarios of single scaling rounds: what the owner's parameters make the decision do."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import pytest

from chalicelib.core.model.autogroup import Autogroup, AutogroupState
from chalicelib.core.model.endpoint_group import EndpointGroup, GroupState, ScalingParams
from chalicelib.core.model.market import Offer
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.actions import (
    DestroyWorker,
    DrainWorker,
    RebootWorker,
    RecallWorker,
    RentOffer,
    StartWorker,
    StopWorker,
)
from chalicelib.core.scaling.decision import decide_scaling
from chalicelib.core.scaling.moves.deeds import remember_deeds
from chalicelib.core.scaling.reasons import explain_reason
from chalicelib.core.scaling.snapshot import (
    Caps,
    GroupSnapshot,
    PendingRental,
    ScalingPlan,
    Traffic,
    Waiting,
    WorkerFacts,
)

NOW = 1_000_000.0

A = TypeVar("A")


def make_worker(
    instance_id: int, state: WorkerState = WorkerState.READY, **over: object
) -> WorkerFacts:
    facts: dict[str, object] = {
        "instance_id": instance_id,
        "autogroup_id": 1,
        "state": state,
        "state_since": NOW - 300,
        "created_at": NOW - 7200,
        "gpu_type": "1x RTX 4090",
        "machine_id": instance_id,
        "usd_per_hour": 0.5,
        "storage_usd_per_hour": 0.01,
        "perf": 100.0,
        "slots": 8,
        "loaded_at": NOW - 7000,
    }
    facts.update(over)
    return WorkerFacts(**facts)  # type: ignore[arg-type]


def make_offer(offer_id: int, usd_per_hour: float = 0.5, **over: object) -> Offer:
    facts: dict[str, object] = {
        "offer_id": offer_id,
        "machine_id": 10_000 + offer_id,
        "host_id": offer_id,
        "gpu_name": "RTX 4090",
        "num_gpus": 1,
        "gpu_ram_gb": 24,
        "usd_per_hour": usd_per_hour,
        "storage_usd_per_hour": 0.01,
        "dlperf": 100.0,
    }
    facts.update(over)
    return Offer(**facts)  # type: ignore[arg-type]


def make_snapshot(*workers: WorkerFacts, **over: object) -> GroupSnapshot:
    params = {
        name: over.pop(name) for name in list(over) if name in ScalingParams.__dataclass_fields__
    }
    test_workers = over.pop("test_workers", 0)
    group = EndpointGroup(
        endpoint_id=1,
        name="g",
        created_at=0,
        params=ScalingParams(**params),  # type: ignore[arg-type]
        state=over.pop("state", GroupState.ACTIVE),  # type: ignore[arg-type]
    )
    facts: dict[str, object] = {
        "group": group,
        "autogroups": (
            Autogroup(autogroup_id=1, endpoint_id=1, created_at=0, test_workers=test_workers),  # type: ignore[arg-type]
        ),
        "workers": workers,
        "offers": {1: tuple(make_offer(i) for i in range(30))},
    }
    facts.update(over)
    return GroupSnapshot(**facts)  # type: ignore[arg-type]


def of_kind(plan: ScalingPlan, kind: type[A]) -> list[A]:
    return [action for action in plan.actions if isinstance(action, kind)]


class TestFloorsAndCaps:
    @pytest.mark.parametrize(("min_load", "n"), [(100.0, 3), (110.0, 4)])
    def test_min_load_over_target_util_is_kept_ready_without_traffic(
        self, min_load: float, n: int
    ) -> None:
        workers = [make_worker(i, WorkerState.STOPPED, perf=40.0) for i in range(5)]
        snapshot = make_snapshot(*workers, min_load=min_load, target_util=0.9)
        plan = decide_scaling(snapshot, {}, NOW)
        assert len(of_kind(plan, StartWorker)) == n  # min_load / 0.9 / 40, rounded up
        assert plan.hot_target == pytest.approx(min_load / 0.9)
        assert plan.binding == "min_load"

    @pytest.mark.parametrize(("util", "capacity"), [(0.9, 1000.0), (0.4, 2250.0)])
    def test_target_util_given_keeps_load_over_it_ready(self, util: float, capacity: float) -> None:
        traffic = Traffic(elapsed_s=3600.0, arrived_load=900.0 * 3600, n_arrived=3600)
        workers = [make_worker(i, n_working=6) for i in range(12)]
        snapshot = make_snapshot(*workers, target_util=util, traffic=traffic)
        plan = decide_scaling(snapshot, {}, NOW)
        assert plan.hot_target == pytest.approx(capacity, rel=0.01)

    def test_max_workers_counts_every_state_and_pending_rentals(self) -> None:
        rental = PendingRental(autogroup_id=1, gpu_type="1x X", usd_per_hour=1, begun_at=NOW)
        snapshot = make_snapshot(
            make_worker(1, n_working=8),
            make_worker(2, WorkerState.DESTROYING),
            rentals=(rental,),
            waiting=Waiting(n=1000, load=1e6),
            max_workers=4,
        )
        plan = decide_scaling(snapshot, {}, NOW)
        assert len(of_kind(plan, RentOffer)) == 1
        assert "cap_workers" in {note.code for note in plan.notes}

    def test_money_cap_bounds_the_rentals(self) -> None:
        snapshot = make_snapshot(
            make_worker(1, n_working=8),
            waiting=Waiting(n=1000, load=1e6),
            caps=Caps(free_usd_per_hour=1.2),
        )
        assert len(of_kind(decide_scaling(snapshot, {}, NOW), RentOffer)) == 2

    def test_what_is_missing_is_told_in_machines_until_one_is_measured(self) -> None:
        plan = decide_scaling(make_snapshot(waiting=Waiting(n=1, load=9.0)), {}, NOW)
        [rental] = of_kind(plan, RentOffer)
        assert rental.reason.code == "unmeasured"
        assert "machines to rent: 1" in explain_reason(rental.reason)

    def test_cold_workers_is_a_retention_floor_and_rents_nothing(self) -> None:
        assert not decide_scaling(make_snapshot(cold_workers=5), {}, NOW).actions
        old = [make_worker(i, WorkerState.STOPPED, state_since=NOW - 90_000) for i in range(8)]
        plan = decide_scaling(make_snapshot(*old, cold_workers=5), {}, NOW)
        assert len(of_kind(plan, DestroyWorker)) == 3

    def test_cold_mult_and_min_cold_load_floor_the_total(self) -> None:
        snapshot = make_snapshot(make_worker(1), min_load=100.0, cold_mult=3.0)
        assert decide_scaling(snapshot, {}, NOW).total_target == pytest.approx(300.0)
        snapshot = make_snapshot(make_worker(1), min_cold_load=500.0)
        assert decide_scaling(snapshot, {}, NOW).total_target == pytest.approx(500.0)

    def test_test_workers_are_rented_at_once_on_different_types_then_no_more(self) -> None:
        offers = (
            make_offer(1, 0.4),
            make_offer(2, 0.41),
            make_offer(3, 0.9, gpu_name="H100", dlperf=150.0),
        )
        snapshot = make_snapshot(test_workers=2, offers={1: offers})
        plan = decide_scaling(snapshot, {}, NOW)
        rented = of_kind(plan, RentOffer)
        assert {action.offer.gpu_name for action in rented} == {"RTX 4090", "H100"}
        loaded = [make_worker(1, WorkerState.STOPPED), make_worker(2, WorkerState.STOPPED)]
        plan = decide_scaling(replace(snapshot, workers=tuple(loaded)), plan.memory, NOW + 600)
        plan = decide_scaling(replace(snapshot, workers=tuple(loaded[:1])), plan.memory, NOW + 605)
        assert not of_kind(plan, RentOffer)

    @pytest.mark.parametrize(
        ("timeout", "idle_s", "stays"),
        [
            (None, 5000, False),
            (0, 5000, False),
            (-1, 5000, True),
            (600, 500, True),
            (600, 700, False),
        ],
    )
    def test_inactivity_timeout_gates_the_way_to_zero(
        self, timeout: float | None, idle_s: float, stays: bool
    ) -> None:
        traffic = Traffic(elapsed_s=5, last_request_at=NOW - idle_s)
        snapshot = make_snapshot(make_worker(1), inactivity_timeout=timeout, traffic=traffic)
        assert bool(of_kind(decide_scaling(snapshot, {}, NOW), DrainWorker)) != stays


class TestOwnersStates:
    def test_suspended_parks_what_serves_and_keeps_the_cold(self) -> None:
        snapshot = make_snapshot(
            make_worker(1),
            make_worker(2, WorkerState.STOPPED, state_since=0.0),
            state=GroupState.SUSPENDED,
            min_load=1000.0,
        )
        plan = decide_scaling(snapshot, {}, NOW)
        assert [action.instance_id for action in of_kind(plan, DrainWorker)] == [1]
        assert len(plan.actions) == 1

    def test_deleting_drains_the_serving_and_destroys_the_rest(self) -> None:
        snapshot = make_snapshot(
            make_worker(1, n_working=1),
            make_worker(2, WorkerState.STOPPED),
            make_worker(3, WorkerState.LOADING, loaded_at=0.0, perf=0.0),
            state=GroupState.DELETING,
        )
        plan = decide_scaling(snapshot, {}, NOW)
        assert [action.instance_id for action in of_kind(plan, DrainWorker)] == [1]
        assert [action.instance_id for action in of_kind(plan, DestroyWorker)] == [3, 2]

    def test_unknown_inventory_rents_and_destroys_nothing(self) -> None:
        snapshot = make_snapshot(
            make_worker(1, WorkerState.STOPPED, state_since=0.0, n_start_refusals=5),
            waiting=Waiting(n=100, load=1e5),
            inventory_is_known=False,
            cold_workers=0,
        )
        plan = decide_scaling(snapshot, {}, NOW)
        assert not of_kind(plan, RentOffer)
        assert not of_kind(plan, DestroyWorker)
        assert "inventory_unknown" in {note.code for note in plan.notes}

    def test_paused_autogroup_serves_nothing_and_the_orphans_go(self) -> None:
        paused = Autogroup(autogroup_id=1, endpoint_id=1, created_at=0, state=AutogroupState.PAUSED)
        snapshot = make_snapshot(
            make_worker(1), make_worker(9, autogroup_id=77), autogroups=(paused,), min_load=50.0
        )
        plan = decide_scaling(snapshot, {}, NOW)
        then = {action.instance_id: action.then.value for action in of_kind(plan, DrainWorker)}
        assert then == {1: "stop", 9: "destroy"}
        assert not of_kind(plan, RentOffer)


class TestServing:
    def test_waiting_requests_start_the_cheapest_cold_workers(self) -> None:
        snapshot = make_snapshot(
            make_worker(1, WorkerState.STOPPED, usd_per_hour=0.9),
            make_worker(2, WorkerState.STOPPED, usd_per_hour=0.4),
            waiting=Waiting(n=4, load=4000),
            traffic=Traffic(elapsed_s=5, arrived_load=4000, n_arrived=4),
        )
        plan = decide_scaling(snapshot, {}, NOW)
        assert [action.instance_id for action in of_kind(plan, StartWorker)] == [2]
        assert "1: $0.009" in of_kind(plan, StartWorker)[0].reason.beaten[0]

    def test_a_draining_worker_is_recalled_before_another_is_started(self) -> None:
        snapshot = make_snapshot(
            make_worker(1, WorkerState.DRAINING, after_drain="stop", n_working=2),
            make_worker(2, WorkerState.STOPPED, usd_per_hour=0.1),
            waiting=Waiting(n=2, load=2000),
        )
        plan = decide_scaling(snapshot, {}, NOW)
        assert [action.instance_id for action in of_kind(plan, RecallWorker)] == [1]
        assert not of_kind(plan, StartWorker)

    def test_an_empty_drained_worker_is_stopped_after_the_grace(self) -> None:
        drained = make_worker(1, WorkerState.DRAINING, after_drain="stop", state_since=NOW - 5)
        plan = decide_scaling(make_snapshot(drained), {}, NOW)
        assert [action.instance_id for action in of_kind(plan, StopWorker)] == [1]
        just_now = replace(drained, state_since=NOW - 1)
        assert not decide_scaling(make_snapshot(just_now), {}, NOW).actions

    def test_the_last_pick_is_the_small_worker_that_suffices(self) -> None:
        snapshot = make_snapshot(
            make_worker(1, WorkerState.STOPPED, perf=300.0, usd_per_hour=1.2),  # cheapest per load
            make_worker(2, WorkerState.STOPPED, perf=100.0, usd_per_hour=0.5),
            min_load=90.0,
        )
        plan = decide_scaling(snapshot, {}, NOW)
        assert [action.instance_id for action in of_kind(plan, StartWorker)] == [2]

    def test_a_busy_worker_is_drained_only_if_there_is_ample_capacity_without_it(self) -> None:
        for n_workers, n_drained in ((10, 0), (12, 2)):  # eight are needed; a quarter more is ample
            ready = [make_worker(i, n_working=1) for i in range(n_workers)]
            plan = decide_scaling(make_snapshot(*ready, min_load=800.0), {}, NOW)
            assert len(of_kind(plan, DrainWorker)) == n_drained


class TestRepair:
    def test_an_error_is_rebooted_once_then_returned(self) -> None:
        snapshot = make_snapshot(make_worker(1, WorkerState.ERROR, error="CUDA"))
        plan = decide_scaling(snapshot, {}, NOW)
        assert of_kind(plan, RebootWorker)
        # A reboot that was planned and never made is planned again; one that was made is not.
        again = decide_scaling(snapshot, plan.memory, NOW + 60)
        assert of_kind(again, RebootWorker)
        assert not of_kind(again, DestroyWorker)
        done = remember_deeds(plan.memory, plan.actions, NOW)
        assert of_kind(decide_scaling(snapshot, done, NOW + 60), DestroyWorker)

    def test_a_load_of_15_minutes_is_left_alone_and_one_of_40_replaced(self) -> None:
        loading = make_worker(1, WorkerState.LOADING, perf=0.0, loaded_at=0.0, created_at=NOW - 890)
        assert not decide_scaling(make_snapshot(loading), {}, NOW).actions
        plan = decide_scaling(make_snapshot(replace(loading, created_at=NOW - 2400)), {}, NOW)
        assert of_kind(plan, DestroyWorker)

    def test_a_silent_majority_is_our_own_trouble(self) -> None:
        silent = [make_worker(i, WorkerState.UNREACHABLE, state_since=NOW - 5000) for i in range(3)]
        assert not of_kind(decide_scaling(make_snapshot(*silent), {}, NOW), DestroyWorker)
        many = [make_worker(10 + i) for i in range(9)]
        plan = decide_scaling(make_snapshot(*silent, *many), {}, NOW)
        assert len(of_kind(plan, DestroyWorker)) == 3

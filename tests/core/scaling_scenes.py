"""Any fleet and demand that Hypothesis can think of, and what a plan makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st

from chalicelib.core.model.autogroup import Autogroup, AutogroupState
from chalicelib.core.model.endpoint_group import (
    EndpointGroup,
    GroupState,
    Interruptible,
    ScalingParams,
)
from chalicelib.core.model.market import Offer
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.actions import (
    Action,
    ChangeBid,
    DestroyWorker,
    DrainWorker,
    RebootWorker,
    RecallWorker,
    RentOffer,
    StartWorker,
    StopWorker,
)
from chalicelib.core.scaling.snapshot import (
    Caps,
    GroupSnapshot,
    PendingRental,
    ScalingPlan,
    Traffic,
    Waiting,
    WorkerFacts,
)

NOW = 2_000_000.0


amounts = st.one_of(st.just(0.0), st.floats(0.001, 1e4), st.floats(0, 1e12))
prices = st.one_of(st.just(0.0), st.floats(0.01, 5.0))
ages = st.floats(0, 200_000)


@st.composite
def workers(draw: st.DrawFn, instance_id: int) -> WorkerFacts:
    state = draw(st.sampled_from(list(WorkerState)))
    was_loaded = state not in (WorkerState.CREATING, WorkerState.LOADING)
    age = draw(ages)
    n_working = (
        draw(st.integers(0, 20)) if state in (WorkerState.READY, WorkerState.DRAINING) else 0
    )
    return WorkerFacts(
        instance_id=instance_id,
        autogroup_id=draw(st.sampled_from([1, 1, 1, 2, 9])),
        state=state,
        state_since=NOW - min(draw(ages), age),
        created_at=NOW - age,
        gpu_type=draw(st.sampled_from(["1x RTX 4090", "2x H100"])),
        machine_id=instance_id,
        usd_per_hour=draw(prices),
        storage_usd_per_hour=draw(prices),
        perf=draw(amounts) if was_loaded else 0.0,
        dlperf=draw(amounts),
        pending_load=float(n_working),
        n_working=n_working,
        slots=draw(st.integers(0, 16)),
        loaded_at=NOW - age / 2 if was_loaded else 0.0,
        drain_by=NOW + 100 if state is WorkerState.DRAINING else None,
        after_drain=draw(st.sampled_from(["stop", "destroy"]))
        if state is WorkerState.DRAINING
        else None,
        n_start_refusals=draw(st.integers(0, 3)),
        is_bid=state is WorkerState.PAUSED or draw(st.booleans()),
        bid_usd_per_hour=draw(prices),
        bid_margin=draw(st.sampled_from([1.0, 1.25, 1.6])),
        place=draw(st.sampled_from(["SE", "US"])),
    )


def offer(number: int, price: float, dlperf: float) -> Offer:
    return Offer(
        offer_id=number,
        machine_id=1000 + number,
        host_id=number,
        gpu_name="RTX 4090",
        num_gpus=1,
        gpu_ram_gb=24,
        usd_per_hour=price,
        storage_usd_per_hour=0.01,
        dlperf=dlperf,
    )


@st.composite
def owners_params(draw: st.DrawFn) -> ScalingParams:
    return ScalingParams(
        min_load=draw(amounts),
        target_util=draw(st.one_of(st.none(), st.floats(0.05, 1))),
        cold_mult=draw(st.one_of(st.none(), st.floats(0, 10))),
        min_cold_load=draw(st.one_of(st.none(), amounts)),
        cold_workers=draw(st.integers(0, 5)),
        max_workers=draw(st.integers(0, 30)),
        inactivity_timeout=draw(st.one_of(st.none(), st.floats(-1, 1e5))),
        slo_target=draw(st.floats(0.5, 0.9999)),
        interruptible=draw(st.sampled_from(list(Interruptible))),
        interruptible_share=draw(st.floats(0, 1)),
    )


@st.composite
def autogroups(draw: st.DrawFn, autogroup_id: int) -> Autogroup:
    return Autogroup(
        autogroup_id=autogroup_id,
        endpoint_id=1,
        created_at=0,
        test_workers=draw(st.integers(0, 3)),
        weight=draw(st.floats(0, 10)),
        tier=draw(st.integers(0, 1)),
        state=draw(st.sampled_from([AutogroupState.ACTIVE] * 4 + list(AutogroupState))),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> GroupSnapshot:
    n = draw(st.integers(0, 8))
    n_waiting = draw(st.integers(0, 500))
    n_overdue = draw(st.integers(0, n_waiting))
    size = draw(st.floats(0, 1e4))
    return GroupSnapshot(
        group=EndpointGroup(
            endpoint_id=1,
            name="g",
            created_at=0,
            params=draw(owners_params()),
            state=draw(st.sampled_from([GroupState.ACTIVE] * 4 + list(GroupState))),
            frozen=draw(st.booleans()) and draw(st.booleans()),
        ),
        autogroups=tuple(draw(autogroups(i)) for i in range(1, draw(st.integers(1, 2)) + 1)),
        workers=tuple(draw(workers(100 + i)) for i in range(n)),
        waiting=Waiting(
            n=n_waiting, load=size * n_waiting, n_overdue=n_overdue, overdue_load=size * n_overdue
        ),
        traffic=Traffic(
            elapsed_s=draw(st.floats(0, 100)),
            arrived_load=draw(amounts),
            n_arrived=draw(st.integers(0, 1000)),
            n_started=draw(st.integers(0, 1000)),
            n_late=draw(st.integers(0, 1000)),
            last_request_at=draw(st.one_of(st.none(), st.just(NOW - 50))),
        ),
        rentals=tuple(
            PendingRental(autogroup_id=1, gpu_type="1x X", usd_per_hour=1, begun_at=NOW - i)
            for i in range(draw(st.integers(0, 2)))
        ),
        offers={
            i: tuple(
                replace(
                    offer(10 * i + j, draw(prices), draw(amounts)),
                    is_bid=j > 2,
                    bid_usd_per_hour=draw(prices) if j > 2 else 0.0,
                )
                for j in range(5)
            )
            for i in (1, 2)
        },
        caps=Caps(
            free_usd_per_hour=draw(st.floats(0, 20)),
            free_workers=draw(st.integers(0, 20)),
            may_rent=draw(st.booleans()) or draw(st.booleans()),
        ),
        inventory_is_known=draw(st.booleans()) or draw(st.booleans()),
    )


@st.composite
def memories(draw: st.DrawFn, slo_target: float) -> dict[str, object]:
    """What a group may remember of the round before: nothing, or any caution and restlessness."""
    if draw(st.booleans()):
        return {}
    return {
        "at": NOW - draw(st.floats(0, 100)),
        "caution": draw(st.floats(-2, 12)),
        "tuned_for": slo_target,
        "request_rate": draw(amounts),
        "mean_occupancy": draw(amounts),
        "square_rise": draw(amounts),
        "worker_perf": draw(amounts),
        "usage": [draw(st.floats(0, 1))] * 45,
        "usage_s": draw(st.floats(0, 86_400)),
        "worker_slots": float(draw(st.integers(0, 16))),
        "hour_peaks": [[NOW - draw(st.floats(0, 20_000)), draw(amounts)]],
    }


@st.composite
def remembered_snapshots(draw: st.DrawFn) -> tuple[GroupSnapshot, dict[str, object]]:
    """A snapshot and what its group remembers."""
    snapshot = draw(snapshots())
    return snapshot, draw(memories(snapshot.group.params.slo_target))


def apply_plan(snapshot: GroupSnapshot, plan: ScalingPlan) -> GroupSnapshot:
    """The snapshot once every action was carried out at once."""
    known = {worker.instance_id: worker for worker in snapshot.workers}
    rentals = list(snapshot.rentals)
    taken: set[int] = set()
    for action in plan.actions:
        if isinstance(action, RentOffer):
            machine = action.offer
            taken.add(machine.offer_id)
            rentals.append(
                PendingRental(
                    autogroup_id=action.autogroup_id,
                    gpu_type=machine.gpu_type,
                    usd_per_hour=machine.usd_per_hour,
                    begun_at=NOW,
                    machine_id=machine.machine_id,
                    is_bid=machine.is_bid,
                    dlperf=machine.dlperf,
                )
            )
        else:
            _apply(action, known)
    return replace(
        snapshot,
        workers=tuple(known.values()),
        rentals=tuple(rentals),
        offers={
            key: tuple(item for item in offers if item.offer_id not in taken)
            for key, offers in snapshot.offers.items()
        },
        caps=replace(snapshot.caps, free_workers=snapshot.caps.free_workers - len(taken)),
    )


_NEXT: dict[type, WorkerState] = {
    StartWorker: WorkerState.STARTING,
    RecallWorker: WorkerState.READY,
    StopWorker: WorkerState.STOPPING,
    RebootWorker: WorkerState.REBOOTING,
    DestroyWorker: WorkerState.DESTROYING,
    DrainWorker: WorkerState.DRAINING,
    ChangeBid: WorkerState.STARTING,
}


def _apply(action: Action, known: dict[int, WorkerFacts]) -> None:
    if isinstance(action, RentOffer):
        return
    worker = known[action.instance_id]
    change: Callable[..., WorkerFacts] = replace
    after = change(
        worker, state=_NEXT[type(action)], state_since=NOW, n_working=0, pending_load=0.0
    )
    if isinstance(action, DrainWorker):
        after = replace(
            after,
            n_working=worker.n_working,
            pending_load=worker.pending_load,
            after_drain=action.then.value,
            drain_by=NOW + action.deadline_s,
        )
    if isinstance(action, RecallWorker):
        after = replace(after, n_working=worker.n_working, pending_load=worker.pending_load)
    known[action.instance_id] = after


def fixed_snapshot() -> GroupSnapshot:
    base = {"created_at": NOW - 9000, "machine_id": 1, "storage_usd_per_hour": 0.01, "perf": 90.0}
    states = [WorkerState.READY, WorkerState.STOPPED, WorkerState.STARTING, WorkerState.LOADING]
    return GroupSnapshot(
        group=EndpointGroup(endpoint_id=1, name="g", created_at=0),
        autogroups=(Autogroup(autogroup_id=1, endpoint_id=1, created_at=0, test_workers=9),),
        workers=tuple(
            WorkerFacts(
                instance_id=i,
                autogroup_id=1,
                state=states[i % 4],
                state_since=NOW - 100 * i,
                gpu_type="1x RTX 4090",
                usd_per_hour=0.3 + i / 50,
                slots=8,
                loaded_at=NOW - 8000.0 if i % 4 < 3 else 0.0,
                **base,  # type: ignore[arg-type]
            )
            for i in range(12)
        ),
        waiting=Waiting(n=80, load=8000.0),
        offers={1: tuple(offer(i, 0.4 + i / 100, 100.0 + i) for i in range(9))},
    )

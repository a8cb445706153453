"""Our law at work: the same decision code as the Lambda's, on the simulated world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ballast.simulator.world.counters import Counters
from ballast.simulator.world.machine import Life, Machine
from ballast.simulator.world.world import World
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup, ScalingParams
from chalicelib.core.model.worker import AfterDrain, WorkerState
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
from chalicelib.core.scaling.decision import draft_scaling
from chalicelib.core.scaling.moves.deeds import remember_deeds
from chalicelib.core.scaling.snapshot import (
    GroupSnapshot,
    ScalingPlan,
    Traffic,
    Waiting,
    WorkerFacts,
)

_STATES = {
    Life.LOADING: WorkerState.LOADING,
    Life.READY: WorkerState.READY,
    Life.DRAINING: WorkerState.DRAINING,
    Life.STOPPED: WorkerState.STOPPED,
    Life.STARTING: WorkerState.STARTING,
    Life.PAUSED: WorkerState.PAUSED,
}


@dataclass(slots=True)
class BallastPolicy:
    """Drives `draft_scaling` each round and carries out its plan."""

    params: ScalingParams = field(
        default_factory=lambda: ScalingParams(max_workers=200, cold_workers=0)
    )
    test_workers: int = 3
    memory: Mapping[str, object] = field(default_factory=dict)
    plan: ScalingPlan | None = None
    _before: Counters = field(default_factory=Counters)
    _round_at: float = 0.0
    _facts: dict[int, tuple[object, WorkerFacts]] = field(default_factory=dict)

    def round(self, world: World, now: float) -> None:
        """Read, decide, act."""
        snapshot = self.take_snapshot(world, now)
        draft = draft_scaling(snapshot, self.memory, now)
        self.plan = draft.with_offers(snapshot.offers)
        if self.plan.wants_bids and world.losses is not None:
            offers = (*snapshot.offers[1], *world.market.bids(now, world.losses))
            self.plan = draft.with_offers({1: offers})
        self.memory = remember_deeds(self.plan.memory, self.plan.actions, now)
        for action in self.plan.actions:
            carry_out(action, world)

    def take_snapshot(self, world: World, now: float) -> GroupSnapshot:
        """What the scaler would read at this moment."""
        n, load, n_overdue, overdue_load, _ = world.dispatcher.waiting(now)
        counters, before = world.counters, self._before
        traffic = Traffic(
            elapsed_s=now - self._round_at,
            arrived_load=counters.arrived_load - before.arrived_load,
            n_arrived=counters.n_arrived - before.n_arrived,
            n_started=max(counters.n_started - before.n_started, 0),
            n_late=counters.n_late - before.n_late,
            last_request_at=world.last_arrival_at,
        )
        self._round_at = now
        self._before = Counters(
            arrived_load=counters.arrived_load,
            n_arrived=counters.n_arrived,
            n_started=counters.n_started,
            n_late=counters.n_late,
        )
        return GroupSnapshot(
            group=EndpointGroup(
                endpoint_id=1, name="simulated", created_at=0.0, params=self.params
            ),
            autogroups=(
                Autogroup(
                    autogroup_id=1, endpoint_id=1, created_at=0.0, test_workers=self.test_workers
                ),
            ),
            workers=tuple(self._facts_of(machine) for machine in world.machines.values()),
            waiting=Waiting(n=n, load=load, n_overdue=n_overdue, overdue_load=overdue_load),
            traffic=traffic,
            offers={1: tuple(world.market.offers(now))},
        )

    def _facts_of(self, machine: Machine) -> WorkerFacts:
        """A machine as the snapshot shows it; built anew only when it changed."""
        key = (machine.epoch, len(machine.in_flight), machine.loaded_at, machine.usd_per_hour)
        known = self._facts.get(machine.number)
        if known is not None and known[0] == key:
            return known[1]
        offer = machine.offer
        facts = WorkerFacts(
            instance_id=machine.number,
            autogroup_id=1,
            state=_STATES[machine.life],
            state_since=machine.since,
            created_at=machine.created_at,
            gpu_type=offer.gpu_type,
            machine_id=offer.machine_id,
            usd_per_hour=machine.usd_per_hour,
            storage_usd_per_hour=offer.storage_usd_per_hour,
            perf=machine.perf if machine.loaded_at else 0.0,
            dlperf=offer.dlperf,
            load_s=0.0 if machine.loaded_at else offer.load_s,
            host_id=offer.host_id,
            pending_load=float(len(machine.in_flight)),
            n_working=len(machine.in_flight),
            slots=machine.n_slots,
            loaded_at=machine.loaded_at,
            is_bid=machine.is_bid,
            bid_margin=machine.bid_margin,
            on_demand_usd_per_hour=offer.usd_per_hour if machine.is_bid else 0.0,
            bid_usd_per_hour=machine.bid_usd_per_hour,
            place=offer.geolocation,
            drain_by=machine.drain_by if machine.life is Life.DRAINING else None,
            after_drain=_after_drain(machine),
        )
        self._facts[machine.number] = (key, facts)
        return facts


def _after_drain(machine: Machine) -> AfterDrain | None:
    if machine.life is not Life.DRAINING:
        return None
    return AfterDrain.DESTROY if machine.then_destroy else AfterDrain.STOP


def carry_out(action: Action, world: World) -> None:
    """The executor of the simulated world."""
    if isinstance(action, RentOffer):
        for offer in (action.offer, *action.alternatives):
            if world.rent(offer) is not None:
                return
        return
    machine = world.machines.get(action.instance_id)
    if machine is None:
        return
    if isinstance(action, ChangeBid):
        margin = machine.bid_margin * action.bid_usd_per_hour / machine.bid_usd_per_hour
        world.change_bid(machine, action.bid_usd_per_hour, margin)
    elif isinstance(action, DrainWorker):
        then_destroy = action.then is AfterDrain.DESTROY
        world.drain(machine, then_destroy=then_destroy, deadline_s=action.deadline_s)
    else:
        _SIMPLE[type(action)](world, machine)


_SIMPLE: dict[type, Callable[[World, Machine], None]] = {
    StartWorker: World.start,
    RecallWorker: World.recall,
    StopWorker: World.stop,
    RebootWorker: World.stop,
    DestroyWorker: World.destroy,
}

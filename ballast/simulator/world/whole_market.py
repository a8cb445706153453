"""The marketplace port on the simulated world: what Vast would answer, and when calls act."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf

from ballast.simulator.world.machine import Life, Machine
from ballast.simulator.world.world import World
from chalicelib.core.model.market import NO_PAGES, InstanceListing, InstanceRecord
from chalicelib.ports.clock import Clock
from chalicelib.ports.marketplace import (
    CreateRequest,
    FoundOffers,
    OfferGoneError,
    RefusedError,
    Template,
)

EPOCH_AT = 20_833 * 86_400.0  # the simulation's second 0: a midnight, as in the plain mode
TEMPLATE_HASH = "simulated"
DISK_GB = 60.0

_STATUS = {  # (intended_status, actual_status, cur_state)
    Life.LOADING: ("running", "loading", "running"),
    Life.STARTING: ("running", "loading", "running"),
    Life.READY: ("running", "running", "running"),
    Life.DRAINING: ("running", "running", "running"),
    Life.STOPPED: ("stopped", "exited", "stopped"),
    Life.PAUSED: ("stopped", "exited", "stopped"),
}


class SimulatedMarketplace:
    """Implements `ports.marketplace.Marketplace`; `world` is the one of the round under way.

    A round that waits for its turns is ahead of the world: its calls take effect when their time
    has come; only rentals, which need an answer, do so at the round's beginning.
    """

    world: World

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._orders: dict[int, CreateRequest] = {}

    def token_of(self, instance_id: int) -> str:
        """What the machine was given to prove itself with."""
        return self._orders[instance_id].env["MASTER_TOKEN"]

    def search_offers(
        self,
        query: Mapping[str, Mapping[str, object]],
        *,
        disk_gb: float,
        limit: int,
        is_bid: bool = False,
    ) -> FoundOffers:
        """All offers: the simulated market sells what the group wants, and nothing else."""
        world = self.world
        if not is_bid:
            return FoundOffers(world.market.offers(world.now)[:limit])
        return FoundOffers(world.market.bids(world.now, world.losses) if world.losses else ())

    def create_instance(self, request: CreateRequest) -> int:
        """Rent."""
        shown = self.world.market.offers(self.world.now)
        offer = next((offer for offer in shown if offer.offer_id == request.offer_id), None)
        if offer is not None and request.bid_usd_per_hour is not None:
            bid = request.bid_usd_per_hour
            offer = replace(
                offer,
                is_bid=True,
                usd_per_hour=bid,
                bid_usd_per_hour=bid,
                on_demand_usd_per_hour=offer.usd_per_hour,
            )
        machine = self.world.rent(offer) if offer else None
        if machine is None:
            raise OfferGoneError("no_such_ask")
        self._orders[machine.number] = request
        return machine.number

    def list_instances(
        self, so_far: Mapping[str, object] = NO_PAGES, *, ends_at: float = inf
    ) -> InstanceListing:
        """Every machine."""
        now = self._clock.now()
        records = tuple(self._record(machine) for machine in self.world.machines.values())
        return InstanceListing(started_at=now, ended_at=now, is_complete=True, instances=records)

    def find_instance(self, instance_id: int) -> InstanceRecord | None:
        """One machine."""
        machine = self.world.machines.get(instance_id)
        return self._record(machine) if machine else None

    def start_instance(self, instance_id: int) -> None:
        """Start a stopped machine."""
        self._when_due(instance_id, World.start, {Life.STOPPED, Life.PAUSED})

    def stop_instance(self, instance_id: int) -> None:
        """Stop."""
        self._when_due(instance_id, World.stop, set(Life) - {Life.STOPPED})

    def reboot_instance(self, instance_id: int) -> None:
        """Stop and start again."""
        self.stop_instance(instance_id)
        self.start_instance(instance_id)

    def change_bid(self, instance_id: int, usd_per_hour: float) -> None:
        """Bid anew."""
        machine = self.world.machines.get(instance_id)
        if machine is None or not machine.is_bid:
            raise RefusedError("no_such_instance", str(instance_id))
        margin = machine.bid_margin * usd_per_hour / machine.bid_usd_per_hour
        self.world.change_bid(machine, usd_per_hour, margin)

    def destroy_instances(self, instance_ids: Sequence[int]) -> Mapping[int, str]:
        """Destroy; what is gone already is no problem."""
        for instance_id in set(instance_ids) & set(self.world.machines):
            self._when_due(instance_id, World.destroy, set(Life))
        return dict.fromkeys(instance_ids, "")

    def find_template(self, hash_id: str) -> Template | None:
        """The one template."""
        return Template(
            template_id=1,
            hash_id=hash_id,
            name="simulated",
            image="simulated:1",
            env="",
            onstart="",
            extra_filters={},
            disk_gb=DISK_GB,
        )

    def account_credit_usd(self) -> float:
        """Enough."""
        return 1e6

    def instance_logs(self, instance_id: int, *, n_lines: int = 1_000) -> str:
        """Nothing runs in a simulated machine."""
        return ""

    def _when_due(
        self, instance_id: int, act: Callable[[World, Machine], None], lives: set[Life]
    ) -> None:
        world = self.world
        if instance_id not in world.machines:
            raise RefusedError("no_such_instance", str(instance_id))

        def do(_: object) -> None:
            machine = world.machines.get(instance_id)
            if machine is not None and machine.life in lives:
                act(world, machine)

        lag_s = self._clock.now() - EPOCH_AT - world.now
        if lag_s > 0:
            world.at(world.now + lag_s, do)
        else:
            do(None)

    def _record(self, machine: Machine) -> InstanceRecord:
        intended, actual, current = _STATUS[machine.life]
        offer = machine.offer
        return InstanceRecord(
            instance_id=machine.number,
            label=self._orders[machine.number].label,
            actual_status=actual,
            intended_status=intended,
            cur_state=current,
            machine_id=offer.machine_id,
            host_id=offer.host_id,
            gpu_name=offer.gpu_name,
            num_gpus=offer.num_gpus,
            dlperf=offer.dlperf,
            usd_per_hour=machine.usd_per_hour,
            storage_usd_per_hour=offer.storage_usd_per_hour,
            public_ipaddr="8.8.4.4",  # any global one: nothing is sent there
            ports={"3000/tcp": 20_000 + machine.number % 40_000},
            is_bid=machine.is_bid,
            bid_usd_per_hour=machine.bid_usd_per_hour,
            geolocation=offer.geolocation,
            started_at=EPOCH_AT + machine.created_at,
        )

"""What is told while calls break: a world with one group, its rounds, and fourteen scenarios."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from chalicelib.core.model.autogroup import AutogroupState
from chalicelib.core.model.endpoint_group import EndpointGroup, GroupState
from chalicelib.core.model.worker import WorkerState
from chalicelib.services.rounds.loop import LEASE_S, scaling_loop
from fakes.bundles.faulty_ports import Break, Killed, OutgoingCalls
from fakes.worlds.world import World
from fakes.worlds.world_state import digest

MAX_WORKERS = 3
CLEAN_ROUNDS = 5
CAP_USD_PER_HOUR = 2.0


class AlreadyToldError(Exception):
    """The broken round left a world that was seen after the same round before."""


class Story:
    """A world with one group and a machine of the owner's own, and rounds that may die."""

    def __init__(self) -> None:
        self.world = World(seed=7)
        self.cap_usd_per_hour = 0.0
        self.set_cap(CAP_USD_PER_HOUR)
        self.group: EndpointGroup = self.world.add_group(max_workers=MAX_WORKERS)
        self.foreign = self._rent_foreign("llm - not a token")
        self.calls = OutgoingCalls()
        self.known: set[tuple[int, str]] | None = None  # futures that were played already
        self.n_rounds = 0

    def round(self) -> None:
        """One round of the loop; if the process dies, the next one finds the lease expired.

        Raises:
            AlreadyToldError: the round in which the call broke ends as one that was told did.
        """
        world = self.world
        had_broken = self.calls.has_broken
        try:
            scaling_loop(world.ports, deadline_at=world.now + 1)
        except Killed:
            self.calls.is_dead = False
            world.tick(LEASE_S + 1)
        self.n_rounds += 1
        if self.known is not None and self.calls.has_broken and not had_broken:
            future = (self.n_rounds, digest(world))
            if future in self.known:
                raise AlreadyToldError
            self.known.add(future)

    def rounds(self, n: int, every_s: float = 15.0) -> None:
        for _ in range(n):
            self.round()
            self.world.tick(every_s)

    def set_cap(self, usd_per_hour: float) -> None:
        self.cap_usd_per_hour = usd_per_hour
        self.world.ledger.set_caps({"caps_microusd_per_hour": int(usd_per_hour * 1e6)})

    def switch_on(self, fault: str) -> None:
        """One call of the market meets the fault."""
        self.world.market.switch_on(fault, self.world.now, times=1)

    def ask(self, n: int) -> None:
        self.world.ask(self.group.endpoint_id, n)

    def change_group(self, **changes: object) -> None:
        groups = self.world.owner_ports.groups
        group = groups.find_group(self.group.endpoint_id)
        assert group is not None
        changed = replace(group, **changes, revision=group.revision + 1)  # type: ignore[arg-type]
        groups.put_group(changed, expected_revision=group.revision)
        self.world.publish()

    def break_at(self, breaks: Break | None) -> None:
        self.calls = OutgoingCalls(breaks)
        self.world.ports = self.calls.wrap(self.world.owner_ports)

    def change_autogroup(self, **changes: object) -> None:
        groups = self.world.owner_ports.groups
        old = groups.list_autogroups(self.group.endpoint_id)[0]
        changed = replace(old, **changes, revision=old.revision + 1)  # type: ignore[arg-type]
        groups.put_autogroup(changed, expected_revision=old.revision)
        self.world.publish()

    def states(self) -> list[WorkerState]:
        return [row.state for row in self.world.workers.rows.values()]

    def our_machines(self) -> set[int]:
        return {id_ for id_ in self.world.market.instances if id_ != self.foreign}

    def _rent_foreign(self, label: str) -> int:
        market = self.world.market
        offer = market.offers.search({"gpu_name": {"eq": "H100 SXM"}}, self.world.now)[0]
        body = {"label": label, "image": "mine:1", "disk": 10.0, "env": {}}
        return market.create(int(str(offer["id"])), body, self.world.now).instance_id


@dataclass(frozen=True)
class Scenario:
    """`setup` runs undisturbed, `story` is where calls break; it must make the calls of `makes`."""

    setup: Callable[[Story], None]
    story: Callable[[Story], None]
    makes: frozenset[str]
    goes_on: bool = True  # the group still serves afterwards


def _nothing(story: Story) -> None:
    assert story.states() == []


def _serving(story: Story) -> None:
    _keep_ready(story, 50.0)
    story.ask(2)
    story.rounds(4)
    assert story.world.n_waiting == 0
    assert story.states() == [WorkerState.READY]


def _keep_ready(story: Story, load: float) -> None:
    story.change_group(params=replace(story.group.params, min_load=load))


def _cold(story: Story) -> None:
    _serving(story)
    story.change_group(state=GroupState.SUSPENDED)
    story.rounds(4)
    assert story.states() == [WorkerState.STOPPED]


def _first_demand(story: Story) -> None:
    story.ask(2)
    story.rounds(3)


def _the_answer_is_lost(story: Story) -> None:
    story.switch_on("create-timeout-rented")
    story.ask(2)
    story.rounds(4)


def _a_contract_cannot_start(story: Story) -> None:
    story.switch_on("success-false-contract")
    story.ask(2)
    story.rounds(4)


def _nearly_all_is_spent(story: Story) -> None:
    _serving(story)
    story.set_cap(1.5e-6 * story.world.ledger.account().committed_microusd_per_hour)


def _demand_grows(story: Story) -> None:
    _keep_ready(story, 150.0)
    story.rounds(3)


def _is_suspended(story: Story) -> None:
    story.change_group(state=GroupState.SUSPENDED)
    story.rounds(4)
    story.change_group(state=GroupState.ACTIVE)


def _wakes_up(story: Story) -> None:
    story.change_group(state=GroupState.ACTIVE)
    story.ask(2)
    story.rounds(3)


def _a_start_is_refused(story: Story) -> None:
    story.switch_on("start-refused")
    _wakes_up(story)


def _is_updated(story: Story) -> None:
    story.change_autogroup(template_revision=2, rollout_by=story.world.now + 900.0)
    story.rounds(5)


def _worker_fails(story: Story) -> None:
    for process in story.world.processes.values():
        process.error = "CUDA out of memory"
    story.world.tick(10)
    story.rounds(3)


def _host_dies(story: Story) -> None:
    story.world.market.switch_on(
        "host-dies", story.world.now, instance_id=min(story.our_machines())
    )
    story.world.tick(10)
    story.rounds(3)


def _is_deleted(story: Story) -> None:
    story.change_group(state=GroupState.DELETING)
    story.rounds(4)


def _autogroup_is_deleted(story: Story) -> None:
    story.world.add_autogroup(story.group.endpoint_id)
    story.change_autogroup(state=AutogroupState.DELETING)
    story.rounds(4)


def _panics(story: Story) -> None:
    story.world.ledger.set_flags(is_panicking=True)
    story.rounds(4)


SCENARIOS = {
    "first_demand": Scenario(_nothing, _first_demand, frozenset({"create_instance"})),
    "the_answer_is_lost": Scenario(
        _nothing,
        _the_answer_is_lost,
        frozenset({"create_instance"}),
    ),
    "a_contract_cannot_start": Scenario(
        _nothing,
        _a_contract_cannot_start,
        frozenset({"create_instance", "destroy_instances"}),
    ),
    "the_cap_is_near": Scenario(_nearly_all_is_spent, _demand_grows, frozenset()),
    "demand_grows": Scenario(_serving, _demand_grows, frozenset({"create_instance"})),
    "is_suspended": Scenario(_serving, _is_suspended, frozenset({"stop_instance"})),
    "wakes_up": Scenario(_cold, _wakes_up, frozenset({"start_instance"})),
    "a_start_is_refused": Scenario(
        _cold,
        _a_start_is_refused,
        frozenset({"start_instance"}),
    ),
    "is_updated": Scenario(
        _serving,
        _is_updated,
        frozenset({"create_instance", "destroy_instances"}),
    ),
    "worker_fails": Scenario(_serving, _worker_fails, frozenset({"reboot_instance"})),
    "host_dies": Scenario(_serving, _host_dies, frozenset({"create_instance"})),
    "is_deleted": Scenario(
        _serving, _is_deleted, frozenset({"destroy_instances", "find_instance"}), goes_on=False
    ),
    "autogroup_is_deleted": Scenario(
        _serving,
        _autogroup_is_deleted,
        frozenset({"destroy_instances", "create_instance"}),
    ),
    "panics": Scenario(
        _serving, _panics, frozenset({"destroy_instances", "find_instance"}), goes_on=False
    ),
}

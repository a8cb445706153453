"""Values of a scaling round: what was read, and what it decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from chalicelib.core.fleet.inventory import Inventory
from chalicelib.core.fleet.reconcile import Reconciliation
from chalicelib.core.fleet.searching import digest
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.model.load import WaitingRequest
from chalicelib.core.model.market import InstanceListing, InstanceRecord
from chalicelib.core.model.worker import Worker
from chalicelib.core.money.account import Account, RoundBooking
from chalicelib.core.scaling.actions import Action
from chalicelib.core.scaling.round_memory import RoundMemory
from chalicelib.core.scaling.snapshot import GroupSnapshot, ScalingPlan
from chalicelib.ports.event_log import Event
from chalicelib.ports.ledger import RentIntent


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundView:
    """Everything read at the start of a round."""

    now: float
    account: Account
    memory: RoundMemory
    groups: tuple[EndpointGroup, ...]
    autogroups: tuple[Autogroup, ...]
    workers: tuple[Worker, ...]
    intents: tuple[RentIntent, ...]
    listing: InstanceListing
    inventory: Inventory
    waiting: Mapping[int, Sequence[WaitingRequest]]
    gone: frozenset[int] = frozenset()  # rows whose machine is believed gone, looked at directly
    unsettled: frozenset[int] = frozenset()  # rows whose machine nobody can find, nor rule out
    unasked: frozenset[int] = frozenset()  # of them: not looked at yet, as looks take turns
    redated: frozenset[str] = frozenset()  # tokens of intents that a wrong clock had written
    looked: Mapping[int, InstanceRecord] = field(default_factory=dict)  # itself, in a doubt

    @property
    def revisions(self) -> int:
        """What routers must have been told of: a digest of all groups and autogroups.

        Who changes one publishes it too. A round does so for whoever was cut off before.
        """
        return digest(
            [(group.endpoint_id, group.revision) for group in self.groups],
            [(autogroup.autogroup_id, autogroup.revision) for autogroup in self.autogroups],
        )

    @property
    def may_plan(self) -> bool:
        """Whether renting and returning may be planned: trusted, or in doubt for too long to wait.

        In a long doubt each machine is looked at itself before it is stopped, rebooted or returned.
        """
        return self.inventory.is_trusted or self.inventory.is_long_doubted(self.now)

    @property
    def records(self) -> Mapping[int, InstanceRecord]:
        """What the listing showed, by instance id; nothing if it is not to be trusted."""
        if not self.inventory.is_known:
            return {}
        return {record.instance_id: record for record in self.listing.instances}

    @property
    def seen(self) -> Mapping[int, InstanceRecord]:
        """What Vast said of machines in this round: as listed, or in a doubt of each by itself."""
        return {**self.records, **self.looked}


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A person's question about the next round, of one group or (None) of all.

    `group`, `autogroups`: as they would be, in place of those that are stored, or besides them.
    """

    endpoint_id: int | None = None
    group: EndpointGroup | None = None
    autogroups: tuple[Autogroup, ...] = ()

    def seen(self, view: RoundView) -> RoundView:
        """The view with what would be."""
        groups, autogroups = list(view.groups), list(view.autogroups)
        if self.group is not None:
            groups = [g for g in groups if g.endpoint_id != self.group.endpoint_id]
            groups.append(self.group)
        drafted = {one.autogroup_id for one in self.autogroups}
        autogroups = [a for a in autogroups if a.autogroup_id not in drafted]
        autogroups += self.autogroups
        return replace(view, groups=tuple(groups), autogroups=tuple(autogroups))

    def hurried(self, view: RoundView) -> frozenset[int]:
        """The groups whose offers are searched now, whatever pause the scaler keeps."""
        ids = frozenset(group.endpoint_id for group in view.groups)
        return ids if self.endpoint_id is None else ids & {self.endpoint_id}


@dataclass(frozen=True, kw_only=True, slots=True)
class RowChange:
    """Changes to a worker row that facts demand, whatever is decided."""

    worker: Worker
    changes: Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupPlan:
    """What was decided for a group, after caps and brakes cut it down.

    `would`: what is to be done; in shadow mode it is only told. `disk_gb`: of the autogroups whose
    offers were searched.
    """

    snapshot: GroupSnapshot
    decision: ScalingPlan
    would: tuple[Action, ...]
    disk_gb: Mapping[int, float] = field(default_factory=dict)
    unlaunchable: Mapping[int, str] = field(default_factory=dict)  # why, by autogroup
    unanswered: Mapping[int, str] = field(default_factory=dict)  # what Vast could not say

    @property
    def capped_by(self) -> str:
        """The cap that is passed already, so that the group is wound down; empty: none."""
        return self.snapshot.caps.exceeded

    @property
    def actions(self) -> tuple[Action, ...]:
        """What the round does: in shadow mode nothing."""
        return () if self.snapshot.group.shadow else self.would


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundPlan:
    """All that a round wants written and done. Making it changes nothing."""

    view: RoundView
    reconciliation: Reconciliation
    row_changes: tuple[RowChange, ...]
    workers: tuple[Worker, ...]  # as they will be once rows are changed, added and removed
    repeats_start: frozenset[int]
    repeats_stop: frozenset[int]
    silences: Mapping[str, Sequence[Worker]]  # by scope, who is silent through our own trouble
    booking: RoundBooking
    account: Account  # as it will be once the booking is written
    groups: tuple[GroupPlan, ...]
    memory: RoundMemory
    events: tuple[Event, ...] = ()
    reminders: tuple[Event, ...] = ()  # told the owner again if that failed, but not logged
    series: tuple[tuple[str, int, Mapping[str, float]], ...] = ()  # to write: scope, minute, values

"""Keeping the routing view and the directory up to date."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.load import WAITING_ENDS_S, WaitingRequest
from chalicelib.core.routing.admission import Queued
from chalicelib.core.routing.directory import (
    ForeignDirectoryError,
    GroupFacts,
    group_facts,
    is_readable,
    pack_directory,
    unpack_directory,
)
from chalicelib.core.routing.packed_view import pack_view
from chalicelib.core.routing.queue_place import is_waiting
from chalicelib.core.routing.view import RoutingView, build_view, rebuild_interval_s
from chalicelib.ports.bundles import ApiPorts, HotPorts
from chalicelib.ports.routing_view import StoredView

QUIET_REBUILD_S = 10.0
"""An idle worker reports as often (protocol.md C.3): its silence is seen by it."""


@dataclass(slots=True)
class RebuildMemory:
    """What one function remembers, to ask for the lease no more often than it could get it."""

    next_try_at: dict[int, float] = field(default_factory=dict)
    n_workers: dict[int, int] = field(default_factory=dict)
    unshown: set[int] = field(default_factory=set)  # groups with news since their last rebuild


def publish_directory(ports: ApiPorts) -> None:
    """Tell the routers of all groups; call it after every change of a group or autogroup."""
    autogroups: dict[int, list[Autogroup]] = {}
    for autogroup in ports.groups.list_autogroups():
        autogroups.setdefault(autogroup.endpoint_id, []).append(autogroup)
    groups = ports.groups.list_groups()
    facts = [group_facts(group, autogroups.get(group.endpoint_id, ())) for group in groups]
    ports.views.write_directory(pack_directory(facts))


def keep_directory(ports: ApiPorts) -> None:
    """Publish the directory anew if another version left it in a form that this one cannot read.

    After a rollback nobody may change a group for weeks, and routers start all the time.
    """
    if not is_readable(ports.views.read_directory()):
        publish_directory(ports)


def find_group(ports: HotPorts, endpoint_id: int) -> GroupFacts | None:
    """A group as the directory has it; none that another version wrote: a round does it anew."""
    try:
        return unpack_directory(ports.views.read_directory()).find(endpoint_id=endpoint_id)
    except ForeignDirectoryError:
        return None


def rebuild_if_due(
    ports: HotPorts,
    memory: RebuildMemory,
    endpoint_id: int,
    now: float,
    *,
    is_quiet: bool = False,
) -> bool:
    """Rebuild the view if nobody did within the interval; whether it was done here.

    `is_quiet`: nothing that routing looks at has changed, so that the view is only to be kept
    alive. A fleet without requests then costs a tenth of the reads and writes.
    """
    interval_s = rebuild_interval_s(memory.n_workers.get(endpoint_id, 0))
    if not is_quiet:
        memory.unshown.add(endpoint_id)
    is_patient = endpoint_id not in memory.unshown
    patience_s = max(QUIET_REBUILD_S - interval_s, 0.0) if is_patient else 0.0
    if now < memory.next_try_at.get(endpoint_id, -patience_s) + patience_s:
        return False
    memory.unshown.discard(endpoint_id)
    memory.next_try_at[endpoint_id] = now + interval_s
    if not ports.views.try_lease(endpoint_id, now, interval_s):
        return False
    memory.n_workers[endpoint_id] = rebuild_view(ports, endpoint_id, now)
    return True


def rebuild_view(ports: HotPorts, endpoint_id: int, now: float) -> int:
    """Rebuild a group's view from its rows at once; how many workers it has."""
    group = find_group(ports, endpoint_id)
    if group is None:
        return 0
    shards = build_shards(ports, group, now)
    stored = [
        StoredView(shard=i, n_shards=len(shards), built_at=now, blob=pack_view(view))
        for i, view in enumerate(shards)
    ]
    ports.views.write(endpoint_id, stored)
    return sum(shards[0].n_by_state.values())


def build_shards(ports: HotPorts, group: GroupFacts, now: float) -> list[RoutingView]:
    """A group's view as its rows and waiting requests are now."""
    endpoint_id = group.endpoint_id
    waiting = ports.waiting.list(endpoint_id, polled_since=now - WAITING_ENDS_S)
    return build_view(
        group,
        ports.workers.list(endpoint_id),
        [
            Queued(r.first_seen_at, r.cost, r.key_id, r.is_paced)
            for r in waiting
            if is_waiting(r.first_seen_at, r.last_polled_at, now)
        ],
        now,
        shares=_shares(waiting),
    )


def _shares(waiting: Iterable[WaitingRequest]) -> dict[str, float]:
    """The weights of the keys that wait, by each one's latest word."""
    by_age = sorted(waiting, key=lambda row: row.last_polled_at)
    return {row.key_id: row.key_share for row in by_age}

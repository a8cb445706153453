"""What one router remembers between requests: directory, views, keys, signatures, pokes.

Everything in it may be lost at any time: it saves calls, and is never the only copy.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, replace

from chalicelib.core.model.usage import Uses
from chalicelib.core.moments import is_ahead
from chalicelib.core.routing.affinity import Promises
from chalicelib.core.routing.bounded import Bounded
from chalicelib.core.routing.complaints import Complaints
from chalicelib.core.routing.directory import (
    Directory,
    ForeignDirectoryError,
    GroupFacts,
    unpack_directory,
)
from chalicelib.core.routing.packed_view import PackedViewError, unpack_view
from chalicelib.core.routing.quota import KeyBuckets
from chalicelib.core.routing.recent_use import RecentUse
from chalicelib.core.routing.table import RoutingTable
from chalicelib.core.routing.view import RoutingView, rebuild_interval_s
from chalicelib.ports.bundles import HotPorts
from chalicelib.ports.errors import StorageUnavailableError
from chalicelib.ports.routing_view import StoredView
from chalicelib.services.keys import KeyMemory
from chalicelib.services.routing.views import RebuildMemory, build_shards

logger = logging.getLogger("ballast")

VIEW_CACHE_S = 1.0
DIRECTORY_CACHE_S = 10.0
MISS_CACHE_S = 1.0
RETRY_AFTER_S = 5.0
"""What could not be read is used on for this long beyond its usual time: a try may take 3 s."""

MISSED_REBUILDS = 3.0
"""Intervals without a new view after which a router looks whether there are fewer shards now."""

MAX_SIGNATURES = 20_000
MAX_QUOTA_KEYS = 10_000
MAX_NOTED = 20_000


@dataclass(slots=True)
class GroupMemory:
    """One group, as this router knows it.

    `facts`: the group's state, parameters and autogroups, from the directory alone. The view holds
    what its writer knew of them when it was built, which may be long ago: only the order of its
    autogroups, which its workers refer to, is taken from there.
    """

    facts: GroupFacts
    view: RoutingView
    table: RoutingTable
    read_at: float
    shard: int = 0
    poked_at: float = 0.0
    complaints: Complaints = field(default_factory=Complaints)
    noted: Bounded[int, float] = field(
        default_factory=lambda: Bounded(MAX_NOTED)
    )  # waiting idx -> written at
    use: RecentUse = field(default_factory=RecentUse)
    promises: Promises = field(default_factory=Promises)
    uses: Uses = field(default_factory=Uses)

    def weigh(self, key_id: str, stated: float, route: str = "") -> float:
        """What a request of this stated cost counts as under a caller's key."""
        within_s = self.facts.params.max_queue_time
        most = self.table.mean_perf * within_s if self.table.n_workers else math.inf
        return self.uses.weigh(key_id, stated, most=most, route=route)

    @property
    def n_rows(self) -> int:
        """Workers of the group in all states and shards."""
        return sum(self.view.n_by_state.values())


@dataclass(slots=True)
class RouterMemory:
    """All that this router knows."""

    keys: KeyMemory = field(default_factory=KeyMemory)
    rebuilds: RebuildMemory = field(default_factory=RebuildMemory)
    directory: Directory | None = None
    directory_at: float = 0.0
    directory_blob: bytes | None = None  # as it was read: what has not changed is not parsed again
    groups: dict[int, GroupMemory] = field(default_factory=dict)
    signatures: Bounded[tuple[str, str], str] = field(
        default_factory=lambda: Bounded(MAX_SIGNATURES)
    )
    quotas: Bounded[str, KeyBuckets] = field(default_factory=lambda: Bounded(MAX_QUOTA_KEYS))
    index_keys: dict[int, bytes] = field(default_factory=dict)
    newest_key: str = ""
    instance_keys: dict[int, dict[str, str]] = field(default_factory=dict)  # by group, intent token


def find_facts(
    ports: HotPorts, memory: RouterMemory, name: str | None, endpoint_id: int | None, now: float
) -> GroupFacts | None:
    """A group by name or id. A miss reads the directory again, at most once a second.

    Raises:
        StorageUnavailableError: nothing is known yet and the database does not answer.
    """
    age_s = now - memory.directory_at
    if memory.directory is None or age_s > DIRECTORY_CACHE_S:
        _read_directory(ports, memory, now)
    found = _look_up(memory, name, endpoint_id)
    if found is None and now - memory.directory_at > MISS_CACHE_S:
        _read_directory(ports, memory, now)
        found = _look_up(memory, name, endpoint_id)
    return found


def _look_up(memory: RouterMemory, name: str | None, endpoint_id: int | None) -> GroupFacts | None:
    if memory.directory is None:
        return None
    try:
        return memory.directory.find(name, endpoint_id)
    except ForeignDirectoryError as error:
        raise StorageUnavailableError(str(error)) from error


def _read_directory(ports: HotPorts, memory: RouterMemory, now: float) -> None:
    try:
        check_time(ports, now)
        blob = ports.views.read_directory()
        if memory.directory is None or blob != memory.directory_blob:
            memory.directory, memory.directory_blob = unpack_directory(blob), blob
    except (StorageUnavailableError, ForeignDirectoryError) as error:
        if memory.directory is None:
            raise StorageUnavailableError(str(error)) from error
        now = ports.clock.now() + RETRY_AFTER_S
    memory.directory_at = now


def group_memory(
    ports: HotPorts, memory: RouterMemory, facts: GroupFacts, now: float
) -> GroupMemory:
    """The group's view and table, read at most once a second; an old one if the database fails.

    Raises:
        StorageUnavailableError: nothing is known yet and the database does not answer.
    """
    known = memory.groups.get(facts.endpoint_id)
    if known is not None and known.facts != facts:
        _adopt_facts(known, facts, now)
    if known is not None and now - known.read_at < VIEW_CACHE_S:
        return known
    try:
        check_time(ports, now)
        stored = ports.views.read(facts.endpoint_id, known.shard if known else 0)
    except StorageUnavailableError:
        if known is None:
            raise
        known.read_at = ports.clock.now() + RETRY_AFTER_S
        return known
    is_seen = (
        known is not None
        and stored is not None
        and stored.built_at <= known.view.built_at
        and not is_ahead(known.view.built_at, now)
    )
    if known is not None and is_seen:
        # What we know is this view and our own grants on top of it.
        known.read_at = now
        if now - known.view.built_at > MISSED_REBUILDS * rebuild_interval_s(known.n_rows):
            known.shard = 0  # the fleet may have shrunk, and ours is written no more
        return known
    view, n_shards = _understood(ports, memory, facts, stored, now)
    phase = known.table.position if known else ports.randomness.uniform()
    fresh = GroupMemory(
        facts=facts,
        view=view,
        table=_table(facts, view, phase),
        read_at=now,
        uses=Uses.of(view.uses),
        # Routers spread over the shards, each another one at each refresh.
        shard=int(ports.randomness.uniform() * n_shards) if n_shards > 1 else 0,
    )
    if known is not None:
        fresh.table.carry_over(known.table, now)
        fresh.poked_at, fresh.noted = known.poked_at, known.noted
        fresh.complaints = known.complaints
        fresh.use, fresh.promises = known.use, known.promises
    memory.groups[facts.endpoint_id] = fresh
    return fresh


def _understood(
    ports: HotPorts,
    memory: RouterMemory,
    facts: GroupFacts,
    stored: StoredView | None,
    now: float,
) -> tuple[RoutingView, int]:
    """(the view, of how many shards); one that another version wrote is built anew from the rows.

    It is not written back: two versions side by side would overwrite each other all the time.
    """
    if stored is None:
        return RoutingView(group=facts, built_at=0.0), 1
    try:
        return unpack_view(stored.blob), stored.n_shards
    except PackedViewError as error:
        logger.warning("foreign_view", extra={"problem": str(error)})
    check_time(ports, now)
    shards = build_shards(ports, facts, now)
    return shards[min(stored.shard, len(shards) - 1)], len(shards)


def _table(facts: GroupFacts, view: RoutingView, phase: float) -> RoutingTable:
    """The view's workers under the directory's weights, tiers and states."""
    by_id = {autogroup.autogroup_id: autogroup for autogroup in facts.autogroups}
    table = RoutingTable(
        [by_id.get(a.autogroup_id, replace(a, is_active=False)) for a in view.group.autogroups],
        view.workers,
        phase=phase,
        built_at=view.built_at,
        grants_per_s=view.grants_per_s,
        usual_cost=view.usual_cost,
    )
    table.came_share = view.came_share
    return table


def _adopt_facts(known: GroupMemory, facts: GroupFacts, now: float) -> None:
    """The owner changed the group: what we know of its workers goes on under the new facts."""
    table = _table(facts, known.view, known.table.position)
    table.carry_over(known.table, now)
    known.facts, known.table = facts, table


def forget_view(memory: RouterMemory, endpoint_id: int) -> None:
    """Read the view again at the next request."""
    known = memory.groups.get(endpoint_id)
    if known is not None:
        known.read_at = 0.0


# A route's time: what the database takes too long for is left out, so that an answer comes.

CALLS_UNTIL_S = 0.8
"""No call is begun later than this after a request came in. The last one may take 3 s (time-outs of
`adapters/aws/clients.py`), and old clients wait 4 s (protocol.md A.6)."""


def check_time(ports: HotPorts, asked_at: float) -> None:
    """Call it before each call that a request of `asked_at` makes.

    Raises:
        StorageUnavailableError: the calls before took too long.
    """
    if ports.clock.now() - asked_at > CALLS_UNTIL_S:
        raise StorageUnavailableError("too slow for this request")

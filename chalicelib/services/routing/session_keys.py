"""Sessions end with their keys: a worker tells whose sessions it holds, and is told whose are over.

Requests in a session pass no router, so nobody else would ask for its key again. Tickets name the
key (`wire.ticket.Claims.key`); what a worker says of names proves nothing, and tells it only which
of them are none any more.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from chalicelib.core.model.caller_key import own_key_id, split_key_name
from chalicelib.core.model.worker import Worker
from chalicelib.core.routing.bounded import Bounded
from chalicelib.core.routing.directory import ForeignDirectoryError
from chalicelib.ports.bundles import HotPorts
from chalicelib.ports.errors import StorageUnavailableError
from chalicelib.services.keys import KeyMemory, is_in_force
from chalicelib.services.routing.memory import check_time
from chalicelib.services.routing.views import find_group

logger = logging.getLogger("ballast")

SEEN_S = 10.0
"""A key's row, or its group, is read anew after so long. With the report of an idle worker, which
comes as often (protocol.md C.3), a session outlives its key by two of them at most."""
ASKED_EVERY_S = 5.0
"""One worker's names are looked up no more often in one container, whatever it sends."""
MAX_LOOKED_UP = 2_000


@dataclass(slots=True)
class SessionKeysMemory:
    """What one function remembers between reports."""

    keys: KeyMemory = field(default_factory=KeyMemory)
    asked_at: Bounded[tuple[int, int], float] = field(
        default_factory=lambda: Bounded(MAX_LOOKED_UP)
    )
    generations: Bounded[int, tuple[float, int | None]] = field(
        default_factory=lambda: Bounded(MAX_LOOKED_UP)
    )  # of groups' own keys; None: no such group


def ended_keys(
    ports: HotPorts, memory: SessionKeysMemory, worker: Worker, names: Sequence[str], now: float
) -> tuple[str, ...]:
    """Which of the keys whose sessions a worker holds are none any more.

    What cannot be read is asked again at a later report: unknown is not ended.
    """
    at = (worker.endpoint_id, worker.instance_id)
    if not names or 0 <= now - memory.asked_at.get(at, float("-inf")) < ASKED_EVERY_S:
        return ()
    memory.asked_at[at] = now
    ended: list[str] = []
    try:
        for name in names:
            check_time(ports, now)
            if _is_over(ports, memory, worker.endpoint_id, name, now):
                ended.append(name)
    except (StorageUnavailableError, ForeignDirectoryError) as error:
        logger.warning("session_keys_not_checked", extra={"problem": str(error)})
    return tuple(ended)


def _is_over(
    ports: HotPorts, memory: SessionKeysMemory, endpoint_id: int, name: str, now: float
) -> bool:
    key = split_key_name(name)
    if key is None:
        return False  # no ticket of ours says so
    key_id, generation = key
    if key_id == own_key_id(endpoint_id):
        newest = _own_generation(ports, memory, endpoint_id, now)
        return newest is None or generation < newest
    return not is_in_force(ports, memory.keys, key_id, generation, now, seen_s=SEEN_S)


def _own_generation(
    ports: HotPorts, memory: SessionKeysMemory, endpoint_id: int, now: float
) -> int | None:
    """The generation of a group's own key that counts; None: there is no such group."""
    known = memory.generations.get(endpoint_id)
    if known is None or not 0 <= now - known[0] < SEEN_S:
        group = find_group(ports, endpoint_id)
        known = (now, None if group is None else group.key_generation)
        memory.generations[endpoint_id] = known
    return known[1]

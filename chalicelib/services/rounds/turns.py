"""Which groups a round decides on, and which of them gets an offer that several choose.

All are decided on, unless there are more than a round has time for.

Of many groups, those at rest are decided on in turns. Whoever has a machine, a rental, a waiting
client, a trouble or a wish of its owner's is decided on in every round. An offer goes to whoever
is decided on first.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from chalicelib.core.model.autogroup import Autogroup, AutogroupState
from chalicelib.core.model.endpoint_group import EndpointGroup, GroupState
from chalicelib.core.model.scopes import autogroup_scope, endpoint_scope
from chalicelib.core.model.worker import Worker
from chalicelib.core.scaling.actions import Action, RentOffer
from chalicelib.core.scaling.round_memory import RoundMemory
from chalicelib.ports.ledger import RentIntent
from chalicelib.services.rounds.values import RoundView

MANY_GROUPS = 400
"""Up to so many are all decided on: 3 ms each (tests/services/test_many_groups.py says of more)."""

TURN_S, N_TURNS = 60.0, 30
"""A group at rest is decided on in one minute of thirty."""

REST_AFTER_S = 3_600.0  # since its last request: longer than any hold of demand


def groups_in_turn(
    view: RoundView,
    memory: RoundMemory,
    workers: Iterable[Worker],
    intents: Iterable[RentIntent],
    asked: frozenset[int] = frozenset(),
) -> list[EndpointGroup]:
    """The groups to decide on, the oldest search first. `asked`: a person wants to know."""
    known = [group for group in view.groups if group.state is not GroupState.FOREIGN]
    own = autogroups_of(view.autogroups)

    def searched_at(group: EndpointGroup) -> float:
        seen = (memory.searched.get(str(a.autogroup_id), 0.0) for a in own[group.endpoint_id])
        return min(seen, default=0.0)

    if len(known) <= MANY_GROUPS:
        return sorted(known, key=searched_at)
    moving = {
        *asked,
        *(worker.endpoint_id for worker in workers),
        *(intent.endpoint_id for intent in intents if intent.is_open),
        *(endpoint_id for endpoint_id, requests in view.waiting.items() if requests),
    }
    troubled = {trouble.scope for trouble in memory.troubles.values()}
    chosen: list[EndpointGroup] = []
    n_new = 0
    for group in known:
        id_, seen = group.endpoint_id, memory.groups.get(str(group.endpoint_id))
        if id_ in moving:
            chosen.append(group)
        elif seen is None:  # many new ones, or a lost memory: as many as there is time for
            n_new += 1
            chosen += [group] if n_new <= MANY_GROUPS else []
        elif _is_turn(id_, view.now) or not is_at_rest(group, own[id_], seen, troubled, view.now):
            chosen.append(group)
    return sorted(chosen, key=searched_at)


def is_at_rest(
    group: EndpointGroup,
    autogroups: Iterable[Autogroup],
    seen: Mapping[str, Any],
    troubled: set[str],
    now: float,
) -> bool:
    """Whether a group without machines and clients wants nothing, by its settings and memory.

    `seen`: what the law remembers of it; `troubled`: scopes of troubles that stand.
    """
    if group.state is GroupState.DELETING or endpoint_scope(group.endpoint_id) in troubled:
        return False
    params = group.params
    if params.min_load > 0 or params.cold_workers > 0 or group.schedules:
        return False
    last_asked_at = max(float(seen.get("worked_at", now)), float(seen.get("requested_at", now)))
    if now - last_asked_at < REST_AFTER_S:
        return False
    explored = seen.get("explored", {})
    return not any(
        autogroup_scope(a.autogroup_id) in troubled
        or a.state is AutogroupState.DELETING
        or a.rollout_by is not None
        or (a.test_workers > 0 and str(a.autogroup_id) not in explored)
        for a in autogroups
    )


def autogroups_of(autogroups: Iterable[Autogroup]) -> dict[int, list[Autogroup]]:
    """Autogroups by their group; groups without one have an empty list."""
    found: dict[int, list[Autogroup]] = defaultdict(list)
    for autogroup in autogroups:
        found[autogroup.endpoint_id].append(autogroup)
    return found


def with_own(view: RoundView, autogroups: Iterable[Autogroup]) -> RoundView:
    """The view as one group is decided on: of its autogroups alone."""
    return replace(view, autogroups=tuple(autogroups))


def _is_turn(endpoint_id: int, now: float) -> bool:
    place = zlib.crc32(str(endpoint_id).encode()) % N_TURNS  # ids are made with gaps
    return place == int(now // TURN_S) % N_TURNS


def each_offer_once(actions: Iterable[Action], given: Collection[int]) -> list[Action]:
    """The actions with each offer rented once: a second order of one gets its next alternative.

    Autogroups of a group choose apart from each other. An order whose alternatives are `given` too
    is left out: the next round searches anew.
    """
    gone = set(given)
    kept: list[Action] = []
    for action in actions:
        if isinstance(action, RentOffer):
            left = [o for o in (action.offer, *action.alternatives) if o.offer_id not in gone]
            if not left:
                continue
            action = replace(action, offer=left[0], alternatives=tuple(left[1:]))
            gone.add(action.offer.offer_id)
        kept.append(action)
    return kept

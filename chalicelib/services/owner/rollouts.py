"""Rollouts: workers move to a new template, and traffic from one autogroup to another."""

from __future__ import annotations

from dataclasses import replace

from chalicelib.core.model.autogroup import Autogroup, AutogroupState
from chalicelib.core.model.endpoint_group import ParameterError
from chalicelib.core.model.worker import is_outdated, update_warnings
from chalicelib.ports.bundles import ApiPorts
from chalicelib.services.keys import Caller
from chalicelib.services.owner.autogroups import store_autogroup, visible_autogroup
from chalicelib.services.owner.groups import check_unchanged, visible_group

UPDATE_DEADLINE_S = 3600.0
"""How long a rolling update should take; one that finds no substitutes takes longer."""


def start_update(
    ports: ApiPorts, caller: Caller, autogroup_id: int, revision: int | None = None
) -> int:
    """Roll the outdated workers over, or all of them if none is; gives how many there are.

    Raises:
        NotFoundError: no such autogroup within the key's scope.
        ConflictError: somebody else changed it meanwhile, or since `revision` was read.
    """
    before = visible_autogroup(ports, caller, autogroup_id)
    check_unchanged(f"autogroup {autogroup_id}", revision, before.revision)
    after = rolled_over(ports, before, ports.clock.now())
    store_autogroup(ports, caller, before, after, "update started")
    return n_outdated(ports, after)


def rolled_over(ports: ApiPorts, autogroup: Autogroup, now: float) -> Autogroup:
    """The autogroup once an update has begun: of its outdated workers, or else of all."""
    revision = autogroup.template_revision + (0 if n_outdated(ports, autogroup) else 1)
    return replace(autogroup, template_revision=revision, rollout_by=now + UPDATE_DEADLINE_S)


def n_outdated(ports: ApiPorts, autogroup: Autogroup) -> int:
    """How many of its workers run an older template, or on machines outside its search."""
    return sum(
        is_outdated(worker, autogroup)
        for worker in ports.workers.list(autogroup.endpoint_id)
        if worker.autogroup_id == autogroup.autogroup_id
    )


def warnings_of(ports: ApiPorts, caller: Caller, autogroup_id: int) -> list[str]:
    """What an update of it costs in service: where its group is full, or rests, nobody comes first.

    Raises:
        NotFoundError: no such autogroup within the key's scope.
    """
    group = visible_group(ports, caller, visible_autogroup(ports, caller, autogroup_id).endpoint_id)
    states = [worker.state for worker in ports.workers.list(group.endpoint_id)]
    return update_warnings(states, group.params.max_workers)


def cancel_update(ports: ApiPorts, caller: Caller, autogroup_id: int) -> bool:
    """Stop rolling workers over; False if no update is in progress.

    Raises:
        NotFoundError: no such autogroup within the key's scope.
        ConflictError: somebody else changed it meanwhile.
    """
    before = visible_autogroup(ports, caller, autogroup_id)
    if before.rollout_by is None:
        return False
    store_autogroup(ports, caller, before, replace(before, rollout_by=None), "update cancelled")
    return True


def share_traffic(
    ports: ApiPorts,
    caller: Caller,
    autogroup_id: int,
    percent: float,
    revision: int | None = None,
) -> None:
    """Give an autogroup this share of its group's requests; the others share the rest as before.

    Raises:
        NotFoundError: no such autogroup within the key's scope.
        ConflictError: somebody else changed it since `revision` was read.
        ParameterError: the share is not within 0 to 100, or there is nobody to take the rest.
    """
    if not 0 <= percent <= 100:
        raise ParameterError(f"percent: {percent!r}; allowed: 0 to 100")
    chosen = visible_autogroup(ports, caller, autogroup_id)
    check_unchanged(f"autogroup {autogroup_id}", revision, chosen.revision)
    others = [
        autogroup
        for autogroup in ports.groups.list_autogroups(chosen.endpoint_id)
        if autogroup.autogroup_id != autogroup_id and autogroup.state is AutogroupState.ACTIVE
    ]
    if percent < 100 and not others:
        raise ParameterError("percent: no other active autogroup could take the rest")
    weights = {autogroup_id: float(percent)}
    total = sum(other.weight for other in others)
    for other in others:
        part = other.weight / total if total > 0 else 1 / len(others)
        weights[other.autogroup_id] = (100 - percent) * part
    for autogroup in (chosen, *others):
        after = replace(autogroup, weight=weights[autogroup.autogroup_id])
        if after.weight != autogroup.weight:
            store_autogroup(
                ports, caller, autogroup, after, f"takes {after.weight:g} % of the requests"
            )

"""Why a request goes where it goes: the router's own choice on the rows as they are now."""

from __future__ import annotations

from dataclasses import replace

from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.routing.affinity import CacheBelief, preferences_of
from chalicelib.core.routing.choice import Choice, Criteria, Why
from chalicelib.core.routing.table import RoutingTable
from chalicelib.core.routing.view import RoutingView
from chalicelib.core.scaling.reasons import explain
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.errors import NotFoundError
from chalicelib.services.routing.views import build_shards, find_group
from chalicelib.wire.routing import RouteRequest

Row = dict[str, object]


def explain_choice(ports: ApiPorts, group: EndpointGroup, request: RouteRequest, now: float) -> Row:
    """Which worker such a request would get now, why, and which it would get without keys.

    Nothing is reserved. Of a fleet above 250 workers one part is looked at, as a router does.

    Raises:
        NotFoundError: no router knows the group.
    """
    facts = find_group(ports, group.endpoint_id)
    if facts is None:
        raise NotFoundError(f"no endpoint {group.endpoint_id}")
    view, *others = build_shards(ports, facts, now)
    criteria = _criteria(request, view, group.params.max_queue_time)
    table = RoutingTable(
        view.group.autogroups,
        [replace(worker) for worker in view.workers],
        built_at=now,
        usual_cost=view.usual_cost,
    )
    chosen, cold = table.choose(criteria, now), table.choose(replace(criteria, preferences=()), now)
    sentences = _sentences(criteria, chosen, cold)
    if others:
        sentences.append(
            f"This is one part of the fleet, of {1 + len(others)}; a router knows one."
        )
    return {
        "subject": f"a request to {group.name} of cost {request.cost:g}",
        "sentences": sentences,
        "why": chosen.why.value if chosen else "",
        "instance_id": chosen.worker.instance_id if chosen else None,
        "without_keys": cold.worker.instance_id if cold else None,
        "candidates": [],
        "events": [],
    }


def _criteria(request: RouteRequest, view: RoutingView, within_s: float) -> Criteria:
    """As the router's own, for a caller that is like all others."""
    cost = float(request.cost)
    belief = CacheBelief(spared=view.spared_share)
    return Criteria(
        cost=cost,
        bound_s=within_s,
        dice=0.0,
        preferences=preferences_of(request.affinity, request.prefix_cost, cost, belief),
    )


def _sentences(criteria: Criteria, chosen: Choice | None, cold: Choice | None) -> list[str]:
    if chosen is None or cold is None:
        return [explain("nobody", {"within_s": criteria.bound_s})]
    if chosen.why is not Why.WARM:
        about_keys = "warm_too_busy" if criteria.preferences else "no_keys"
        return [explain(about_keys, {}), explain(chosen.why, _facts(chosen))]
    saved = max(preference.saved_load for preference in criteria.preferences)
    about_saving = [] if saved > 0 or criteria.cost <= 0 else [explain("saves_nothing", {})]
    if chosen.worker is cold.worker:
        return [explain("warm_anyhow", _facts(chosen)), *about_saving]
    beaten = {
        "saved_s": saved / chosen.worker.perf,
        "other": cold.worker.instance_id,
        "other_wait_s": cold.wait_s,
    }
    return [explain(Why.WARM, _facts(chosen) | beaten), *about_saving]


def _facts(choice: Choice) -> dict[str, object]:
    return {
        "worker": choice.worker.instance_id,
        "usd_per_hour": choice.worker.usd_per_hour,
        "wait_s": choice.wait_s,
        "finish_s": choice.finish_s,
    }

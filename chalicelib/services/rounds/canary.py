"""Canary rollback: a new autogroup that fails or delays more requests than the others gets none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from chalicelib.core.fleet.canary import Watch, find_canary, watch_canary
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.worker import Worker
from chalicelib.ports.errors import ConflictError
from chalicelib.services.rounds.acting import Acting
from chalicelib.services.rounds.turns import autogroups_of
from chalicelib.services.rounds.values import RoundPlan, RoundView
from chalicelib.services.routing.views import publish_directory


def watch_canaries(view: RoundView, workers: Sequence[Worker]) -> Mapping[str, Watch]:
    """The watch over every group's canary, by the group's id, after this round."""
    watches: dict[str, Watch] = {}
    autogroups = autogroups_of(view.autogroups)
    for group in view.groups:
        key = str(group.endpoint_id)
        canary = find_canary(autogroups[group.endpoint_id], view.now)
        if canary is not None:
            members = [worker for worker in workers if worker.endpoint_id == group.endpoint_id]
            watches[key] = watch_canary(view.memory.canaries.get(key), canary, members)
    return watches


def apply_rollback(acting: Acting, plan: RoundPlan) -> None:
    """Take the requests from every canary whose regression is proven, and say why."""
    by_id = {autogroup.autogroup_id: autogroup for autogroup in plan.view.autogroups}
    for watch in plan.memory.canaries.values():
        if watch.symptom:
            _roll_back(acting, by_id[watch.autogroup_id], watch)


def _roll_back(acting: Acting, before: Autogroup, watch: Watch) -> None:
    after = replace(before, weight=0.0, revision=before.revision + 1)
    try:
        acting.ports.groups.put_autogroup(after, expected_revision=before.revision)
    except ConflictError:
        return  # the owner edits it now; the proof stands, and the next round looks again
    (n, n_bad), (n_others, n_bad_others) = watch.canary[watch.symptom], watch.others[watch.symptom]
    message = (
        f"autogroup {before.autogroup_id} takes no more requests: {watch.symptom} of "
        f"{n_bad:.0f} in {n:.0f} requests, the other autogroups {n_bad_others:.0f} in "
        f"{n_others:.0f}; its weight was {before.weight:g}"
    )
    facts = {
        "autogroup_id": before.autogroup_id,
        "symptom": watch.symptom,
        "n": n,
        "n_bad": n_bad,
        "n_others": n_others,
        "n_bad_others": n_bad_others,
        "weight_before": before.weight,
    }
    acting.log(before.endpoint_id, "rollout_rolled_back", message, facts)
    publish_directory(acting.ports)
    acting.stale_views.add(before.endpoint_id)

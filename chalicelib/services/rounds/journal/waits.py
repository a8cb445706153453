"""Waiting clients whom no other trouble explains: somebody is told, whatever the cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from chalicelib.core.fleet.troubles import Trouble, TroubleKind, lasting, present
from chalicelib.core.model.autogroup import AutogroupState
from chalicelib.core.model.scopes import endpoint_scope
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.snapshot import GroupSnapshot
from chalicelib.core.words import count
from chalicelib.services.rounds.values import GroupPlan, RoundPlan

COMING_S = 900.0  # a machine that has been on its way for longer explains no wait any more


def unexplained_wait(
    plan: RoundPlan, group: GroupPlan, explaining: Iterable[Trouble]
) -> Iterator[Trouble]:
    """Clients wait, nothing is on its way, and no other trouble says why: whatever the cause."""
    if any(_matters(plan, one) for one in explaining):
        return
    snapshot = group.snapshot
    endpoint_id = snapshot.group.endpoint_id
    own = [worker for worker in plan.workers if worker.endpoint_id == endpoint_id]
    is_coming = any(
        (worker.state.is_coming_up or worker.state is WorkerState.REBOOTING)
        and plan.view.now - worker.state_since < COMING_S
        for worker in own
    )
    scope = endpoint_scope(endpoint_id)
    # Once begun it lasts until nobody waits: machines that come and never serve explain nothing.
    told = plan.view.memory.troubles
    has_begun = present(told, f"{TroubleKind.REQUESTS_WAIT}|{scope}") is not None
    is_hopeful = is_coming or bool(snapshot.rentals)
    if not snapshot.waiting.n_overdue or (is_hopeful and not has_begun):
        return
    waiting = count(snapshot.waiting.n, "request waits", "requests wait")
    if cause := _own_cause(snapshot):
        text = f"{waiting}, and nothing is rented or started: {cause}"
        yield Trouble(kind=TroubleKind.REQUESTS_WAIT, scope=scope, message=text)
        return
    states = Counter(worker.state.value for worker in own)
    words = sorted(
        {str(record.actual_status) for w in own if (record := plan.view.records.get(w.instance_id))}
    )
    notes = sorted({note.code for note in group.decision.notes})
    text = (
        f"{waiting} and no machine is on its way; workers: "
        f"{', '.join(f'{n} {state}' for state, n in sorted(states.items())) or 'none'}; "
        f"Vast says of them: {', '.join(words) or 'nothing'}; the last decision noted: "
        f"{', '.join(notes) or 'nothing'}"
    )
    yield Trouble(kind=TroubleKind.REQUESTS_WAIT, scope=scope, message=text)


def _own_cause(snapshot: GroupSnapshot) -> str:
    """Which of the owner's settings lets nobody serve, and what to do; "" if none does."""
    active = [one for one in snapshot.autogroups if one.state is AutogroupState.ACTIVE]
    causes = (
        (snapshot.group.shadow, "the group is in shadow mode; end it with --no-shadow"),
        (not snapshot.autogroups, "the group has no autogroup; create one"),
        (not active, "none of its autogroups is active; resume or create one"),
        (
            not any(one.weight > 0 for one in active),
            "its active autogroups have weight 0; raise it",
        ),
    )
    return next((cause for holds, cause in causes if holds), "")


def _matters(plan: RoundPlan, trouble: Trouble) -> bool:
    """Whether the owner hears of it now."""
    now = plan.view.now
    after = lasting(plan.view.memory.troubles, [trouble], now)
    return after[trouble.key].matters_at <= now

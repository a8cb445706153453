"""Waiting clients whom no other trouble explains: somebody is told, whatever the cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from chalicelib.core.fleet.troubles import (
    Trouble,
    TroubleKind,
    lasting,
    matters_after_s,
    present,
)
from chalicelib.core.model.autogroup import own_cause
from chalicelib.core.model.scopes import endpoint_scope
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.words import count
from chalicelib.services.rounds.values import GroupPlan, RoundPlan

COMING_S = 900.0  # a machine that has been on its way for longer explains no wait any more
PATIENCE_S = COMING_S - matters_after_s(TroubleKind.REQUESTS_WAIT)
"""Nor does the next machine for whoever waits so long: it is told once COMING_S are over."""


def unexplained_wait(
    plan: RoundPlan, group: GroupPlan, explaining: Iterable[Trouble]
) -> Iterator[Trouble]:
    """Clients wait, nothing is on its way, and no other trouble says why: whatever the cause."""
    if any(_matters(plan, one) for one in explaining):
        return
    snapshot = group.snapshot
    endpoint_id = snapshot.group.endpoint_id
    own = [worker for worker in plan.workers if worker.endpoint_id == endpoint_id]
    scope = endpoint_scope(endpoint_id)
    # Once told it lasts until nobody waits: machines that come and never serve explain nothing.
    before = present(plan.view.memory.troubles, f"{TroubleKind.REQUESTS_WAIT}|{scope}")
    is_told = before is not None and before.is_told
    if not snapshot.waiting.n_overdue or (_is_hopeful(plan, group, own) and not is_told):
        return
    waiting = count(snapshot.waiting.n, "request waits", "requests wait")
    if cause := own_cause(snapshot.autogroups, is_shadow=snapshot.group.shadow):
        text = f"{waiting}, and nothing is rented or started: {cause}"
        yield Trouble(kind=TroubleKind.REQUESTS_WAIT, scope=scope, message=text)
        return
    states = Counter(worker.state.value for worker in own)
    is_coming = any(_comes(worker) for worker in own)
    notes = sorted({note.code for note in group.decision.notes})
    way = "what is on its way takes long" if is_coming else "no machine is on its way"
    text = (
        f"{waiting} and {way}; workers: "
        f"{', '.join(f'{n} {state}' for state, n in sorted(states.items())) or 'none'}; "
        f"Vast says of them: {', '.join(sorted(_vasts_words(plan, own))) or 'nothing'}; "
        f"the last decision noted: {', '.join(notes) or 'nothing'}"
    )
    yield Trouble(kind=TroubleKind.REQUESTS_WAIT, scope=scope, message=text)


def _is_hopeful(plan: RoundPlan, group: GroupPlan, own: Iterable[Worker]) -> bool:
    """Whether a machine or rental is on its way, and nothing has taken too long yet."""
    now = plan.view.now
    since = [worker.state_since for worker in own if _comes(worker)]
    asked = plan.view.waiting.get(group.snapshot.group.endpoint_id, ())
    waited_s = now - min((request.first_seen_at for request in asked), default=now)
    is_late = any(now - at >= COMING_S for at in since) or waited_s >= PATIENCE_S
    return not is_late and bool(since or group.snapshot.rentals)


def _comes(worker: Worker) -> bool:
    return worker.state.is_coming_up or worker.state is WorkerState.REBOOTING


def _vasts_words(plan: RoundPlan, own: Iterable[Worker]) -> set[str]:
    """The status of each machine, and of one that has not served yet what its host says."""
    records = plan.view.seen
    return {
        record.said if worker.state.is_first_load else str(record.actual_status)
        for worker in own
        if (record := records.get(worker.instance_id))
    }


def _matters(plan: RoundPlan, trouble: Trouble) -> bool:
    """Whether the owner hears of it now."""
    now = plan.view.now
    after = lasting(plan.view.memory.troubles, [trouble], now)
    return after[trouble.key].matters_at <= now

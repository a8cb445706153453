"""`/route/`: a worker and a ticket for a request, or a place in the queue.

Transient trouble of the database or of KMS is answered WAITING, never with an error: any non-2xx
answer ends a client's request at once (protocol.md A.4).
"""

from __future__ import annotations

import logging

from chalicelib.core.model.caller_key import ROUTE, CallerKeyError
from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.usage import use_key
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.routing.admission import (
    Bound,
    ClientKind,
    bind_within_s,
    bound_of,
    is_overdue,
    may_start,
)
from chalicelib.core.routing.affinity import Preference, preferences_of
from chalicelib.core.routing.choice import BINDING_GENERATION, Choice, Criteria, OnDemand
from chalicelib.core.routing.directory import GroupFacts
from chalicelib.core.routing.request_index import IndexKind, RequestIndex, decode_index, worker_slot
from chalicelib.ports.bundles import HotPorts
from chalicelib.ports.errors import KeysUnavailableError, NotFoundError, StorageUnavailableError
from chalicelib.ports.worker_repository import Grant, Refusal, Reservation
from chalicelib.services.keys import Caller, check_key
from chalicelib.services.routing.memory import (
    RouterMemory,
    check_time,
    find_facts,
    group_memory,
)
from chalicelib.services.routing.quotas import OverQuotaError, Receipt, allowance_of, is_limited
from chalicelib.services.routing.tickets import index_key, sign_ticket
from chalicelib.services.routing.waiting import (
    Turn,
    answer_blindly,
    answer_closed,
    answer_waiting,
    failed_lately,
    note_failure,
    queued_as,
    stop_waiting,
)
from chalicelib.wire.routing import NOT_FOUND, RouteRequest, grant_reply

logger = logging.getLogger("ballast")

MAX_TRIES = 6
"""Refusals before the best worker by the corrected figures is taken as it is: 1 in 700 grants."""


LONG_STREAM_S = 60.0
"""Streams that take longer prefer a worker that nobody takes away: at a loss every four hours one
in 240 of them would break."""


class RouteRefusedError(Exception):
    """The key is wrong, or there is no such group for it; one text for all, safe to show."""


def route(ports: HotPorts, memory: RouterMemory, request: RouteRequest) -> dict[str, object]:
    """The reply to a request: a ticket, or what to wait for.

    Raises:
        RouteRefusedError: the key is wrong, or there is no such group for it.
        OversizeError: it costs more than the key's quota ever allows at once.
    """
    now = ports.clock.now()
    try:
        caller, facts = _authorise(ports, memory, request, now)
        turn = _make_turn(ports, memory, request, caller, facts, now)
    except (StorageUnavailableError, KeysUnavailableError) as error:
        logger.warning("route_degraded", extra={"problem": str(error)})
        reason = "the control plane is catching its breath"
        return answer_blindly(ports.randomness, request, reason)
    turn.quotas.check_size(caller.row, turn.paid)
    turn.group.use.asked(caller.key_id, caller.share, now)
    if closed := _closed(facts):
        return answer_closed(turn, closed)
    refusal = _unbound(turn) or turn.quotas.foreseen_refusal(caller.row, turn.paid)
    if refusal is not None:
        return answer_waiting(turn, refusal, is_demand=False)
    return _serve(turn)


def _authorise(
    ports: HotPorts, memory: RouterMemory, request: RouteRequest, now: float
) -> tuple[Caller, GroupFacts]:
    try:
        caller = check_key(ports, memory.keys, request.api_key, now)
    except CallerKeyError as error:
        raise RouteRefusedError(NOT_FOUND) from error
    by_id = request.endpoint_id if request.endpoint_id is not None else caller.endpoint_id
    facts = find_facts(ports, memory, request.endpoint, by_id, now)
    if (
        facts is None
        or facts.state is GroupState.DELETING
        or not caller.may(ROUTE, facts.endpoint_id)
        or (caller.is_own and caller.generation < facts.key_generation)
    ):
        raise RouteRefusedError(NOT_FOUND)
    return caller, facts


def _make_turn(
    ports: HotPorts,
    memory: RouterMemory,
    request: RouteRequest,
    caller: Caller,
    facts: GroupFacts,
    now: float,
) -> Turn:
    """The request with its history: what its idx says, and what that makes of it."""
    group = group_memory(ports, memory, facts, now)
    key = index_key(ports, memory, facts.endpoint_id)
    idx = request.request_idx
    known = decode_index(idx, key, now) if idx else None
    if idx is None:
        kind = ClientKind.ONE_SHOT
    else:
        kind = ClientKind.PACED if request.is_paced else ClientKind.RANDOM
    history = known or RequestIndex(
        kind=IndexKind.WAITING, n_grants=0, first_seen_at=now, slot=None, low_bits=0
    )
    return Turn(
        ports=ports,
        memory=memory,
        request=request,
        now=now,
        caller=caller,
        group=group,
        kind=kind,
        history=history,
        known_idx=idx if known else None,
        index_key=key,
        cost=group.weigh(caller.key_id, float(request.cost), request.route),
    )


def _closed(facts: GroupFacts) -> str | None:
    """Why the whole group serves nobody; None if it is active."""
    if facts.state is GroupState.ACTIVE:
        return None
    if facts.state is GroupState.FOREIGN:
        return "endpoint foreign: another version of Ballast wrote it, and this one leaves it alone"
    return (
        f"endpoint {facts.state.value}: its owner lets it serve nobody now; whoever waits is "
        "served once it is active again"
    )


def _unbound(turn: Turn) -> str | None:
    """Who could hold nobody to a key's limits gets none of its requests, nor is rented for them."""
    if turn.group.table.may_hold_limits or not is_limited(turn.caller.row):
        return None
    return (
        "this key has limits, and this group's workers cannot keep them: "
        f"only workers of ticket generation {BINDING_GENERATION} do"
    )


def _serve(turn: Turn) -> dict[str, object]:
    """Grant if it is in turn and somebody is free soon enough; else it waits."""
    failed_before = turn.history.kind is IndexKind.GRANTED
    if failed_before:
        note_failure(turn)
        if turn.history.n_grants > 1:
            return answer_waiting(turn, "the last worker failed this request")
    if not failed_before and not _is_in_turn(turn):
        return answer_waiting(turn, "others are first")
    try:
        granted = _reserve(turn)
        if granted is None:
            return answer_waiting(turn, _why_none(turn))
        return _reply(turn, *granted)
    except OverQuotaError as error:
        return answer_waiting(turn, str(error), is_demand=False)
    except (StorageUnavailableError, KeysUnavailableError, NotFoundError) as error:
        logger.warning("grant_failed", extra={"problem": str(error)})
        return answer_waiting(turn, "the control plane is catching its breath")


def _why_none(turn: Turn) -> str:
    """Why nobody takes it: in words."""
    table, insists = turn.group.table, not turn.request.takes_interruptible
    if insists and table.n_workers and table.next_free_s(turn.now, is_on_demand=True) is None:
        return "no worker on demand serves, and this request takes no interruptible one"
    return "no worker is free soon enough"


def _is_in_turn(turn: Turn) -> bool:
    if turn.kind is ClientKind.ONE_SHOT:
        return True  # it does not come back: bind it early or never
    view = turn.group.view
    return may_start(
        queued_as(turn),
        turn.now,
        view.cutoffs.for_key(turn.caller.key_id),
        turn.group.facts.params,
        dice=turn.ports.randomness.uniform(),
    )


def _reserve(turn: Turn) -> tuple[Choice, Reservation, Receipt | None] | None:
    """Choose and reserve; a refusal corrects what we know, and we draw and choose again.

    Raises:
        OverQuotaError: a limit of the key is reached; it is asked before anything is reserved.
    """
    table, now = turn.group.table, turn.now
    bound = _bound(turn)
    receipt: Receipt | None = None
    for n_refused in range(MAX_TRIES + 1):
        criteria = _criteria(turn, bound)
        choice = table.choose(criteria, now)
        if choice is None:
            break
        receipt = receipt or _take(turn, choice)
        check_time(turn.ports, now)
        result = _try(turn, choice, n_refused)
        if isinstance(result, Reservation):
            table.granted(choice.worker, criteria.cost, result.granted_load, now)
            slot = worker_slot(choice.worker.instance_id)
            turn.group.complaints.granted(slot, turn.caller.key_id, now)
            turn.group.promises.note(choice.promised_load, criteria.cost, now)
            return choice, result, receipt
        if result.worker is None or result.worker.state is not WorkerState.READY:
            table.drop(choice.worker)
        else:
            table.correct(choice.worker, result.worker.granted_load, now)
    turn.quotas.give_back(receipt)
    return None


def _take(turn: Turn, choice: Choice) -> Receipt | None:
    """From the key's buckets; what claims to be small is in flight as long as a usual one.

    A large one takes one slot of its worker for so much longer than a usual one.
    """
    usual_cost = turn.group.view.usual_cost
    times = max(1.0, turn.cost / usual_cost) if usual_cost > 0 else 1.0
    served_s = turn.group.table.service_s(usual_cost) * times
    held_s = max(choice.finish_s, choice.wait_s + served_s)
    return turn.quotas.take_grant(turn.caller.row, turn.paid, held_s)


def _bound(turn: Turn) -> Bound:
    """How soon it must start: sooner, if its key had more than its share lately."""
    group, key_id = turn.group, turn.caller.key_id
    mean_cost, table = group.use.mean_cost, group.table
    return bound_of(
        bind_within_s(turn.kind, group.facts.params, table.service_s(mean_cost)),
        times_its_share=group.use.times_its_share(key_id),
        is_held=not group.view.cutoffs.for_key(key_id).is_open,
        service_s=mean_cost / table.mean_perf,
    )


def _criteria(turn: Turn, bound: Bound) -> Criteria:
    slot, table = turn.history.slot, turn.group.table
    before = table.find_slot(slot) if slot is not None else None
    if slot is not None and table.n_workers == 1 and not failed_lately(turn, slot):
        slot = None  # the only worker there is: it may serve again by now
    request, cost = turn.request, turn.cost
    return Criteria(
        cost=cost,
        bound_s=bound.within_s,
        is_strict=bound.is_strict,
        dice=turn.ports.randomness.uniform(),
        avoid_slot=slot,
        turned_from=turn.group.complaints.turned_from(
            turn.caller.key_id, table.n_workers, turn.now
        ),
        autogroup_index=before.autogroup_index if before else None,
        preferences=_preferences(turn) if request.affinity else (),
        on_demand=_on_demand(turn),
        is_limited=is_limited(turn.caller.row),
    )


def _preferences(turn: Turn) -> tuple[Preference, ...]:
    """Where the prompt may have been read, and what that saves: as hits tell, else as stated."""
    request, group = turn.request, turn.group
    belief = group.promises.belief(group.view.spared_share)
    return preferences_of(request.affinity, request.prefix_cost, turn.cost, belief)


def _on_demand(turn: Turn) -> OnDemand:
    """Whether it minds being cut: as it says, or as a stream that takes long."""
    request = turn.request
    if not request.takes_interruptible:
        return OnDemand.ONLY
    is_long = turn.group.table.service_s(turn.cost) > LONG_STREAM_S
    return OnDemand.PREFER if request.is_stream and is_long else OnDemand.ANY


def _try(turn: Turn, choice: Choice, n_refused: int) -> Reservation | Refusal:
    now = turn.now
    starts_at = now + choice.wait_s
    is_retry = turn.history.n_grants > 0
    # How long a request tries workers that fail it says nothing of how many there are.
    asked_at = now if is_retry else turn.history.first_seen_at
    grant = Grant(
        cost=turn.cost,
        bound=choice.bound if n_refused < MAX_TRIES else float("inf"),
        n_refused=n_refused,
        is_retry=is_retry,
        is_late=is_overdue(asked_at, starts_at, turn.group.facts.params),
    )
    return turn.ports.workers.reserve(
        turn.group.facts.endpoint_id, choice.worker.instance_id, grant
    )


def _reply(
    turn: Turn, choice: Choice, reservation: Reservation, receipt: Receipt | None
) -> dict[str, object]:
    worker = choice.worker
    turn.group.use.granted(turn.caller.key_id, turn.cost)
    idx = RequestIndex(
        kind=IndexKind.GRANTED,
        n_grants=turn.history.n_grants + 1,
        first_seen_at=turn.history.first_seen_at,
        slot=worker_slot(worker.instance_id),
        low_bits=use_key(turn.caller.key_id, turn.stated_cost),
    ).encode(turn.index_key)
    allowance = allowance_of(turn.caller.row, turn.paid, receipt, turn.now)
    ticket, signature = sign_ticket(turn, worker, reservation.reqnum, idx, allowance)
    stop_waiting(turn)
    return grant_reply(
        ticket,
        signature,
        request_id=turn.ports.randomness.token(16),
        certificate_sha256=worker.certificate_sha256,
        why=choice.why if turn.request.affinity else "",
    )

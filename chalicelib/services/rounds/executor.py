"""The executor: does a plan's actions, money-saving ones first, rows before calls.

A row tells routing and later rounds what is wanted; the call then tells Vast. If the call fails or
its answer is lost, the row's state makes a later round repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import assert_never

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.fleet.set_aside import add_failure, forgive, reboot_key
from chalicelib.core.model.lifecycle import WorkerEvent, transition
from chalicelib.core.model.market import kept_bid
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.money.bookkeeping import start_microusd_per_hour
from chalicelib.core.money.budget import to_micro
from chalicelib.core.scaling.actions import (
    Action,
    ChangeBid,
    DestroyWorker,
    DrainWorker,
    RebootWorker,
    RecallWorker,
    RentOffer,
    StartWorker,
    StopWorker,
)
from chalicelib.core.scaling.facts import group_caps
from chalicelib.core.scaling.moves.interruptible import RAISES
from chalicelib.core.scaling.reasons import cap_reached
from chalicelib.ports.ledger import GuardRefusedError
from chalicelib.ports.marketplace import (
    Marketplace,
    MarketplaceError,
    RateLimitedError,
    RefusedError,
)
from chalicelib.services.market.launching import LaunchError
from chalicelib.services.market.paced_market import TooEarlyError
from chalicelib.services.rounds.acting import Acting
from chalicelib.services.rounds.reading import look_at
from chalicelib.services.rounds.rentals import rent
from chalicelib.services.rounds.values import GroupPlan, RoundPlan
from chalicelib.wire.launch_args import LaunchArgsError

RowAction = (
    StartWorker | DrainWorker | RecallWorker | StopWorker | RebootWorker | DestroyWorker | ChangeBid
)

SAVING: Sequence[type[Action]] = (DestroyWorker, StopWorker, DrainWorker)
SPENDING: Sequence[type[Action]] = (
    RecallWorker,
    StartWorker,
    RebootWorker,
    ChangeBid,
    RentOffer,
)


def execute(acting: Acting, plan: RoundPlan, kinds: Sequence[type[Action]]) -> None:
    """Do the actions of these kinds, kind by kind, for all groups."""
    pairs = [(g, a) for g in plan.groups for a in g.actions if type(a) in kinds]
    pairs.sort(key=lambda pair: kinds.index(type(pair[1])))
    for group, action in pairs:
        if isinstance(action, RentOffer):
            _rent(acting, plan, group, action)
        else:
            _act(acting, plan, group, action)


def call_for(
    acting: Acting, action: Action, verb: Verb, ask: Callable[[Marketplace], None]
) -> bool:
    """Make a call to Vast; a failure is logged, and left to the next round."""
    try:
        acting.market.call(verb, ask)
    except TooEarlyError as error:
        acting.put_off(action, str(error))
        return False
    except MarketplaceError as error:
        acting.note_failure(action, str(error))
        return False
    return True


def stopping(instance_id: int) -> Callable[[Marketplace], None]:
    """The call that stops an instance."""
    return lambda vast: vast.stop_instance(instance_id)


def _act(acting: Acting, plan: RoundPlan, group: GroupPlan, action: RowAction) -> None:
    worker = acting.rows.get(action.instance_id)
    if worker is None:
        return
    match action:
        case DestroyWorker():
            # One call for all follows.
            _enter(acting, worker, action, WorkerEvent.DESTROY, WorkerState.DESTROYING)
        case StopWorker():
            _stop(acting, plan, worker, action)
        case DrainWorker():
            _drain(acting, worker, action)
        case RecallWorker():
            _enter(acting, worker, action, WorkerEvent.RECALL, WorkerState.READY)
        case RebootWorker():
            _reboot(acting, plan, worker, action)
        case StartWorker():
            _start(acting, plan, group, action)
        case ChangeBid():
            _change_bid(acting, plan, group, action)
        case _:
            assert_never(action)


def _is_there(acting: Acting, plan: RoundPlan, worker: Worker, action: RowAction) -> bool:
    """Whether the machine may be touched: in a long doubt only if a look at itself finds it."""
    if not plan.view.inventory.is_long_doubted(plan.view.now):
        return True
    if look_at(acting.market, worker.instance_id) == "there":
        return True
    acting.note_failure(action, "the listing is in doubt, and a direct look does not find it")
    return False


def _stop(acting: Acting, plan: RoundPlan, worker: Worker, action: StopWorker) -> None:
    if not _is_there(acting, plan, worker, action):
        return
    if _enter(acting, worker, action, WorkerEvent.STOP, WorkerState.STOPPING):
        call_for(acting, action, Verb.STOP, stopping(worker.instance_id))


def _reboot(acting: Acting, plan: RoundPlan, worker: Worker, action: RebootWorker) -> None:
    """Reboot; a call that failed leaves the row as it was, so that a later round tries again."""
    if not _is_there(acting, plan, worker, action):
        return
    is_again = worker.state is WorkerState.REBOOTING  # since the first order: the row stays
    changes = {} if is_again else transition(worker, WorkerEvent.REBOOT, _now(acting))
    has_entered = is_again or changes.get("state") is WorkerState.REBOOTING
    if not has_entered or not acting.change(worker, changes):
        acting.note_failure(action, _CHANGED_MEANWHILE)
        return
    instance_id = worker.instance_id
    keys = [reboot_key(instance_id)]
    try:
        acting.market.call(Verb.REBOOT, lambda vast: vast.reboot_instance(instance_id))
    except TooEarlyError as error:
        acting.put_off(action, str(error))
    except MarketplaceError as error:
        acting.note_failure(action, str(error))
        if isinstance(error, RefusedError):
            acting.failures = add_failure(acting.failures, keys, str(error), _now(acting))
    else:
        acting.failures = forgive(acting.failures, keys)
        acting.did(action)
        return
    undone = {name: getattr(worker, name) for name in changes}
    acting.change(acting.rows[instance_id], undone)


_CHANGED_MEANWHILE = "the worker changed meanwhile"


def _enter(
    acting: Acting, worker: Worker, action: RowAction, event: WorkerEvent, target: WorkerState
) -> bool:
    """Whether our own event brought the row into the state that the call needs."""
    changes = transition(worker, event, _now(acting))
    has_entered = changes.get("state") is target and acting.change(worker, changes)
    if has_entered:
        acting.did(action)
    else:
        acting.problems[id(action)] = _CHANGED_MEANWHILE
    return has_entered


def _drain(acting: Acting, worker: Worker, action: DrainWorker) -> None:
    now = _now(acting)
    wish: dict[str, object] = {"after_drain": action.then, "drain_by": now + action.deadline_s}
    if worker.state is WorkerState.DRAINING:
        if worker.after_drain is not action.then:
            wish["drain_by"] = min(
                worker.drain_by or now + action.deadline_s, now + action.deadline_s
            )
            acting.change(worker, wish)
        acting.did(action)
        return
    changes = transition(worker, WorkerEvent.DRAIN, now)
    if changes.get("state") is WorkerState.DRAINING and acting.change(worker, {**changes, **wish}):
        acting.did(action)
    else:
        acting.problems[id(action)] = _CHANGED_MEANWHILE


def _start(acting: Acting, plan: RoundPlan, group: GroupPlan, action: StartWorker) -> None:
    worker = acting.rows[action.instance_id]
    record = plan.view.records.get(action.instance_id)
    owner = group.snapshot.group
    try:
        acting.ports.ledger.reserve_start(
            acting.fence,
            worker.endpoint_id,
            start_microusd_per_hour(worker, record),
            group_caps(owner),
            _now(acting),
        )
    except GuardRefusedError as refused:
        acting.refused_by_guard(worker.endpoint_id, refused.cap)
        acting.problems[id(action)] = cap_reached(refused.cap)
        return
    changes = transition(worker, WorkerEvent.START, _now(acting))
    has_entered = changes.get("state") is WorkerState.STARTING and acting.change(worker, changes)
    if not has_entered:
        acting.problems[id(action)] = _CHANGED_MEANWHILE
    else:
        start_on_market(acting, acting.rows[action.instance_id], action)


def _change_bid(acting: Acting, plan: RoundPlan, group: GroupPlan, action: ChangeBid) -> None:
    """Bid more, and start: a raised bid alone does not bring a machine back (evidence, bid.json).

    The books hold an outbid machine as running already, so only the rise is reserved.
    """
    worker = acting.rows[action.instance_id]
    usd = kept_bid(action.bid_usd_per_hour)
    rise = usd - worker.bid_usd_per_hour
    try:
        acting.ports.ledger.reserve_start(
            acting.fence,
            worker.endpoint_id,
            to_micro(max(rise, 0.0)),
            group_caps(group.snapshot.group),
            _now(acting),
        )
    except GuardRefusedError as refused:
        acting.refused_by_guard(worker.endpoint_id, refused.cap)
        acting.problems[id(action)] = cap_reached(refused.cap)
        return
    if not call_for(acting, action, Verb.BID, lambda v: v.change_bid(worker.instance_id, usd)):
        return
    changes: dict[str, object] = {
        "bid_usd_per_hour": usd,
        "bid_margin": worker.bid_margin * usd / worker.bid_usd_per_hour,
        "usd_per_hour": worker.usd_per_hour + max(rise, 0.0),
        **transition(worker, WorkerEvent.START, _now(acting)),
    }
    if acting.change(worker, changes):
        start_on_market(acting, acting.rows[worker.instance_id], action)


def start_on_market(acting: Acting, worker: Worker, action: StartWorker | ChangeBid) -> None:
    """Call start; a refusal makes the worker unavailable (its GPU is let to somebody else).

    Of a bid that was raised each failure counts as one: nothing else brings the machine back, and
    a later round starts it (`plan_raises`).
    """
    try:
        acting.market.call(Verb.START, lambda vast: vast.start_instance(worker.instance_id))
    except MarketplaceError as error:
        is_raised = action.reason.code in RAISES
        if isinstance(error, RefusedError) or is_raised:
            changes = transition(worker, WorkerEvent.START_REFUSED, _now(acting))
            if is_raised:
                n_refused = worker.n_start_refusals + (not isinstance(error, TooEarlyError))
                changes["n_start_refusals"] = max(n_refused, 1)
            acting.change(worker, changes)
        if isinstance(error, TooEarlyError):
            acting.put_off(action, str(error))
        else:
            acting.note_failure(action, str(error))
        return
    acting.did(action)


def _rent(acting: Acting, plan: RoundPlan, group: GroupPlan, action: RentOffer) -> None:
    owner = group.snapshot.group
    autogroup = next(
        (a for a in group.snapshot.autogroups if a.autogroup_id == action.autogroup_id), None
    )
    if autogroup is None:
        return
    try:
        rent(acting, owner, autogroup, action)
    except GuardRefusedError as refused:
        acting.refused_by_guard(owner.endpoint_id, refused.cap)
        acting.problems[id(action)] = cap_reached(refused.cap)
    except TooEarlyError as error:
        acting.put_off(action, str(error))
    except (LaunchError, LaunchArgsError, RateLimitedError) as error:
        acting.note_failure(action, str(error))
    except RefusedError as error:
        acting.refused_rental(error.code)
        acting.note_failure(action, str(error))
    except MarketplaceError as error:
        acting.note_failure(action, str(error))
    else:
        if id(action) not in acting.problems:  # else every offer was just taken
            acting.did(action)


def _now(acting: Acting) -> float:
    return acting.ports.clock.now()

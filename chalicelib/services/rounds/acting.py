"""The acting half of a round: what executors share, and how a row is changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.fleet.set_aside import (
    Failures,
    add_failure,
    autogroup_key,
    bid_start_key,
    bids_key,
    failing_key,
    forgive,
    forgive_bids,
    host_key,
    machine_key,
    offer_key,
    order_key,
    stopping_key,
)
from chalicelib.core.model.market import Offer
from chalicelib.core.model.scopes import autogroup_scope, endpoint_scope
from chalicelib.core.model.worker import Worker, WorkerState, replaced
from chalicelib.core.scaling.actions import Action, DestroyWorker, DrainWorker, RentOffer
from chalicelib.core.scaling.moves.interruptible import RAISES
from chalicelib.core.scaling.moves.repair import FAILING_AGAIN, WILL_NOT_STOP
from chalicelib.core.scaling.reasons import Reason
from chalicelib.ports.bundles import ScalerPorts
from chalicelib.ports.errors import ConflictError, NotFoundError
from chalicelib.ports.event_log import Event
from chalicelib.ports.marketplace import NOT_THERE, MarketplaceError
from chalicelib.services.market.paced_market import PacedMarket, TooEarlyError

ACTOR = "scaler"
SPEND_RATE_LIMIT = "spend_rate_limit"
NO_CREDIT_CODES = frozenset({"insufficient_credit", "missing_billing", SPEND_RATE_LIMIT})
"""Refusals that hold for every offer: the account may rent nothing."""


class Acting:
    """One round's executor state: the rows as they are now, what happened, whose view is stale.

    `listed`: the instances that the marketplace showed before anything was done.
    """

    def __init__(
        self,
        ports: ScalerPorts,
        market: PacedMarket,
        fence: int,
        workers: Mapping[int, Worker],
        *,
        listed: Collection[int] = (),
    ) -> None:
        self.ports = ports
        self.market = market
        self.fence = fence
        self.rows = dict(workers)
        self.listed = listed
        self.events: list[Event] = []
        self.stale_views: set[int] = set()
        self.n_done = 0
        self.done: dict[int, Action] = {}  # by identity: two equal wishes are two deeds
        self.problems: dict[int, str] = {}  # why an action was not done
        self.n_failed_creates = 0
        self.credit_refusal = ""  # why Vast rents the account nothing: its code
        self.failures: Failures = {}
        self.guarded: dict[int, str] = {}  # the cap that refused a group's rental or start

    def change(self, worker: Worker, changes: Mapping[str, object]) -> bool:
        """Change a row if it is still in the state we know; whether that is so.

        A report or a router may have been faster: then the next round decides again.
        """
        if not changes:
            return True
        try:
            row = self.ports.workers.update(
                worker.endpoint_id, worker.instance_id, changes, if_state=worker.state
            )
        except (ConflictError, NotFoundError):
            return False
        self.rows[worker.instance_id] = row
        if row.state is not worker.state:
            self._log_state(worker, row)
            if row.state is WorkerState.PAUSED and not row.loaded_at:
                self.failed_bid(row.autogroup_id, "it was outbid before it had loaded")
        if row.state is not worker.state or row.url != worker.url:
            self.stale_views.add(worker.endpoint_id)
        return True

    def added(self, worker: Worker, reason: Reason | None) -> None:
        """A row was added; `reason`: why it was rented, where that is known."""
        self.rows[worker.instance_id] = worker
        self._log_state(None, worker, reason)

    def removed(self, worker: Worker) -> None:
        """A row was removed, its machine being confirmed absent."""
        self.rows.pop(worker.instance_id, None)
        self.stale_views.add(worker.endpoint_id)
        self.log(
            worker.endpoint_id,
            "gone",
            f"instance {worker.instance_id} is confirmed absent",
            {
                "instance_id": worker.instance_id,
                "state": worker.state.value,
            },
        )

    def did(self, action: Action) -> None:
        """An action was carried out."""
        self.done[id(action)] = action
        self.n_done += 1
        if not isinstance(action, RentOffer) and action.reason.code in RAISES:
            self.failures = forgive(self.failures, [bid_start_key(action.instance_id)])

    def put_off(self, action: Action, why: str) -> None:
        """Vast was not asked: the verb's turn comes later, and a later round takes it."""
        self.problems[id(action)] = why[:200]

    def note_failure(self, action: Action, problem: str) -> None:
        """An action that could not be done now; the next round decides again."""
        code, colon, said = problem.partition(": ")  # a refusal of Vast's begins with its code
        told = code.replace("_", " ") + colon + said if colon else problem
        self.problems[id(action)] = told[:200]
        name = type(action).__name__
        subject = action.offer.offer_id if isinstance(action, RentOffer) else action.instance_id
        row = self.rows.get(0 if isinstance(action, RentOffer) else action.instance_id)
        if not isinstance(action, RentOffer) and action.reason.code in RAISES:
            key = bid_start_key(subject)
            self.failures = add_failure(self.failures, [key], problem, self.ports.clock.now())
            if self.failures[key].n > 1:
                return  # told once
        elif not isinstance(action, RentOffer) and not self.is_news(subject, problem):
            return
        self.n_failed_creates += isinstance(action, RentOffer)
        scope = autogroup_scope(action.autogroup_id) if isinstance(action, RentOffer) else ""
        self.log(
            row.endpoint_id if row else 0,
            "action_failed",
            f"{name} {subject}: {problem[:200]}",
            {"action": name, "subject": subject, "problem": problem[:200]},
            scope=scope,
        )

    def is_news(self, instance_id: int, problem: str) -> bool:
        """Remember that an order was not carried out; whether the log should tell of it (again).

        It is repeated each round: told are the first time, the 2nd, 4th, 8th …
        """
        key = order_key(instance_id)
        self.failures = add_failure(self.failures, [key], problem, self.ports.clock.now())
        return self.failures[key].n.bit_count() == 1

    def remember_returns(self, endpoint_id: int, done: Iterable[Action]) -> None:
        """Workers that were returned for failing, or for not stopping: a failure of their group."""
        for code, key in (
            (FAILING_AGAIN, failing_key(endpoint_id)),
            (WILL_NOT_STOP, stopping_key(endpoint_id)),
        ):
            returned = [
                action.instance_id
                for action in done
                if isinstance(action, DrainWorker | DestroyWorker) and action.reason.code == code
            ]
            if returned:
                refusals = map(self.failures.get, map(order_key, returned))
                said = "; ".join(sorted({one.problem for one in refusals if one is not None}))
                self.failures = add_failure(self.failures, [key], said, self.ports.clock.now())

    def remember_overbilling(self, done: Iterable[Action]) -> None:
        """Machines that billed above their offers, by one listing even, and had to go for any why.

        A cap may have returned one before a second listing said so: it would be rented again.
        """
        for action in done:
            if not isinstance(action, DrainWorker | DestroyWorker):
                continue
            row = self.rows.get(action.instance_id)
            if row is None or not row.n_overbilled:
                continue
            keys = [machine_key(row.machine_id)] if row.machine_id else []
            keys += [host_key(row.host_id)] if row.host_id else []
            said = (
                f"billed ${row.usd_per_hour:.2f} an hour instead of ${row.agreed_usd_per_hour:.2f}"
            )
            self.failures = add_failure(self.failures, keys, said, self.ports.clock.now())

    def refused_rental(self, code: str) -> None:
        """Vast refused a rental for a stated reason."""
        if code in NO_CREDIT_CODES:
            self.credit_refusal = code

    def refused_by_guard(self, endpoint_id: int, cap: str) -> None:
        """The money guard refused what was planned: a trouble of the group, until it does not."""
        self.guarded[endpoint_id] = cap

    def failed_offer(
        self, autogroup_id: int, offer: Offer, problem: str, *, blames_machine: bool = True
    ) -> None:
        """An offer could not be rented: it, and its machine unless told otherwise, is set aside."""
        keys = [offer_key(offer.offer_id)]
        keys += [] if offer.is_bid else [autogroup_key(autogroup_id)]
        keys += [machine_key(offer.machine_id)] if offer.machine_id and blames_machine else []
        self.failures = add_failure(self.failures, keys, problem, self.ports.clock.now())
        if offer.is_bid:
            self.failed_bid(autogroup_id, problem)

    def failed_bid(self, autogroup_id: int, problem: str) -> None:
        """A bid came to nothing: after some in a row bids rest, on demand is rented on."""
        keys = [bids_key(autogroup_id)]
        self.failures = add_failure(self.failures, keys, problem, self.ports.clock.now())

    def bids_rest(self, autogroup_id: int) -> bool:
        """Whether bids of an autogroup came to nothing too often lately."""
        failure = self.failures.get(bids_key(autogroup_id))
        return failure is not None and failure.until > self.ports.clock.now()

    def rented_offer(self, autogroup_id: int, offer: Offer) -> None:
        """An offer was rented: what failed before is forgiven; of bids only once one has loaded."""
        keys = [offer_key(offer.offer_id), machine_key(offer.machine_id)]
        keys += [] if offer.is_bid else [autogroup_key(autogroup_id)]
        self.failures = forgive(self.failures, keys)

    def failures_left(self) -> Failures:
        """What is remembered of failures: bids are forgiven once a machine at one has loaded."""
        return forgive_bids(self.failures, self.rows.values())

    def log(
        self,
        endpoint_id: int,
        kind: str,
        message: str,
        facts: Mapping[str, object],
        *,
        scope: str = "",
    ) -> None:
        """Remember an event; all are written at the end of the round."""
        self.events.append(
            Event(
                at=self.ports.clock.now(),
                scope=scope or (endpoint_scope(endpoint_id) if endpoint_id else "account"),
                level="info1",
                kind=kind,
                message=message,
                facts=facts,
                actor=ACTOR,
            )
        )

    def _log_state(
        self, before: Worker | None, after: Worker, reason: Reason | None = None
    ) -> None:
        was = before.state.value if before else "absent"
        why = {"reason": asdict(reason)} if reason else {}
        self.log(
            after.endpoint_id,
            "state",
            f"instance {after.instance_id}: {was} -> {after.state.value}",
            {
                "instance_id": after.instance_id,
                "autogroup_id": after.autogroup_id,
                "from": was,
                "to": after.state.value,
                "error": after.error[:200],
                **why,
            },
        )


def changed(worker: Worker, changes: Mapping[str, object]) -> Worker:
    """The row as it will be."""
    values: dict[str, object] = dict(changes)
    return replaced(worker, **values)


def destroy(acting: Acting, doomed: Sequence[int]) -> None:
    """Destroy instances in one bulk call; what fails is logged, and repeated by the next round."""
    try:
        outcomes = acting.market.call(Verb.DESTROY, lambda vast: vast.destroy_instances(doomed))
    except TooEarlyError:
        return
    except MarketplaceError as error:
        problem = str(error)[:200]
        news = [instance_id for instance_id in doomed if acting.is_news(instance_id, problem)]
        if news:
            acting.log(0, "action_failed", f"destroy {len(doomed)}: {problem}", {"ids": news})
        return
    for instance_id, problem in outcomes.items():
        if problem and problem != NOT_THERE and acting.is_news(instance_id, problem):
            message, facts = f"destroy {instance_id}: {problem}", {"instance_id": instance_id}
            acting.log(0, "action_failed", message, facts)

"""The router's own code as a queue discipline: views, tables, reservations, places and pauses.

`ballast/simulator/world/dispatch.py` knows when every slot comes free. A router does not: it knows
worker rows that reports and grants write, from a view that is up to two seconds old. Here the rows,
the view (`core/routing/view.py`), each router's table (`core/routing/table.py`), the cut-offs, the
places and the pauses are the product's own; only the machines and the clients are simulated.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ballast.simulator.world.dispatch import SDK_FIRST_POLL_S, SDK_POLL_S, totals
from ballast.simulator.world.traces import Trace
from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.load import add_mark
from chalicelib.core.model.warmth import CacheUse
from chalicelib.core.model.worker import Worker, WorkerState, replaced
from chalicelib.core.routing.admission import (
    AdmissionParams,
    ClientKind,
    Queued,
    bind_within_s,
    may_start,
)
from chalicelib.core.routing.affinity import CacheBelief, Preference, Promises
from chalicelib.core.routing.choice import Criteria
from chalicelib.core.routing.directory import GroupFacts
from chalicelib.core.routing.queue_place import estimate_place, next_poll_s
from chalicelib.core.routing.table import AutogroupFacts, RoutingTable
from chalicelib.core.routing.view import RoutingView, build_view, rebuild_interval_s
from chalicelib.services.routing.memory import VIEW_CACHE_S
from chalicelib.services.routing.route import MAX_TRIES
from chalicelib.services.routing.waiting import STALE_VIEW_S

REPORT_S, IDLE_REPORT_S = 1.0, 10.0  # workers/pyworker/reporting/report_loop.py
REPORT_DELAY_S = 0.1  # from the change to the row
N_ROUTERS = 3
GROUP_ID = 1


class RoutedMachine(Protocol):
    """What is asked of a simulated worker; `in_flight` has the requests there as keys."""

    number: int
    perf: float
    n_slots: int
    usd_per_hour: float
    created_at: float
    in_flight: Mapping[int, object]

    @property
    def cache_use(self) -> CacheUse | None:
        """What it tells of its cache; None: nothing."""
        ...


class RoutedWorld(Protocol):
    """What is asked of a world."""

    trace: Trace
    now: float
    mean_load: float
    slo_wait_s: float

    @property
    def machines(self) -> Mapping[int, Any]:
        """All, by number."""
        ...

    @property
    def routable(self) -> Sequence[Any]:
        """Those that may be given requests, the newest last."""
        ...

    def at(self, time: float, handler: Callable[..., None], argument: object = None) -> None:
        """Call `handler(argument)` then."""
        ...

    def bind(self, request: int, machine: Any, now: float) -> float | None:
        """Give a request to a machine; its end, if it is known: else `finished` is called."""
        ...


def _no_preferences(_request: int, _belief: CacheBelief) -> tuple[Preference, ...]:
    return ()


@dataclass(slots=True)
class Router:
    """One router's copy of the view and its table."""

    read_at: float = float("-inf")
    view: RoutingView | None = None
    table: RoutingTable | None = None
    promises: Promises = field(default_factory=Promises)


@dataclass(slots=True)
class RoutedPolling:
    """Requests go where the product's routers send them; clients poll as their kind does."""

    world: RoutedWorld
    kind: ClientKind
    params: AdmissionParams
    rng: random.Random
    preferences_of: Callable[[int, CacheBelief], tuple[Preference, ...]] = _no_preferences
    queued: dict[int, Queued] = field(default_factory=dict)
    rows: dict[int, Worker] = field(default_factory=dict)
    n_polls: int = 0
    n_tries: int = 0
    _facts: GroupFacts = field(init=False)
    _view: RoutingView | None = None
    _routers: list[Router] = field(default_factory=lambda: [Router() for _ in range(N_ROUTERS)])
    _report_due: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        """One group with one autogroup."""
        self._facts = GroupFacts(
            endpoint_id=GROUP_ID,
            name="simulated",
            state=GroupState.ACTIVE,
            key_generation=1,
            autogroups=(AutogroupFacts(autogroup_id=1),),
            params=self.params,
        )

    @property
    def n_waiting(self) -> int:
        """Requests not bound."""
        return len(self.queued)

    def arrive(self, request: int, now: float) -> None:
        """Ask once; if told to wait, remember and ask again."""
        queued = self._queued(request)
        pause_s = self._ask(request, now, queued)
        if pause_s is not None:
            self.queued[request] = queued
            first = pause_s if self.kind is ClientKind.PACED else SDK_FIRST_POLL_S
            self.world.at(now + first, self._poll, request)

    def return_to_head(self, requests: list[int], now: float) -> None:
        """Clients of a dead machine ask again at once, with their old index."""
        for request in requests:
            self.queued[request] = self._queued(request)
            self.world.at(now, self._poll, request)

    def machine_ready(self, now: float) -> None:
        """A worker that comes up reports at once, and the view is built with it."""
        self._report(self.world.routable[-1].number)
        self._build(now)

    def round(self, now: float) -> None:
        """Nothing: clients ask."""

    def waiting(self, now: float) -> tuple[int, float, int, float, float | None]:
        """See Dispatcher."""
        return totals(list(self.queued), self.world, now)

    # -- clients

    def _queued(self, request: int) -> Queued:
        trace = self.world.trace
        is_paced = self.kind is ClientKind.PACED
        return Queued(trace.times[request], trace.loads[request], is_paced=is_paced)

    def _poll(self, request: int) -> None:
        self.n_polls += 1
        now = self.world.now
        pause_s = self._ask(request, now, self.queued[request])
        if pause_s is None:
            del self.queued[request]
        else:
            self.world.at(now + pause_s, self._poll, request)

    def _ask(self, request: int, now: float, queued: Queued) -> float | None:
        """None: granted; else seconds until the client asks again."""
        router = self._routers[int(self.rng.random() * len(self._routers))]
        self._refresh(router, now)
        if router.view is None or router.table is None:
            return self._pause(None, now, queued)
        cutoff = router.view.cutoffs.for_key("")
        is_in_turn = self.kind is ClientKind.ONE_SHOT or may_start(
            queued, now, cutoff, self.params, dice=self.rng.random()
        )
        if is_in_turn and self._reserve(request, now, queued, router):
            return None
        if now - router.view.built_at >= STALE_VIEW_S:
            self._build(now)
            router.read_at = float("-inf")
        return self._pause(router.view, now, queued)

    def _pause(self, view: RoutingView | None, now: float, queued: Queued) -> float:
        if self.kind is not ClientKind.PACED:
            return self.rng.uniform(0.1, SDK_POLL_S)
        eta_s = None
        if view is not None:
            eta_s = estimate_place(queued, now, view.queue, self.params).eta_s
        return next_poll_s(queued.first_seen_at, eta_s, self.params, now, self.rng.random())

    def _reserve(self, request: int, now: float, queued: Queued, router: Router) -> bool:
        """As services/routing/route.py does: choose, reserve on the row, learn from a refusal."""
        table, view = router.table, router.view
        if table is None or view is None:
            return False
        belief = router.promises.belief(view.spared_share)
        service_s = table.service_s(self.world.mean_load)
        bound_s = bind_within_s(self.kind, self.params, service_s)
        for n_refused in range(MAX_TRIES + 1):
            criteria = Criteria(
                cost=queued.cost,
                bound_s=bound_s,
                dice=self.rng.random(),
                preferences=self.preferences_of(request, belief),
            )
            choice = table.choose(criteria, now)
            if choice is None:
                return False
            self.n_tries += 1
            worker = choice.worker
            machine = self.world.machines.get(worker.instance_id)
            row = self.rows.get(worker.instance_id)
            if machine is None or row is None or machine not in self.world.routable:
                table.drop(worker)
            elif row.granted_load > choice.bound and n_refused < MAX_TRIES:
                table.correct(worker, row.granted_load, now)
            else:
                self._grant(request, now, machine, row)
                table.granted(worker, queued.cost, self.rows[machine.number].granted_load, now)
                router.promises.note(choice.promised_load, queued.cost, now)
                return True
        return False

    def _grant(self, request: int, now: float, machine: RoutedMachine, row: Worker) -> None:
        granted = row.granted_load + self.world.trace.loads[request]
        self.rows[machine.number] = replaced(row, granted_load=granted, reqnum=row.reqnum + 1)
        end = self.world.bind(request, machine, now)
        self._has_news(machine.number)
        if end is not None:
            self.world.at(end, self._has_news, machine.number)

    def finished(self, number: int) -> None:
        """A machine is done with a request."""
        self._has_news(number)

    # -- workers and the view

    def _has_news(self, number: int) -> None:
        if number not in self._report_due:
            self._report_due.add(number)
            row = self.rows.get(number)
            now = self.world.now
            at = max(now, row.reported_at + REPORT_S) if row else now
            self.world.at(at + REPORT_DELAY_S, self._report_due_now, number)

    def _report_due_now(self, number: int) -> None:
        self._report_due.discard(number)
        self._report(number)
        now = self.world.now
        built_at = self._view.built_at if self._view else float("-inf")
        if now - built_at >= rebuild_interval_s(len(self.world.routable)):
            self._build(now)

    def _report(self, number: int) -> None:
        machine = self.world.machines.get(number)
        if machine is None:
            self.rows.pop(number, None)
            return
        now, loads = self.world.now, self.world.trace.loads
        row = self.rows.get(number) or Worker(
            endpoint_id=GROUP_ID,
            instance_id=number,
            autogroup_id=1,
            created_at=machine.created_at,
            url=f"https://{number}",
            boot_id=str(number),
            perf=machine.perf,
            slots=machine.n_slots,
            usd_per_hour=machine.usd_per_hour,
            state=WorkerState.READY,
        )
        self.rows[number] = replaced(
            row,
            reported_at=now,
            granted_marks=add_mark(row.granted_marks, now, row.granted_load),
            working_load=sum(loads[request] for request in machine.in_flight),
            n_working=len(machine.in_flight),
            unseen_load=0.0,
            cache=machine.cache_use,
        )

    def _build(self, now: float) -> None:
        for machine in self.world.routable:
            if now - self.rows[machine.number].reported_at > IDLE_REPORT_S:
                self._report(machine.number)
        rows = [self.rows[machine.number] for machine in self.world.routable]
        self._view = build_view(self._facts, rows, list(self.queued.values()), now)[0]

    def _refresh(self, router: Router, now: float) -> None:
        if now - router.read_at < VIEW_CACHE_S or self._view is None:
            return
        router.read_at = now
        if router.view is self._view:
            return
        view = self._view
        table = RoutingTable(
            view.group.autogroups,
            [replace(worker) for worker in view.workers],
            built_at=view.built_at,
            grants_per_s=view.grants_per_s,
            usual_cost=view.usual_cost,
        )
        if router.table is not None:
            table.carry_over(router.table, now)
        router.view, router.table = view, table

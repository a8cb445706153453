"""Serving: check, book, queue, forward. One `Facade` per PyWorker; `server.py` has its routes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

from aiohttp import web

from workers.pyworker.back_end import BackEnd, JsonObject, PayloadError, Route
from workers.pyworker.model.answers import AnswerReader
from workers.pyworker.model.engine import Engine
from workers.pyworker.model.forwarding import Ended, Forwarder
from workers.pyworker.model.to_client import ClientGoneError
from workers.pyworker.readiness import Readiness
from workers.pyworker.reporting.control_plane import ControlPlaneError
from workers.pyworker.reporting.load_ledger import Entry, LoadLedger, Outcome, RequestFacts
from workers.pyworker.reporting.problem import ProblemError
from workers.pyworker.reporting.report_loop import ReportLoop
from workers.pyworker.serving.connections import ConnectionGuard
from workers.pyworker.serving.envelope import Envelope, HeavyPayload, Payload
from workers.pyworker.serving.reading import BodyReader
from workers.pyworker.serving.sessions import Session, SessionTable
from workers.pyworker.tickets.admission import Admission, Admitted, Rejection
from workers.pyworker.tickets.legacy_tickets import LegacyAdmission
from workers.pyworker.tickets.server_clock import ServerClock
from workers.pyworker.tickets.signing_keys import PublicKeyError, SigningKeys

logger = logging.getLogger(__name__)

ROUNDING = 1e-6
REFUSALS_TOLD_EVERY_S = 10.0


@dataclass(frozen=True, kw_only=True)
class FacadeParts:
    """What serving needs."""

    back_end: BackEnd
    admission: Admission
    legacy: LegacyAdmission | None  # None: generation D alone is accepted
    keys: SigningKeys
    clock: ServerClock
    ledger: LoadLedger
    readiness: Readiness
    reports: ReportLoop
    forwarder: Forwarder
    engine: Engine
    sessions: SessionTable
    bodies: BodyReader
    guard: ConnectionGuard
    max_queue_time_s: float


class _RefusalLog:
    """Refused tickets in the log: a line a while, with their number; anyone can send one."""

    def __init__(self) -> None:
        self._n = 0
        self._next_at = 0.0

    def note(self, refusal: Rejection, now: float) -> None:
        """One more."""
        self._n += 1
        if now < self._next_at:
            return
        told = {"status": refusal.status, "reason": refusal.reason, "n_since": self._n}
        logger.info("ticket refused", extra=told)
        self._n, self._next_at = 0, now + REFUSALS_TOLD_EVERY_S


class Facade:
    """Handles requests to the back end's routes."""

    def __init__(self, parts: FacadeParts) -> None:
        self.parts = parts
        self._refusals = _RefusalLog()
        # asyncio's locks are first come, first served, also when waiters are cancelled.
        self._turn: AbstractAsyncContextManager[object] = (
            asyncio.Lock() if parts.back_end.is_serial else nullcontext()
        )

    async def serve(self, request: web.Request, route: Route) -> web.StreamResponse:
        """Answer one request.

        Raises:
            ProblemError: it is refused or cannot be served.
            EnvelopeError: it is malformed.
        """
        envelope = await self.parts.bodies.envelope(request, route, self.is_good)
        if envelope.session_id is not None:
            return await self._serve_in_session(request, route, envelope, envelope.session_id)
        grant = await self.admit(request, envelope.auth_data)
        facts = self._assess(route, envelope.payload, grant)
        self._check_load(facts, grant.allowance.max_load)
        return await self._serve_booked(request, route, envelope.payload, facts)

    def is_good(self, auth_data: JsonObject) -> bool:
        """Whether a ticket would be accepted, or opened a session that is open; it stays unused."""
        parts, now = self.parts, self.parts.clock.now()
        if parts.sessions.is_opener(auth_data):
            return True
        return any(
            parts.admission.peek(auth_data, verifier, now, parts.clock.leeway_s) is None
            or (parts.legacy is not None and parts.legacy.is_authentic(auth_data, verifier))
            for verifier in parts.keys.verifiers()
        )

    async def admit(self, request: web.Request, auth_data: JsonObject) -> Admitted:
        """Use up the ticket.

        Raises:
            ProblemError: 401 or 503 with the reason.
        """
        parts = self.parts
        if not parts.readiness.is_ready:
            raise ProblemError.of(503, parts.readiness.error or "the worker is not ready yet")
        result = self._try_keys(auth_data)
        if isinstance(result, Rejection) and result.status == 401 and await self._has_new_key():
            result = self._try_keys(auth_data)
        if isinstance(result, Admitted):
            parts.guard.trust(request.protocol)
            return result
        parts.ledger.reject_unauthentic()
        self._refusals.note(result, parts.clock.now())
        raise ProblemError.of(result.status, result.reason)

    async def admit_reader(self, request: web.Request, auth_data: JsonObject) -> None:
        """Use up a ticket for the model's log, which the owner reads in whatever state we are.

        Raises:
            ProblemError: 401 or 503 with the reason.
        """
        refusal = self._read_refusal(auth_data)
        if refusal and refusal.status == 401 and await self._has_new_key():
            refusal = self._read_refusal(auth_data)
        if refusal:
            self._refusals.note(refusal, self.parts.clock.now())
            raise ProblemError.of(refusal.status, refusal.reason)
        self.parts.guard.trust(request.protocol)

    def _read_refusal(self, auth_data: JsonObject) -> Rejection | None:
        now = self.parts.clock.now()
        refusal: Rejection | None = Rejection(503, "the public key is not known yet")
        for verifier in self.parts.keys.verifiers():
            refusal = self.parts.admission.admit_reader(
                auth_data, verifier, now, self.parts.clock.leeway_s
            )
            if refusal is None:
                return None
        return refusal

    def _try_keys(self, auth_data: JsonObject) -> Admitted | Rejection:
        now = self.parts.clock.now()
        result: Admitted | Rejection = Rejection(503, "the public key is not known yet")
        for verifier in self.parts.keys.verifiers():
            result = self.parts.admission.admit(auth_data, verifier, now, self.parts.clock.leeway_s)
            if isinstance(result, Rejection) and result.status == 401 and self.parts.legacy:
                result = self.parts.legacy.admit(auth_data, verifier)
            if isinstance(result, Admitted) or result.status != 401:
                break
        return result

    async def _has_new_key(self) -> bool:
        """Whether the control plane has changed its key since we asked last."""
        try:
            return await self.parts.keys.refresh()
        except (ControlPlaneError, PublicKeyError) as error:
            logger.warning("public key not fetched", extra={"reason": str(error)})
            return False

    def _assess(
        self,
        route: Route,
        payload: Payload,
        grant: Admitted | RequestFacts,
        *,
        is_in_session: bool = False,
    ) -> RequestFacts:
        """Count the work; 422 for a bad payload, 429 when the queue is too long.

        `grant` is the ticket, or what the session was opened with.
        """
        fault: PayloadError | None = None
        try:
            if isinstance(payload, HeavyPayload):
                workload = payload.workload
            else:
                workload = route.workload(payload)
        except PayloadError as error:
            workload, fault = grant.cost, error
        facts = RequestFacts(
            request_idx=grant.request_idx,
            reqnum=grant.reqnum,
            # A session's cost was received with the session; what its requests do is workload.
            cost=0.0 if is_in_session else grant.cost,
            workload=workload,
            route=route.path,
            usual=self.parts.back_end.default_workload,
            is_in_session=is_in_session,
        )
        if fault:
            self._reject(facts)
            raise ProblemError(422, {"payload": fault.fields}) from fault
        wait_s = self.parts.ledger.queued_workload / max(self.parts.readiness.perf, 1e-9)
        if wait_s > self.parts.max_queue_time_s and not self.parts.engine.has_room:
            self._reject(facts)
            raise ProblemError.of(429, f"the queue is {wait_s:.0f} s long; route again")
        return facts

    def _check_load(self, facts: RequestFacts, max_load: float) -> None:
        """Under a key whose load is limited a request may ask for what its ticket paid."""
        if facts.workload > max_load * (1 + ROUNDING):
            self._reject(facts)
            raise ProblemError.of(
                422,
                f"this key's load is limited, and the request asks for {facts.workload:g} where "
                f"its ticket is good for {max_load:g}: state the request's cost to /route/",
            )

    def _reject(self, facts: RequestFacts) -> None:
        self.parts.ledger.reject(facts, self.parts.clock.now())
        self.parts.reports.note_request()

    async def _serve_booked(
        self,
        request: web.Request,
        route: Route,
        payload: Payload,
        facts: RequestFacts,
        also_book: Callable[[float], None] = lambda _load: None,
    ) -> web.StreamResponse:
        """Serve with a line in the books that is closed however the request ends."""
        entry = self.parts.ledger.enter(facts, self.parts.clock.now())
        self.parts.reports.note_request()
        outcome, used = Outcome.CANCELLED, None
        try:
            response, ended = await self._in_turn(request, route, payload, entry)
            outcome, used = ended.outcome, ended.work
            self.parts.ledger.prompts_read(ended.prompt)
        except ProblemError:
            outcome = Outcome.ERRORED
            raise
        except PayloadError as error:  # only now its files were unpacked
            outcome = Outcome.REFUSED
            raise ProblemError(422, {"payload": error.fields}) from error
        except ClientGoneError as error:
            outcome = self._outcome_of_leaving()
            raise ProblemError.of(499, "the client closed the connection") from error
        except asyncio.CancelledError:
            outcome = self._outcome_of_leaving()
            raise
        except BaseException:
            outcome = Outcome.ERRORED
            raise
        finally:
            also_book(self.parts.ledger.leave(entry, outcome, self.parts.clock.now(), used))
            self.parts.reports.note_request()
        return response

    def _outcome_of_leaving(self) -> Outcome:
        """Who leaves an engine that makes nothing any more was lost by it."""
        is_dead = self.parts.engine.is_dead(asyncio.get_running_loop().time())
        return Outcome.ERRORED if is_dead else Outcome.CANCELLED

    async def _in_turn(
        self, request: web.Request, route: Route, payload: Payload, entry: Entry
    ) -> tuple[web.StreamResponse, Ended]:
        def follow(reader: AnswerReader) -> None:
            entry.reader = reader

        async with self._turn:
            entry.work_started_at = self.parts.clock.now()
            return await self.parts.forwarder.forward(request, route, payload, follow)

    async def _serve_in_session(
        self, request: web.Request, route: Route, envelope: Envelope, session_id: str
    ) -> web.StreamResponse:
        """A request inside a session re-uses the ticket that opened it."""
        session = self.parts.sessions.find(session_id)
        if session is None:
            raise ProblemError.of(410, "invalid session")
        if not session.is_opened_by(envelope.auth_data):
            self.parts.ledger.reject_unauthentic()
            raise ProblemError.of(401, "the ticket is not the one that opened this session")
        self.parts.guard.trust(request.protocol)
        if session.is_used_up:
            raise ProblemError.of(
                410, "the session has used up what its cost was for; open one with a larger cost"
            )
        if session.ends_at <= self.parts.clock.now() or not session.has_request_left:
            raise ProblemError.of(
                410, "the session ends with its key or its quota; ask /route/ for another"
            )
        if session.is_busy:
            raise ProblemError.of(429, "this key may have one request at once in a session")
        facts = self._assess(route, envelope.payload, session.entry.facts, is_in_session=True)
        self._check_load(facts, session.load_left)
        session.take(facts.workload)
        return await self._at_work(request, route, envelope.payload, session, facts)

    async def _at_work(
        self,
        request: web.Request,
        route: Route,
        payload: Payload,
        session: Session,
        facts: RequestFacts,
    ) -> web.StreamResponse:
        session.extend(self.parts.clock.now())
        task = asyncio.current_task()
        if task:
            session.at_work.add(task)
        try:
            return await self._serve_booked(request, route, payload, facts, session.book)
        finally:
            if task:
                session.at_work.discard(task)

"""`/session/create`, `end`, `get` and `health`, as the vendor's SDK calls them."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from workers.pyworker.back_end import PayloadError
from workers.pyworker.model.asking import ModelLostError
from workers.pyworker.reporting.load_ledger import Outcome, RequestFacts
from workers.pyworker.reporting.problem import ProblemError
from workers.pyworker.serving.envelope import (
    EnvelopeError,
    HeavyPayload,
    parse_envelope,
    parse_json,
)
from workers.pyworker.serving.facade import Facade
from workers.pyworker.serving.sessions import Session, SessionTerms

logger = logging.getLogger(__name__)

SWEEP_S = 5.0
ON_CLOSE_TIMEOUT_S = 10.0
MAX_TERMS = 64 * 2**10


class SessionRoutes:
    """Opens, shows and ends sessions. Opening one needs a ticket like any request."""

    def __init__(self, facade: Facade) -> None:
        self._facade = facade
        self._parts = facade.parts

    async def create(self, request: web.Request) -> web.StreamResponse:
        """201 with `session_id` and `expiration`; 429 when there are too many."""
        envelope = parse_envelope(await self._body(request))
        if isinstance(envelope.payload, HeavyPayload):
            raise TypeError("only large bodies are parsed elsewhere")
        terms = SessionTerms.from_payload(envelope.payload)
        path = terms.on_close_route
        if path is not None and not self._parts.back_end.may_close_with(path):
            wrong = "must be one of this worker's own routes"
            raise EnvelopeError({"payload": {"on_close_route": wrong}})
        grant = await self._facade.admit(request, envelope.auth_data)
        facts = RequestFacts(
            request_idx=grant.request_idx,
            reqnum=grant.reqnum,
            cost=grant.cost,
            workload=grant.cost,
            route="/session",
            is_session=True,
        )
        now = self._parts.clock.now()
        self._parts.reports.note_request()
        if self._parts.sessions.is_full:
            self._parts.ledger.reject(facts, now)
            raise ProblemError.of(429, "too many sessions on this worker; route again")
        entry = self._parts.ledger.enter(facts, now)
        entry.work_started_at = now
        session = self._parts.sessions.open(envelope, terms, entry, now, grant.allowance, grant.key)
        return web.json_response(
            {"session_id": session.session_id, "expiration": session.expires_at}, status=201
        )

    async def end(self, request: web.Request) -> web.StreamResponse:
        """200 once closed; its requests at work are cancelled."""
        session = await self._session(request, if_absent=400)
        if session is None or not await self._close(session):
            raise ProblemError.of(410, "session already closed")
        return web.json_response({"ended": True, "removed_session": session.session_id})

    async def get(self, request: web.Request) -> web.StreamResponse:
        """The session as its opener knows it."""
        session = await self._session(request, if_absent=400)
        if session is None:
            raise ProblemError.of(410, "session already closed")
        return web.json_response(
            {
                "session_id": session.session_id,
                "auth_data": session.auth_data,
                "lifetime": session.terms.lifetime_s,
                "expiration": session.expires_at,
                "created_at": session.created_at,
                "on_close_route": session.terms.on_close_route,
                "on_close_payload": session.terms.on_close_payload,
            }
        )

    async def health(self, request: web.Request) -> web.StreamResponse:
        """`{"ok": …}`: whether the session is open."""
        session = await self._session(request, if_absent=None)
        return web.json_response({"ok": session is not None})

    async def sweep(self) -> None:
        """Close what has expired, for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for session in self._parts.sessions.expired(self._parts.clock.now()):
                await self._close(session)

    async def _body(self, request: web.Request) -> bytes:
        """A small body: terms and tickets are short."""
        body = await self._parts.bodies.body(request, self._facade.is_good)
        if len(body) > MAX_TERMS:
            raise ProblemError.of(413, f"the body is larger than {MAX_TERMS >> 10} KiB")
        return body

    async def _session(self, request: web.Request, *, if_absent: int | None) -> Session | None:
        body = parse_json(await self._body(request))
        session_id = body.get("session_id")
        if not isinstance(session_id, str) or not session_id:
            raise EnvelopeError({"session_id": "missing parameter"})
        session = self._parts.sessions.find(session_id)
        if session is None:
            if if_absent is None:
                return None
            raise ProblemError.of(if_absent, "session does not exist")
        if not session.is_opened_by(body.get("session_auth")):
            raise ProblemError.of(401, "session_auth is not valid")
        return session

    async def _close(self, session: Session) -> bool:
        if not self._parts.sessions.close(session):
            return False
        for task in tuple(session.at_work):
            task.cancel()
        if session.terms.on_close_route:
            await self._call_at_close(session, session.terms.on_close_route)
        self._parts.ledger.leave(
            session.entry, Outcome.SERVED, self._parts.clock.now(), session.used
        )
        self._parts.reports.note_request()
        return True

    async def _call_at_close(self, session: Session, path: str) -> None:
        """The call that the session asked for; a route that clients pay for is booked."""
        body = {"session_id": session.session_id, **session.terms.on_close_payload}
        back_end = self._parts.back_end
        try:
            if path in back_end.close_routes:
                await self._parts.forwarder.post(path, body, ON_CLOSE_TIMEOUT_S)
                return
            route = back_end.route(path)
            load = route.workload(session.terms.on_close_payload)
            if load > session.load_left or not session.has_request_left:
                logger.warning("on_close left out", extra={"reason": "its key's end or quota"})
                return
            converted = route.convert(body) if route.convert else body
            await self._parts.forwarder.post(route.model_path, converted, ON_CLOSE_TIMEOUT_S)
            session.book(load)
        except (ModelLostError, PayloadError) as error:
            logger.warning("on_close failed", extra={"reason": type(error).__name__})

"""Sessions: a client's reserved seat on this worker, opened with one ticket. Pure."""

from __future__ import annotations

import hmac
import math
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from chalicelib.wire.reports import MAX_SESSION_KEYS
from chalicelib.wire.ticket import Allowance
from workers.pyworker.back_end import JsonObject
from workers.pyworker.reporting.load_ledger import Entry
from workers.pyworker.serving.envelope import Envelope, EnvelopeError
from workers.pyworker.tickets.admission import UNLIMITED

DEFAULT_LIFETIME_S = 60.0
MAX_LIFETIME_S = 3600.0
"""Without a request, and of a session in all: whoever needs one for longer asks for a worker anew,
so that an idle GPU, a limited key and a key that was taken back all have an end."""
LOAD_PER_COST = 100.0
"""What a session may do in all, for each unit of the cost that it was opened with."""


class Cancellable(Protocol):
    """A request at work in a session (an asyncio task)."""

    def cancel(self) -> bool:
        """Stop it."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionTerms:
    """What a client asked for."""

    lifetime_s: float
    on_close_route: str | None
    on_close_payload: JsonObject

    @staticmethod
    def from_payload(payload: JsonObject) -> SessionTerms:
        """The terms in a `/session/create` payload.

        Raises:
            EnvelopeError: a field is wrong.
        """
        lifetime = payload.get("lifetime", DEFAULT_LIFETIME_S)
        route = payload.get("on_close_route")
        body = payload.get("on_close_payload")
        problems: dict[str, object] = {}
        if isinstance(lifetime, bool) or not isinstance(lifetime, int | float):
            problems["lifetime"] = "must be a number of seconds"
        elif not (math.isfinite(lifetime) and 0 < lifetime <= MAX_LIFETIME_S):
            problems["lifetime"] = f"must be above 0 and at most {MAX_LIFETIME_S:.0f} seconds"
        if route is not None and not (isinstance(route, str) and route.startswith("/")):
            problems["on_close_route"] = "must be a path of the model server, such as /close"
        if body is not None and not isinstance(body, dict):
            problems["on_close_payload"] = "must be an object"
        if problems or not isinstance(lifetime, int | float):
            raise EnvelopeError({"payload": problems})
        return SessionTerms(
            lifetime_s=float(lifetime),
            on_close_route=route if isinstance(route, str) else None,
            on_close_payload=body if isinstance(body, dict) else {},
        )


@dataclass(eq=False, slots=True)
class Session:
    """An open session; `entry` is its line in the books."""

    session_id: str
    auth_data: JsonObject
    terms: SessionTerms
    entry: Entry
    created_at: float
    expires_at: float
    allowance: Allowance = UNLIMITED  # of a key with limits
    key: str = ""  # the name of the key behind its ticket
    used: float = 0.0  # load of its requests so far
    asked: float = 0.0  # load that its requests asked for
    n_requests: int = 0
    at_work: set[Cancellable] = field(default_factory=set)

    def is_opened_by(self, auth_data: object) -> bool:
        """Whether `auth_data` is the ticket that opened this session."""
        signature = auth_data.get("signature") if isinstance(auth_data, dict) else None
        opened = self.auth_data["signature"]
        return (
            isinstance(signature, str)
            and isinstance(opened, str)
            and hmac.compare_digest(
                # From JSON and headers come half surrogates too, which plain UTF-8 refuses.
                signature.encode("utf-8", "surrogatepass"),
                opened.encode("utf-8", "surrogatepass"),
            )
        )

    @property
    def is_used_up(self) -> bool:
        """Whether its requests did all that its cost was for."""
        return self.used > self.entry.facts.cost * LOAD_PER_COST

    @property
    def ends_at(self) -> float:
        """When its key's quota or life ends it, whatever it does."""
        return self.allowance.ends_at

    @property
    def has_request_left(self) -> bool:
        """Whether its ticket is good for one more request."""
        return self.n_requests < (self.allowance.max_requests or math.inf)

    @property
    def load_left(self) -> float:
        """What its ticket is still good for."""
        return self.allowance.max_load - self.asked

    @property
    def is_busy(self) -> bool:
        """Whether as many are at work as its ticket allows."""
        return len(self.at_work) >= (self.allowance.max_at_once or math.inf)

    def end_with_key(self, now: float) -> None:
        """Its key is none any more: nothing is left of its ticket."""
        self.allowance = Allowance(max_load=0.0, ends_at=now)
        self.expires_at = min(self.expires_at, now)

    def take(self, load: float) -> None:
        """A request in it was let in that asks for so much."""
        self.asked += load
        self.n_requests += 1

    def book(self, load: float) -> None:
        """A request in it ended after so much load."""
        self.used += load

    def extend(self, now: float) -> None:
        """A request in a session keeps it open for its lifetime, within its whole life."""
        until = min(now + self.terms.lifetime_s, self.created_at + MAX_LIFETIME_S)
        self.expires_at = min(self.ends_at, max(self.expires_at, until))


class SessionTable:
    """The open sessions, at most `max_sessions` (0: unlimited)."""

    def __init__(self, max_sessions: int) -> None:
        self._max_sessions = max_sessions
        self._sessions: dict[str, Session] = {}
        self._n_told = 0

    @property
    def is_full(self) -> bool:
        """Whether one more would be too many."""
        return 0 < self._max_sessions <= len(self._sessions)

    def open(
        self,
        envelope: Envelope,
        terms: SessionTerms,
        entry: Entry,
        now: float,
        allowance: Allowance = UNLIMITED,
        key: str = "",
    ) -> Session:
        """A new session under an unguessable id."""
        session = Session(
            session_id=secrets.token_urlsafe(16),
            auth_data=envelope.auth_data,
            terms=terms,
            entry=entry,
            created_at=now,
            expires_at=min(now + terms.lifetime_s, allowance.ends_at),
            allowance=allowance,
            key=key,
        )
        self._sessions[session.session_id] = session
        return session

    def find(self, session_id: str) -> Session | None:
        """The open session with this id."""
        return self._sessions.get(session_id)

    def is_opener(self, auth_data: object) -> bool:
        """Whether this ticket opened one of the open sessions."""
        return any(session.is_opened_by(auth_data) for session in self._sessions.values())

    def close(self, session: Session) -> bool:
        """Take it out; False when somebody else did."""
        return self._sessions.pop(session.session_id, None) is not None

    def keys(self) -> list[str]:
        """Whose sessions are open: as many as one report takes, the next ones at the next call."""
        names = sorted({session.key for session in self._sessions.values() if session.key})
        if len(names) <= MAX_SESSION_KEYS:
            return names
        start = self._n_told % len(names)
        self._n_told += MAX_SESSION_KEYS
        return (names[start:] + names[:start])[:MAX_SESSION_KEYS]

    def end_keys(self, names: Collection[str], now: float) -> None:
        """End the sessions of these keys: no request more, and the sweep stops those at work."""
        for session in self._sessions.values():
            if session.key in names:
                session.end_with_key(now)

    def expired(self, now: float) -> list[Session]:
        """Open sessions whose time is over; one at work is left alone until its whole life is."""
        return [
            s
            for s in self._sessions.values()
            if (s.expires_at <= now and not s.at_work)
            or min(s.created_at + MAX_LIFETIME_S, s.ends_at) <= now
        ]

"""Whether a ticket lets a request in. Pure: `now` and the verifying key come as arguments.

Generation D (docs of `chalicelib.wire.ticket`): accepted once, only by the worker it names, only by
the boot it names, only until it expires. What is authentic but of no use here any more (expired,
another boot) gets 503, so that clients ask the control plane again; what is forged, altered, aimed
at another worker or used before gets 401.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from chalicelib.wire.ticket import Allowance, Claims, TicketError, split_signature

UNLIMITED = Allowance()

UNSURE_CLOCK_LEEWAY_S = 120.0
"""Tolerated difference to the server's clock before a report's reply has told its time."""
SYNCED_CLOCK_LEEWAY_S = 10.0
"""The same afterwards: one-way delay and drift between reports."""


class Verifier(Protocol):
    """Checks RSA signatures with the control plane's public key."""

    signature_size: int

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` over `message` is the control plane's."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerIdentity:
    """What a ticket must name to be for this worker process."""

    instance_id: int
    endpoint_id: int | None  # None: not known, not checked
    boot_id: str
    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Admitted:
    """An accepted ticket."""

    cost: float
    reqnum: int
    request_idx: int
    allowance: Allowance = UNLIMITED
    key: str = ""  # the caller's key by name; empty: the ticket names none


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a ticket was not accepted, and the HTTP status that says so."""

    status: int
    reason: str


_INVALID = Rejection(401, "the signature is not valid")


class Admission:
    """Remembers the tickets used by this process, each until it has expired for certain."""

    def __init__(self, identity: WorkerIdentity) -> None:
        self._identity = identity
        self._used: set[bytes] = set()
        self._forget_at: list[tuple[float, bytes]] = []
        self._forgotten_until = float("-inf")  # the latest expiry of a ticket that was forgotten

    @property
    def n_remembered(self) -> int:
        """Used tickets that might still come again."""
        return len(self._used)

    def admit(
        self, auth_data: Mapping[str, object], verifier: Verifier, now: float, leeway_s: float
    ) -> Admitted | Rejection:
        """Accept and use up the ticket in `auth_data`, or say why not."""
        found = self._checked(auth_data, verifier, now, leeway_s)
        if isinstance(found, Rejection):
            return found
        claims_blob, claims = found
        if claims.reads_log:
            return Rejection(401, "the ticket is for the model's log only")
        self._use(claims_blob, claims, now)
        return Admitted(
            cost=claims.cost,
            reqnum=claims.reqnum,
            request_idx=claims.request_idx,
            allowance=claims.allowance or UNLIMITED,
            key=claims.key,
        )

    def admit_reader(
        self, auth_data: Mapping[str, object], verifier: Verifier, now: float, leeway_s: float
    ) -> Rejection | None:
        """Why this is no ticket for the model's log; None if it is. It is used up."""
        found = self._checked(auth_data, verifier, now, leeway_s)
        if isinstance(found, Rejection):
            return found
        claims_blob, claims = found
        if not claims.reads_log:
            return Rejection(401, "the ticket is not for the model's log")
        self._use(claims_blob, claims, now)
        return None

    def peek(
        self, auth_data: Mapping[str, object], verifier: Verifier, now: float, leeway_s: float
    ) -> Rejection | None:
        """Why the ticket would not be accepted; None if it would. It stays unused."""
        found = self._checked(auth_data, verifier, now, leeway_s)
        return found if isinstance(found, Rejection) else None

    def _checked(
        self, auth_data: Mapping[str, object], verifier: Verifier, now: float, leeway_s: float
    ) -> tuple[bytes, Claims] | Rejection:
        authentic = authentic_claims(auth_data, verifier)
        if authentic is None:
            return _INVALID
        claims_blob, claims = authentic
        refusal = (
            _check_target(claims, self._identity)
            or _check_visible(claims, auth_data)
            or _check_validity(claims, self._identity, now, leeway_s)
        )
        if refusal:
            return refusal
        if claims.expires_at <= self._forgotten_until:
            return Rejection(503, "the ticket may have been used before; route again")
        if claims_blob in self._used:
            return Rejection(401, "the ticket was used before")
        return authentic

    def _use(self, blob: bytes, claims: Claims, now: float) -> None:
        # What is forgotten stays used: the server's time as we know it may go back by any amount.
        while self._forget_at and self._forget_at[0][0] < now - 2 * UNSURE_CLOCK_LEEWAY_S:
            self._forgotten_until, blob_used = heapq.heappop(self._forget_at)
            self._used.discard(blob_used)
        self._used.add(blob)
        heapq.heappush(self._forget_at, (claims.expires_at, blob))


def authentic_claims(
    auth_data: Mapping[str, object], verifier: Verifier
) -> tuple[bytes, Claims] | None:
    """The generation-D claims, as signed and as read, if the control plane signed them."""
    text = auth_data.get("signature")
    if not isinstance(text, str):
        return None
    try:
        blob, signature = split_signature(text, verifier.signature_size)
        if not verifier.verify(signature, blob):
            return None
        return blob, Claims.from_bytes(blob)
    except TicketError:
        return None


def _check_target(claims: Claims, identity: WorkerIdentity) -> Rejection | None:
    if claims.instance_id != identity.instance_id:
        return Rejection(401, "the ticket is for another worker")
    if identity.endpoint_id is not None and claims.endpoint_id != identity.endpoint_id:
        return Rejection(401, "the ticket is for another endpoint group")
    if claims.url != identity.url:
        return Rejection(401, "the ticket is for another address")
    return None


def _check_visible(claims: Claims, auth_data: Mapping[str, object]) -> Rejection | None:
    """Fields a client passes on must equal the claims; older clients leave some out."""
    for name in ("cost", "reqnum", "request_idx", "endpoint", "url"):
        if name in auth_data and not _equal(auth_data[name], getattr(claims, name)):
            return Rejection(401, f"{name} is not the one that was signed")
    return None


def _equal(visible: object, claimed: float | str) -> bool:
    """Equal as numbers or as strings: JavaScript clients rewrite 100.0 as 100."""
    if isinstance(visible, bool):
        return False
    if isinstance(claimed, str):
        return isinstance(visible, str) and visible == claimed
    return isinstance(visible, int | float) and visible == claimed


def _check_validity(
    claims: Claims, identity: WorkerIdentity, now: float, leeway_s: float
) -> Rejection | None:
    if claims.boot_id != identity.boot_id:
        return Rejection(503, "the ticket is for an earlier start of this worker; route again")
    if now > claims.expires_at + leeway_s:
        return Rejection(503, "the ticket has expired; route again")
    if now < claims.issued_at - leeway_s:
        return Rejection(503, "the ticket is not valid yet; route again")
    return None

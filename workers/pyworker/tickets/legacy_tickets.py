"""Tickets of generations A, B and C, accepted only while a fleet migrates (ACCEPT_TICKETS). Pure.

They bind less: C a url alone, A and B neither worker process nor time. So nothing older than D is
accepted by default, and what is accepted is still checked against this worker's own url.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from chalicelib.wire.ticket import MAX_COST, MAX_EXACT_INT, Ticket
from workers.pyworker.tickets.admission import Admitted, Rejection, Verifier

WINDOW = 4096
"""Request numbers remembered; anything further behind the highest is refused unseen."""


class LegacyAdmission:
    """Accepts the generations in `accepted`, letters out of A, B and C."""

    def __init__(self, accepted: frozenset[str], url: str) -> None:
        self._accepted = accepted
        self._url = url
        self._used: set[int] = set()
        self._highest = 0

    def admit(self, auth_data: Mapping[str, object], verifier: Verifier) -> Admitted | Rejection:
        """Accept the ticket, or say why not."""
        ticket, generation = self._checked(auth_data, verifier)
        if ticket is None or generation is None:
            return Rejection(401, "the signature is not valid")
        if ticket.url != self._url:
            return Rejection(401, "the ticket is for another address")
        if generation != "C":  # a C signature is the same for every request
            if ticket.reqnum in self._used or ticket.reqnum <= self._highest - WINDOW:
                return Rejection(401, "the ticket was used before")
            self._use(ticket.reqnum)
        return Admitted(
            cost=float(ticket.cost), reqnum=ticket.reqnum, request_idx=ticket.request_idx
        )

    def is_authentic(self, auth_data: Mapping[str, object], verifier: Verifier) -> bool:
        """Whether the ticket is the control plane's and for this address; it stays unused."""
        ticket, generation = self._checked(auth_data, verifier)
        return ticket is not None and generation is not None and ticket.url == self._url

    def _checked(
        self, auth_data: Mapping[str, object], verifier: Verifier
    ) -> tuple[Ticket | None, str | None]:
        ticket = _ticket(auth_data)
        return ticket, self._generation(ticket, auth_data.get("signature"), verifier)

    def _generation(
        self, ticket: Ticket | None, signature: object, verifier: Verifier
    ) -> str | None:
        if ticket is None or not isinstance(signature, str):
            return None
        try:
            raw = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError):
            return None
        texts = {
            "A": ticket.signed_bytes_a,
            "B": ticket.signed_bytes_b,
            "C": ticket.signed_bytes_c,
        }
        for generation in sorted(self._accepted & texts.keys()):
            if verifier.verify(raw, texts[generation]()):
                return generation
        return None

    def _use(self, reqnum: int) -> None:
        self._used.add(reqnum)
        self._highest = max(self._highest, reqnum)
        if len(self._used) > 2 * WINDOW:
            self._used = {used for used in self._used if used > self._highest - WINDOW}


def _ticket(auth_data: Mapping[str, object]) -> Ticket | None:
    """The visible fields; `request_idx` may be missing (clients of 2024)."""
    cost, reqnum = auth_data.get("cost"), auth_data.get("reqnum")
    idx = auth_data.get("request_idx", 0)
    endpoint, url = auth_data.get("endpoint"), auth_data.get("url")
    if not (isinstance(cost, int | float) and isinstance(reqnum, int) and isinstance(idx, int)):
        return None
    if not (0 <= cost <= MAX_COST and 0 <= reqnum < MAX_EXACT_INT and 0 <= idx < MAX_EXACT_INT):
        return None  # C signs none of these: what a report could not carry is no ticket
    if not (isinstance(endpoint, str) and isinstance(url, str)):
        return None
    return Ticket(cost=cost, endpoint=endpoint, reqnum=reqnum, request_idx=idx, url=url)

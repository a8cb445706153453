"""Forged, altered, expired and re-targeted tickets, to be tried on any worker."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from chalicelib.wire.ticket import Claims
from fakes.control_plane_server import TicketSigner

Ticket = dict[str, Any]


@dataclass(frozen=True)
class Office:
    """Signs good tickets for one worker."""

    good: Claims
    signer: TicketSigner

    def ticket(self, **changes: Any) -> Ticket:
        """A good ticket; changes are made to the claims before signing."""
        return self.signer.ticket(replace(self.good, **changes))

    def with_signature(self, signature: object) -> Ticket:
        """A good ticket with another signature field."""
        return {**self.ticket(), "signature": signature}


Make = Callable[[Office], Ticket]


@dataclass(frozen=True)
class Attack:
    """A ticket that must not be accepted, and the status that says so."""

    name: str
    make: Make
    status: int


def visible(**fields: object) -> Make:
    """A good ticket whose visible fields were altered on the way."""
    return lambda office: {**office.ticket(), **fields}


def claimed(**changes: Any) -> Make:
    """An authentic ticket with other claims."""
    return lambda office: office.ticket(**changes)


def dated(issued_s: float, expires_s: float) -> Make:
    """An authentic ticket of another time, in seconds from now."""

    def make(office: Office) -> Ticket:
        now = office.good.issued_at
        return office.ticket(issued_at=now + issued_s, expires_at=now + expires_s)

    return make


def resigned(**changes: Any) -> Make:
    """Good claims put together with the signature over other claims."""

    def make(office: Office) -> Ticket:
        blob = base64.b64decode(office.ticket()["signature"])[:-256]
        other = base64.b64decode(office.ticket(**changes)["signature"])[-256:]
        return office.with_signature(base64.b64encode(blob + other).decode())

    return make


def flipped(position: int) -> Make:
    """A good ticket with one byte of its signature field changed."""

    def make(office: Office) -> Ticket:
        raw = bytearray(base64.b64decode(office.ticket()["signature"]))
        raw[position] ^= 1
        return office.with_signature(base64.b64encode(bytes(raw)).decode())

    return make


def raw_signature(text: object) -> Make:
    return lambda office: office.with_signature(text)


def other_generation(*names: str) -> Make:
    """A signature of generation A or C, which binds less."""

    def make(office: Office) -> Ticket:
        ticket = office.ticket()
        text = json.dumps({name: ticket[name] for name in names}, indent=4)
        return office.with_signature(office.signer.sign_text(text.encode()))

    return make


def other_signer(office: Office) -> Ticket:
    return TicketSigner().ticket(office.good)


def truncated(office: Office) -> Ticket:
    raw = base64.b64decode(office.ticket()["signature"])
    return office.with_signature(base64.b64encode(raw[:-1]).decode())


def lengthened(office: Office) -> Ticket:
    """The claims blob with a byte more, signed by a forger's reading of the format."""
    blob = office.good.to_bytes()
    return office.with_signature(base64.b64encode(blob + b"x" + office.signer.sign(blob)).decode())


ATTACKS = [
    Attack("signed by another key", other_signer, 401),
    Attack("signature over other claims: cost", resigned(cost=1.0), 401),
    Attack("signature over other claims: reqnum", resigned(reqnum=987_654), 401),
    Attack("signature over other claims: expiry", resigned(expires_at=9e9), 401),
    Attack("first byte flipped", flipped(0), 401),
    Attack("cost byte flipped", flipped(4), 401),
    Attack("boot id byte flipped", flipped(30), 401),
    Attack("expiry byte flipped", flipped(60), 401),
    Attack("last byte flipped", flipped(-1), 401),
    Attack("signature cut short", truncated, 401),
    Attack("claims lengthened", lengthened, 401),
    Attack("no signature at all", raw_signature(None), 401),
    Attack("empty signature", raw_signature(""), 401),
    Attack("signature is a number", raw_signature(7), 401),
    Attack("signature is a list", raw_signature(["a"]), 401),
    Attack("not base64", raw_signature("%%%not base64%%%"), 401),
    Attack("not ASCII", raw_signature("sïgnature"), 401),
    Attack("a ticket for the log", claimed(reads_log=True), 401),
    Attack("only zeros", raw_signature(base64.b64encode(bytes(400)).decode()), 401),
    Attack("generation A text", other_generation("cost", "endpoint", "reqnum", "url"), 401),
    Attack("generation C text", other_generation("url"), 401),
    Attack("visible cost raised", visible(cost=1e9), 401),
    Attack("visible cost lowered", visible(cost=1), 401),
    Attack("visible cost as text", visible(cost="256"), 401),
    Attack("visible cost null", visible(cost=None), 401),
    Attack("visible cost NaN", visible(cost=float("nan")), 401),
    Attack("visible reqnum altered", visible(reqnum=987_654), 401),
    Attack("visible reqnum true", visible(reqnum=True), 401),
    Attack("visible request_idx altered", visible(request_idx=1), 401),
    Attack("visible endpoint altered", visible(endpoint="other"), 401),
    Attack("visible url altered", visible(url="https://203.0.113.9:1"), 401),
    Attack("for another worker", claimed(instance_id=4712), 401),
    Attack("for another group", claimed(endpoint_id=8), 401),
    Attack("for another address", claimed(url="https://203.0.113.10:41234"), 401),
    Attack("for another port", claimed(url="https://203.0.113.9:41235"), 401),
    Attack("for another boot", claimed(boot_id="00112233445566fe"), 503),
    Attack("expired", dated(-400, -121), 503),
    Attack("expired long ago", claimed(issued_at=0.0, expires_at=1.0), 503),
    Attack("from the future", dated(121, 500), 503),
]

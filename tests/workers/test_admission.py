"""Forged, replayed, altered, expired, re-targeted tickets, each beside an accepted control."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from chalicelib.wire.ticket import Claims
from fakes.control_plane_server import TicketSigner
from tests.wire.javascript import through_javascript
from workers.pyworker.admission import (
    SYNCED_CLOCK_LEEWAY_S,
    UNSURE_CLOCK_LEEWAY_S,
    Admission,
    Grant,
    Refusal,
    WorkerIdentity,
)
from workers.pyworker.signing_keys import RsaVerifier

NOW = 1_800_000_000.0
SIGNER = TicketSigner()
VERIFIER = RsaVerifier(SIGNER.public_pem)
IDENTITY = WorkerIdentity(
    instance_id=4711, endpoint_id=7, boot_id="00112233445566ff", url="https://203.0.113.9:41234"
)
GOOD = Claims(
    cost=256.0,
    endpoint="TGI-Llama3",
    endpoint_id=7,
    url=IDENTITY.url,
    reqnum=12,
    request_idx=4_500_000_000_000_001,
    instance_id=4711,
    boot_id=IDENTITY.boot_id,
    issued_at=NOW,
    expires_at=NOW + 60,
)
Ticket = dict[str, Any]


def good_ticket(**changes: Any) -> Ticket:
    return SIGNER.ticket(replace(GOOD, **changes))


def admit(admission: Admission, ticket: Ticket, now: float = NOW) -> Grant | Refusal:
    return admission.admit(ticket, VERIFIER, now, UNSURE_CLOCK_LEEWAY_S)


def visible(**fields: object) -> Callable[[], Ticket]:
    """A good ticket whose visible fields were altered on the way."""
    return lambda: {**good_ticket(), **fields}


def claimed(**changes: Any) -> Callable[[], Ticket]:
    """An authentic ticket with other claims."""
    return lambda: good_ticket(**changes)


def resigned(**changes: Any) -> Callable[[], Ticket]:
    """Good claims put together with the signature over other claims."""

    def make() -> Ticket:
        blob = base64.b64decode(good_ticket()["signature"])[:-256]
        other = base64.b64decode(good_ticket(**changes)["signature"])[-256:]
        return {**good_ticket(), "signature": base64.b64encode(blob + other).decode()}

    return make


def flipped(position: int) -> Callable[[], Ticket]:
    """A good ticket with one byte of its signature field changed."""

    def make() -> Ticket:
        raw = bytearray(base64.b64decode(good_ticket()["signature"]))
        raw[position] ^= 1
        return {**good_ticket(), "signature": base64.b64encode(bytes(raw)).decode()}

    return make


def raw_signature(text: object) -> Callable[[], Ticket]:
    return lambda: {**good_ticket(), "signature": text}


def other_generation(text: bytes) -> Callable[[], Ticket]:
    """A signature of generation A, B or C, which binds less."""
    return lambda: {**good_ticket(), "signature": SIGNER.sign_text(text)}


def other_signer() -> Ticket:
    return TicketSigner().ticket(GOOD)


def truncated() -> Ticket:
    raw = base64.b64decode(good_ticket()["signature"])
    return {**good_ticket(), "signature": base64.b64encode(raw[:-1]).decode()}


def lengthened() -> Ticket:
    """The claims blob with a byte more, signed by a forger's reading of the format."""
    blob = GOOD.to_bytes() + b"x"
    signature = base64.b64encode(blob + SIGNER.sign(GOOD.to_bytes())).decode()
    return {**good_ticket(), "signature": signature}


URL_JSON = json.dumps({"url": IDENTITY.url}, indent=4).encode()
A_JSON = json.dumps(
    {"cost": 256, "endpoint": "TGI-Llama3", "reqnum": 12, "url": IDENTITY.url}, indent=4
).encode()


@dataclass(frozen=True)
class Attack:
    """A ticket that must not be accepted, and the status that says so."""

    name: str
    make: Callable[[], Ticket]
    status: int
    at: float = NOW


ATTACKS = [
    Attack("signed by another key", other_signer, 401),
    Attack("signature over other claims: cost", resigned(cost=1.0), 401),
    Attack("signature over other claims: reqnum", resigned(reqnum=11), 401),
    Attack("signature over other claims: expiry", resigned(expires_at=NOW + 9e6), 401),
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
    Attack("only zeros", raw_signature(base64.b64encode(bytes(400)).decode()), 401),
    Attack("generation A text", other_generation(A_JSON), 401),
    Attack("generation C text", other_generation(URL_JSON), 401),
    Attack("visible cost raised", visible(cost=1e9), 401),
    Attack("visible cost lowered", visible(cost=1), 401),
    Attack("visible cost as text", visible(cost="256"), 401),
    Attack("visible cost null", visible(cost=None), 401),
    Attack("visible cost NaN", visible(cost=float("nan")), 401),
    Attack("visible reqnum altered", visible(reqnum=13), 401),
    Attack("visible reqnum true", visible(reqnum=True), 401),
    Attack("visible request_idx altered", visible(request_idx=1), 401),
    Attack("visible endpoint altered", visible(endpoint="other"), 401),
    Attack("visible url altered", visible(url="https://203.0.113.9:1"), 401),
    Attack("for another worker", claimed(instance_id=4712), 401),
    Attack("for another group", claimed(endpoint_id=8), 401),
    Attack("for another address", claimed(url="https://203.0.113.10:41234"), 401),
    Attack("for another port", claimed(url="https://203.0.113.9:41235"), 401),
    Attack("for another boot", claimed(boot_id="00112233445566fe"), 503),
    Attack("expired", claimed(issued_at=NOW - 400, expires_at=NOW - 121), 503),
    Attack("expired long ago", claimed(issued_at=0.0, expires_at=1.0), 503),
    Attack("from the future", claimed(issued_at=NOW + 121, expires_at=NOW + 500), 503),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_no_bad_ticket_is_accepted_and_the_good_one_is(attack: Attack) -> None:
    admission = Admission(IDENTITY)
    result = admit(admission, attack.make(), attack.at)
    assert isinstance(result, Refusal), attack.name
    assert result.status == attack.status, result
    # The control: a refused attempt uses nothing up.
    assert admit(admission, good_ticket()) == Grant(
        cost=256.0, reqnum=12, request_idx=GOOD.request_idx
    )


def test_a_ticket_is_accepted_once() -> None:
    admission = Admission(IDENTITY)
    assert isinstance(admit(admission, good_ticket()), Grant)
    for now in (NOW, NOW + 30, NOW + 179, NOW - 100):
        result = admit(admission, good_ticket(), now)
        assert result == Refusal(401, "the ticket was used before")


def test_a_used_ticket_stays_used_after_thousands_of_others() -> None:
    """A window of 100 messages, as older workers keep, would take it again."""
    admission = Admission(IDENTITY)
    admit(admission, good_ticket())
    for reqnum in range(13, 213):
        assert isinstance(admit(admission, good_ticket(reqnum=reqnum)), Grant)
    assert admit(admission, good_ticket()) == Refusal(401, "the ticket was used before")


def test_after_a_restart_no_ticket_of_the_earlier_boot_is_accepted() -> None:
    used, unused = good_ticket(), good_ticket(reqnum=13)
    admit(Admission(IDENTITY), used)
    restarted = Admission(replace(IDENTITY, boot_id="ffffffffffffffff"))
    for ticket in (used, unused):
        result = admit(restarted, ticket)
        assert isinstance(result, Refusal)
        assert result.status == 503
    assert isinstance(admit(restarted, good_ticket(boot_id="ffffffffffffffff")), Grant)


@pytest.mark.parametrize("skew_s", [-120.0, -60.0, 0.0, 60.0, 119.0])
def test_two_minutes_of_clock_skew_are_tolerated_and_change_no_refusal(skew_s: float) -> None:
    """The worker's clock is off by `skew_s`; the table's verdicts are the same or stricter."""
    assert isinstance(admit(Admission(IDENTITY), good_ticket(), NOW + skew_s), Grant)
    for attack in ATTACKS:
        if attack.status == 401:
            result = admit(Admission(IDENTITY), attack.make(), NOW + skew_s)
            assert isinstance(result, Refusal), attack.name
            assert result.status == 401, attack.name
    far_expired = good_ticket(issued_at=NOW - 900, expires_at=NOW - 300)
    assert isinstance(admit(Admission(IDENTITY), far_expired, NOW + skew_s), Refusal)


def test_once_the_servers_time_is_known_an_expired_ticket_is_refused_sharply() -> None:
    ticket = good_ticket()
    late = GOOD.expires_at + SYNCED_CLOCK_LEEWAY_S + 1
    result = Admission(IDENTITY).admit(ticket, VERIFIER, late, SYNCED_CLOCK_LEEWAY_S)
    assert result == Refusal(503, "the ticket has expired; route again")
    assert isinstance(admit(Admission(IDENTITY), ticket, late), Grant)


@pytest.mark.parametrize("cost", [256.0, 0.1 + 0.2, 1e-7, 123456.789, 2.0**53 - 1, 1e21, 1e300])
def test_a_ticket_survives_javascript_which_rewrites_numbers(cost: float) -> None:
    """256.0 comes back as 256, 1e-07 as 1e-7, 1e21 as 1e+21: equal numbers all the same."""
    ticket = through_javascript(good_ticket(cost=cost, request_idx=2**53 - 1))
    assert isinstance(ticket, dict)
    if cost == 256:
        assert isinstance(ticket["cost"], int)
    assert isinstance(admit(Admission(IDENTITY), ticket), Grant)


def test_a_client_of_2024_passes_five_fields() -> None:
    fields = ("signature", "cost", "endpoint", "reqnum", "url")
    ticket = {name: good_ticket()[name] for name in fields}
    assert isinstance(admit(Admission(IDENTITY), ticket), Grant)


def test_the_signature_alone_is_enough_and_unknown_fields_do_not_matter() -> None:
    signature = good_ticket()["signature"]
    assert isinstance(admit(Admission(IDENTITY), {"signature": signature}), Grant)
    extra = {"signature": signature, "__request_id": "u", "later": [1]}
    assert isinstance(admit(Admission(IDENTITY), extra), Grant)


def test_a_worker_that_does_not_know_its_group_leaves_that_check_out() -> None:
    unsure = replace(IDENTITY, endpoint_id=None)
    assert isinstance(admit(Admission(unsure), good_ticket(endpoint_id=8)), Grant)


def test_used_tickets_are_forgotten_only_when_they_have_expired_for_certain() -> None:
    admission = Admission(IDENTITY)
    admit(admission, good_ticket())
    later = NOW + 10_000
    for reqnum in (99, 100):
        fresh = good_ticket(reqnum=reqnum, issued_at=later, expires_at=later + 60)
        assert isinstance(admit(admission, fresh, later), Grant)
    assert admission.n_remembered == 2

"""Forged, replayed, altered, expired, re-targeted tickets, each beside an accepted control."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from chalicelib.wire.ticket import Claims
from fakes.control_plane_server import ControlPlaneServer, TicketSigner
from tests.wire.javascript import through_javascript
from tests.workers.attacks import ATTACKS, Attack, Office, Ticket
from tests.workers.world import world
from workers.pyworker.tickets.admission import (
    SYNCED_CLOCK_LEEWAY_S,
    UNSURE_CLOCK_LEEWAY_S,
    Admission,
    Admitted,
    Rejection,
    WorkerIdentity,
)
from workers.pyworker.tickets.signing_keys import RsaVerifier

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
REFUSED = {401, 422, 503}
NEVER_EXCUSED = [attack for attack in ATTACKS if attack.name not in ("expired", "from the future")]
"""Those two are two minutes and a second off: with skew in the right direction they are good."""
OFFICE = Office(GOOD, SIGNER)
good_ticket = OFFICE.ticket


def admit(admission: Admission, ticket: Ticket, now: float = NOW) -> Admitted | Rejection:
    return admission.admit(ticket, VERIFIER, now, UNSURE_CLOCK_LEEWAY_S)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_no_bad_ticket_is_accepted_and_the_good_one_is(attack: Attack) -> None:
    admission = Admission(IDENTITY)
    result = admit(admission, attack.make(OFFICE))
    assert isinstance(result, Rejection), attack.name
    assert result.status == attack.status, result
    # The control: a refused attempt uses nothing up.
    assert admit(admission, good_ticket()) == Admitted(
        cost=256.0, reqnum=12, request_idx=GOOD.request_idx
    )


def test_a_ticket_is_accepted_once() -> None:
    admission = Admission(IDENTITY)
    assert isinstance(admit(admission, good_ticket()), Admitted)
    for now in (NOW, NOW + 30, NOW + 179, NOW - 100):
        result = admit(admission, good_ticket(), now)
        assert result == Rejection(401, "the ticket was used before")


@pytest.mark.parametrize("ahead_s", [400.0, 3_600.0, 86_400.0, 1e9])
def test_a_clock_that_was_ahead_revives_no_used_ticket(ahead_s: float) -> None:
    """A reply that was an hour ahead, another ticket, and right again: the first was taken anew."""
    admission = Admission(IDENTITY)
    assert isinstance(admit(admission, good_ticket()), Admitted)
    later = {"issued_at": NOW + ahead_s, "expires_at": NOW + ahead_s + 60}
    assert isinstance(admit(admission, good_ticket(reqnum=13, **later), NOW + ahead_s), Admitted)
    assert isinstance(admit(admission, good_ticket(), NOW), Rejection)
    fresh = good_ticket(reqnum=14, issued_at=NOW + 61, expires_at=NOW + 121)
    assert isinstance(admit(admission, fresh, NOW + 61), Admitted)


def test_a_used_ticket_stays_used_after_thousands_of_others() -> None:
    """A window of 100 messages, as older workers keep, would take it again."""
    admission = Admission(IDENTITY)
    admit(admission, good_ticket())
    for reqnum in range(13, 213):
        assert isinstance(admit(admission, good_ticket(reqnum=reqnum)), Admitted)
    assert admit(admission, good_ticket()) == Rejection(401, "the ticket was used before")


def test_after_a_restart_no_ticket_of_the_earlier_boot_is_accepted() -> None:
    used, unused = good_ticket(), good_ticket(reqnum=13)
    admit(Admission(IDENTITY), used)
    restarted = Admission(replace(IDENTITY, boot_id="ffffffffffffffff"))
    for ticket in (used, unused):
        result = admit(restarted, ticket)
        assert isinstance(result, Rejection)
        assert result.status == 503
    assert isinstance(admit(restarted, good_ticket(boot_id="ffffffffffffffff")), Admitted)


@pytest.mark.parametrize("skew_s", [-120.0, -60.0, 0.0, 60.0, 119.0])
def test_two_minutes_of_clock_skew_are_tolerated_and_change_no_refusal(skew_s: float) -> None:
    """The worker's clock is off by `skew_s`; what skew cannot excuse is refused all the same."""
    assert isinstance(admit(Admission(IDENTITY), good_ticket(), NOW + skew_s), Admitted)
    for attack in NEVER_EXCUSED:
        result = admit(Admission(IDENTITY), attack.make(OFFICE), NOW + skew_s)
        assert isinstance(result, Rejection), attack.name
        assert result.status == attack.status, attack.name
    far_expired = good_ticket(issued_at=NOW - 900, expires_at=NOW - 300)
    assert isinstance(admit(Admission(IDENTITY), far_expired, NOW + skew_s), Rejection)


@pytest.mark.parametrize("skew_s", [-119.0, 0.0, 119.0])
async def test_over_http_no_bad_ticket_reaches_the_model_also_after_a_restart(
    tmp_path: Path, skew_s: float
) -> None:
    """The table against a running worker whose clock is off, each attack beside a control.

    What was tried is tried again after the restart, the controls too.
    """
    control_plane, tried = ControlPlaneServer(clock_offset_s=skew_s), list[Ticket]()
    for _ in range(2):
        async with world(tmp_path, control_plane=control_plane) as it:
            for old in tried:
                assert (await it.post(auth_data=old))[0] in REFUSED
            for attack in ATTACKS:
                now = time.time() + skew_s
                office = Office(
                    it.claims(issued_at=now, expires_at=now + 60), it.control_plane.signer
                )
                tried += [attack.make(office), office.ticket()]
                assert (await it.post(auth_data=tried[-2]))[0] in REFUSED, attack.name
                assert (await it.post(auth_data=tried[-1]))[0] == 200, attack.name
            assert len(it.model.bodies) == len(ATTACKS)


def test_once_the_servers_time_is_known_an_expired_ticket_is_refused_sharply() -> None:
    ticket = good_ticket()
    late = GOOD.expires_at + SYNCED_CLOCK_LEEWAY_S + 1
    result = Admission(IDENTITY).admit(ticket, VERIFIER, late, SYNCED_CLOCK_LEEWAY_S)
    assert result == Rejection(503, "the ticket has expired; route again")
    assert isinstance(admit(Admission(IDENTITY), ticket, late), Admitted)


@pytest.mark.parametrize("cost", [256.0, 0.1 + 0.2, 1e-7, 123456.789, 2.0**53 - 1, 1e21, 1e300])
def test_a_ticket_survives_javascript_which_rewrites_numbers(cost: float) -> None:
    """256.0 comes back as 256, 1e-07 as 1e-7, 1e21 as 1e+21: equal numbers all the same."""
    ticket = through_javascript(good_ticket(cost=cost, request_idx=2**53 - 1))
    assert isinstance(ticket, dict)
    if cost == 256:
        assert isinstance(ticket["cost"], int)
    assert isinstance(admit(Admission(IDENTITY), ticket), Admitted)


def test_a_client_of_2024_passes_five_fields() -> None:
    fields = ("signature", "cost", "endpoint", "reqnum", "url")
    ticket = {name: good_ticket()[name] for name in fields}
    assert isinstance(admit(Admission(IDENTITY), ticket), Admitted)


def test_the_signature_alone_is_enough_and_unknown_fields_do_not_matter() -> None:
    signature = good_ticket()["signature"]
    assert isinstance(admit(Admission(IDENTITY), {"signature": signature}), Admitted)
    extra = {"signature": signature, "__request_id": "u", "later": [1]}
    assert isinstance(admit(Admission(IDENTITY), extra), Admitted)


def test_a_worker_that_does_not_know_its_group_leaves_that_check_out() -> None:
    unsure = replace(IDENTITY, endpoint_id=None)
    assert isinstance(admit(Admission(unsure), good_ticket(endpoint_id=8)), Admitted)


def test_used_tickets_are_forgotten_only_when_they_have_expired_for_certain() -> None:
    admission = Admission(IDENTITY)
    admit(admission, good_ticket())
    later = NOW + 10_000
    for reqnum in (99, 100):
        fresh = good_ticket(reqnum=reqnum, issued_at=later, expires_at=later + 60)
        assert isinstance(admit(admission, fresh, later), Admitted)
    assert admission.n_remembered == 2

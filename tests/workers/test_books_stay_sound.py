"""No ticket, and no number of them, makes a worker's reports such that they are refused."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, fields

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.wire.reports import MAX_NUMBER, WorkerReport
from chalicelib.wire.ticket import MAX_COST
from fakes.control_plane_server import TicketSigner
from workers.pyworker.readiness import Readiness
from workers.pyworker.reporting.cache_window import CacheWindow
from workers.pyworker.reporting.load_ledger import Counters, LoadLedger, Outcome, RequestFacts
from workers.pyworker.reporting.messages import DiskUsage, Reporter, status_report
from workers.pyworker.tickets.admission import Admitted, Rejection
from workers.pyworker.tickets.legacy_tickets import LegacyAdmission
from workers.pyworker.tickets.signing_keys import RsaVerifier

URL = "https://203.0.113.9:41000"
SIGNER = TicketSigner()
VERIFIER = RsaVerifier(SIGNER.public_pem)
SIGNED_URL = json.dumps({"url": URL}, indent=4).encode()
NUMBERS = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=3),
    st.sampled_from([10**400, -(10**400), 1e308, -1e12, 2**53, 1e9, 0]),
)  # fmt: skip


def report(ledger: LoadLedger) -> WorkerReport:
    """What the control plane reads of a worker with these books."""
    reporter = Reporter(
        instance_id=7, boot_id="0" * 16, url=URL, master_token="t", certificate_sha256="", slots=1
    )
    body = status_report(
        reporter, Readiness(0.0), ledger, Counters(), 1, DiskUsage(1.0, 1.0), CacheWindow(), 0.0
    )
    return WorkerReport.from_json(json.dumps(body, allow_nan=False))


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_c_ticket_says_what_it_likes_and_the_report_is_still_taken(
    cost: object, reqnum: object, idx: object
) -> None:
    """C signs the url alone: 1e308 and -1e12 were booked, 10**400 was a 500."""
    signature = base64.b64encode(SIGNER.sign(SIGNED_URL)).decode()
    ticket = {
        "endpoint": "e", "url": URL, "cost": cost, "reqnum": reqnum, "request_idx": idx,
        "signature": signature,
    }  # fmt: skip
    result = LegacyAdmission(frozenset("C"), URL).admit(ticket, VERIFIER)
    if isinstance(result, Rejection):
        assert result.status == 401
        return
    assert isinstance(result, Admitted)
    assert 0 <= result.cost <= MAX_COST
    ledger = LoadLedger()
    facts = RequestFacts(
        request_idx=result.request_idx,
        reqnum=result.reqnum,
        cost=result.cost,
        workload=1.0,
        route="/generate",
    )
    ledger.leave(ledger.enter(facts, 0.0), Outcome.SERVED, 1.0)
    assert report(ledger).received_total == result.cost


def test_an_honest_c_ticket_is_taken() -> None:
    """Beside the refused ones: the property above does reach the books."""
    signature = base64.b64encode(SIGNER.sign(SIGNED_URL)).decode()
    ticket = {
        "endpoint": "e", "url": URL, "cost": 1e9, "reqnum": 1, "request_idx": 1,
        "signature": signature,
    }  # fmt: skip
    assert isinstance(LegacyAdmission(frozenset("C"), URL).admit(ticket, VERIFIER), Admitted)


@given(st.data())
def test_books_of_any_age_are_taken(data: st.DataObject) -> None:
    """A million tickets of 1e9 each: what has no more room stays at the bound."""
    ledger = LoadLedger()
    for field in fields(Counters):
        was = getattr(ledger.counters, field.name)
        if isinstance(was, float):
            setattr(ledger.counters, field.name, data.draw(st.floats(0, 1e300)))
    found = report(ledger)
    assert found.received_total == min(ledger.counters.received_load, MAX_NUMBER)
    assert all(value <= MAX_NUMBER for value in asdict(found).values() if isinstance(value, float))

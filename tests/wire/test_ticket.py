"""Tickets against golden vectors: what unmodified workers verify, and our own generation D."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.wire.ticket import (
    MAX_EXACT_INT,
    Allowance,
    Claims,
    Number,
    Ticket,
    TicketError,
    join_signature,
    split_signature,
    wire_number,
)
from tests.wire.javascript import through_javascript

GOLDEN = Path(__file__).parents[1] / "golden"
A_TO_C = json.loads((GOLDEN / "tickets.json").read_text())
D = json.loads((GOLDEN / "tickets_d.json").read_text())


def public_key(pem: str) -> RSAPublicKey:
    key = serialization.load_pem_public_key(pem.encode())
    assert isinstance(key, RSAPublicKey)
    return key


def signed_bytes(dialect: str, fields: dict[str, Any]) -> bytes:
    ticket = Ticket(
        cost=fields["cost"],
        endpoint=fields["endpoint"],
        reqnum=fields["reqnum"],
        request_idx=fields["request_idx"],
        url=fields["url"],
    )
    match dialect:
        case "A":
            return ticket.signed_bytes_a()
        case "B":
            return ticket.signed_bytes_b()
        case _:
            return ticket.signed_bytes_c()


@pytest.mark.parametrize("vector", A_TO_C["vectors"])
def test_signed_texts_are_those_that_workers_rebuild(vector: dict[str, Any]) -> None:
    text = signed_bytes(vector["dialect"], vector["reply_fields"])
    assert text.decode() == vector["signed_text"]
    public_key(A_TO_C["pubkey_pem"]).verify(
        base64.b64decode(vector["signature"]), text, padding.PKCS1v15(), hashes.SHA256()
    )


@pytest.mark.parametrize("vector", D["vectors"])
def test_bound_tickets_are_read_and_written_as_ever(vector: dict[str, Any]) -> None:
    claims = Claims(**vector["claims"])
    blob, signature = split_signature(vector["signature"], 256)
    assert claims.to_bytes() == blob
    assert Claims.from_bytes(blob) == claims
    assert join_signature(blob, signature) == vector["signature"]
    public_key(D["pubkey_pem"]).verify(signature, blob, padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (100.0, "100"),
        (100, "100"),
        (7.5, "7.5"),
        (0.1 + 0.2, "0.3"),
        (0, "0"),
        (100.000000001, "100"),
        (1e15, str(10**15)),
    ],
)
def test_numbers_have_the_form_that_javascript_and_python_share(value: float, text: str) -> None:
    number = wire_number(value)
    assert json.dumps(number) == text
    assert json.loads(json.dumps(number)) == number


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), MAX_EXACT_INT, 1e300])
def test_numbers_that_change_on_the_way_are_refused(value: float) -> None:
    with pytest.raises(TicketError):
        wire_number(value)


numbers = st.one_of(
    st.integers(0, 2**53 - 1), st.floats(min_value=0, max_value=1e9).map(wire_number)
)


@given(numbers)
def test_a_number_survives_a_round_trip_through_javascript(number: Number) -> None:
    passed_on = through_javascript(number)
    assert passed_on == number
    assert json.dumps(passed_on) == json.dumps(number)  # so workers of A and B sign the same text


claims = st.builds(
    Claims,
    cost=st.floats(min_value=0, max_value=1e9),
    endpoint=st.text(max_size=128),
    endpoint_id=st.integers(0, 2**53),
    url=st.text(max_size=64),
    reqnum=st.integers(0, 2**53),
    request_idx=st.integers(0, 2**53),
    instance_id=st.integers(0, 2**53),
    boot_id=st.binary(min_size=8, max_size=8).map(bytes.hex),
    issued_at=st.floats(min_value=0, max_value=1e10),
    expires_at=st.floats(min_value=0, max_value=1e10),
)


@given(claims)
def test_claims_come_back_as_they_were_packed(original: Claims) -> None:
    assert Claims.from_bytes(original.to_bytes()) == original


@given(claims, st.binary(min_size=1, max_size=8))
def test_claims_of_another_length_are_refused(original: Claims, more: bytes) -> None:
    for blob in (original.to_bytes() + more, original.to_bytes()[:-1], more):
        with pytest.raises(TicketError):
            Claims.from_bytes(blob)


@pytest.mark.parametrize("boot_id", ["", "0123", "g" * 16, "0" * 18])
def test_a_boot_id_is_sixteen_hex_digits(boot_id: str) -> None:
    good = Claims(**D["vectors"][0]["claims"])
    with pytest.raises(TicketError):
        replace(good, boot_id=boot_id).to_bytes()


@pytest.mark.parametrize("text", ["", "!", "AAAA", base64.b64encode(b"x" * 256).decode()])
def test_a_signature_that_holds_no_claims_is_refused(text: str) -> None:
    with pytest.raises(TicketError):
        split_signature(text, 256)


def test_a_ticket_for_the_log_is_of_another_kind_and_has_no_allowance() -> None:
    good = Claims(**D["vectors"][0]["claims"])
    log = replace(good, reads_log=True)
    assert Claims.from_bytes(log.to_bytes()) == log
    assert log.to_bytes()[3:] == good.to_bytes()[3:]
    assert not Claims.from_bytes(good.to_bytes()).reads_log
    with pytest.raises(TicketError):
        replace(log, allowance=Allowance(max_load=1.0)).to_bytes()


def test_an_allowance_is_signed_with_the_rest_and_changes_nothing_for_others() -> None:
    good = Claims(**D["vectors"][0]["claims"])
    allowance = Allowance(max_load=1.5, max_requests=1, max_at_once=2, ends_at=1_800_000_060.5)
    limited = replace(good, allowance=allowance)
    assert Claims.from_bytes(limited.to_bytes()) == limited
    assert Claims.from_bytes(good.to_bytes()).allowance is None
    assert limited.to_bytes()[3:-24] == good.to_bytes()[3:]
    endless = replace(good, allowance=Allowance())
    assert Claims.from_bytes(endless.to_bytes()) == endless
    for wrong in (
        limited.to_bytes()[:-1],
        limited.to_bytes() + b"x",
        b"BD1" + limited.to_bytes()[3:],
        b"BD2" + good.to_bytes()[3:],
        b"BD3" + good.to_bytes()[3:],
        b"BD3" + limited.to_bytes()[3:],
        b"BD3" + limited.to_bytes()[3:] + b"\0",
        b"BD4" + good.to_bytes()[3:],
    ):
        with pytest.raises(TicketError):
            Claims.from_bytes(wrong)


def test_the_name_of_a_key_is_signed_with_the_rest() -> None:
    good = Claims(**D["vectors"][0]["claims"])
    allowance = Allowance(max_load=1.5, max_requests=1)
    for limited in (replace(good, allowance=allowance), replace(good, allowance=Allowance())):
        named = replace(limited, key="e7-r-0123456789abcdef.3")
        assert Claims.from_bytes(named.to_bytes()) == named
        for wrong in (named.to_bytes()[:-1], named.to_bytes() + b"x"):
            with pytest.raises(TicketError):
                Claims.from_bytes(wrong)
    free = replace(good, key="a-r-1.1")
    assert Claims.from_bytes(free.to_bytes()) == replace(free, allowance=Allowance())
    with pytest.raises(TicketError, match="255"):
        replace(good, key="x" * 256).to_bytes()
    with pytest.raises(TicketError, match="no key"):
        replace(good, key="a-r-1.1", reads_log=True).to_bytes()

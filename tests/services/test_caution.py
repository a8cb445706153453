"""What an owner is asked and told before a change: one judgement for the command and the page."""

from __future__ import annotations

import pytest

from chalicelib.core.model.endpoint_group import EndpointGroup, ScalingParams
from chalicelib.core.money.account import Account
from chalicelib.services.owner.caution import (
    account_risks,
    moves_machines,
    must_ask,
    new_name,
    overruled,
    risks,
)

ACCOUNT = Account(
    caps_microusd_per_hour=5_000_000,
    caps_microusd_per_day=50_000_000,
    caps_microusd_per_month=500_000_000,
)


def said(*given: str, **params: object) -> list[str]:
    group = EndpointGroup(
        endpoint_id=1,
        name="llm",
        created_at=0.0,
        params=ScalingParams(**params),  # type: ignore[arg-type]
        given=given,
    )
    return overruled(group, ACCOUNT)


def test_a_groups_caps_above_the_accounts_are_named_each() -> None:
    assert said(max_usd_per_hour=5.0, max_usd_per_day=50.0, max_usd_per_month=500.0) == []
    assert said(max_usd_per_hour=5.1, max_usd_per_day=51.0, max_usd_per_month=501.0) == [
        "max_usd_per_hour: the account's cap of $5 an hour is lower",
        "max_usd_per_day: the account's cap of $50 a day is lower",
        "max_usd_per_month: the account's cap of $500 a month is lower",
    ]


def test_more_cold_workers_than_workers_are_named_if_the_owner_asked_for_them() -> None:
    assert said(cold_workers=5, max_workers=2) == []  # the default asks for nothing
    assert said("cold_workers", cold_workers=2, max_workers=2) == []
    (text,) = said("cold_workers", cold_workers=5, max_workers=2)
    assert text == "cold_workers: no more than max_workers (2) are kept, not 5"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"plan": {"actions": [{"action": "rent"}]}}, True),
        ({"plan": {"actions": [{"action": "stop"}]}}, True),
        ({"plan": {"actions": [], "refused": [{"cap": "cap_hour"}]}}, True),
        ({"plan": {"actions": [], "problems": ["Vast knows no template"]}}, True),
        ({"plan": {"actions": []}, "offers": {"n": 0}}, True),
        ({"plan": {"actions": []}, "offers": {"n": 3}}, False),
        ({"offers": None, "risks": ["max_workers 500"]}, True),
        ({"offers": None, "risks": [], "no_plan": "It costs nothing"}, False),
    ],
)
def test_what_rents_stops_risks_or_is_in_vain_waits_for_a_yes(
    found: dict[str, object], expected: bool
) -> None:
    assert must_ask(found) is expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"max_workers": 3}, True),
        ({"endpoint_state": "stopped"}, True),
        ({"frozen": False}, False),
        ({"queue_order": "fifo", "endpoint_name": "b"}, False),
        ({}, False),
    ],
)
def test_what_cannot_move_a_machine_is_not_planned(
    change: dict[str, object], expected: bool
) -> None:
    before = {"max_workers": 5, "endpoint_state": "active", "frozen": False, "queue_order": "x"}
    assert moves_machines(before, before | change) is expected


def test_many_machines_large_steps_and_caps_that_go_are_risks() -> None:
    before = {"max_workers": 5, "max_usd_per_hour": 1.0, "max_usd_per_day": 9.0}
    assert risks(before, before) == []
    assert risks({}, {"max_workers": 50, "max_usd_per_hour": 900.0}) == []
    assert risks(
        before, {"max_workers": 500, "max_usd_per_hour": 4.5, "max_usd_per_day": None}
    ) == [
        "max_workers 500: that many machines may be rented",
        "max_usd_per_hour 4.5: more than four times the present 1",
        "max_usd_per_day is removed: only the account's caps remain",
    ]
    caps = {"max_usd_per_hour": 5.0, "max_usd_per_day": 50.0}
    assert account_risks(caps, {"max_usd_per_hour": 5.5, "max_usd_per_day": 40.0}) == [
        "max_usd_per_hour $5 → $5.5: more may be spent"
    ]


def test_a_name_that_makes_a_group_is_told_with_the_near_one() -> None:
    assert "but 'TGI-Llama3'" in new_name("TGI-Lama3", ["TGI-Llama3", "b"])
    assert "but" not in new_name("images", ["TGI-Llama3"])

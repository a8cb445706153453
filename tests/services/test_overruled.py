"""What a stricter limit does not let happen is said before it is asked for."""

from __future__ import annotations

from chalicelib.core.model.endpoint_group import EndpointGroup, ScalingParams
from chalicelib.core.money.account import Account
from chalicelib.services.owner.preview import overruled

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

"""Every number that we read from Vast's rows, with whatever JSON can put in its place."""

from __future__ import annotations

import json
from dataclasses import fields
from math import isfinite

import pytest

from chalicelib.adapters.vast.client import VastMarketplace
from chalicelib.adapters.vast.http import VastAnswer
from chalicelib.adapters.vast.row_check import usable_offers
from chalicelib.adapters.vast.rows import RowError, parse_instance
from chalicelib.core.model.market import OFFER_BOUNDS, plausible_record
from chalicelib.ports.marketplace import (
    AmbiguousCreateError,
    CreateRequest,
    MarketplaceUnavailableError,
    RateLimitedError,
)
from fakes.ports.clock import ManualClock
from tests.evidence.vast_records import load_records

NOW = 1_700_000_000.0
DAY = 86_400.0
OFFER = {
    **next(r.body["offers"][0] for r in load_records() if r.id == "bid-search-answer"),
    **{"dph_total": 0.3, "min_bid": 0.1, "storage_cost": 0.2, "gpu_ram": 24_000, "dlperf": 90.0},
    **{"reliability": 0.99, "reliability2": 0.99, "inet_down": 800.0, "inet_down_cost": 0.002},
    **{"inet_up_cost": 0.002, "disk_space": 200.0, "direct_port_count": 50, "host_id": 4},
    **{
        "duration": 9e6,
        "end_date": NOW + 90 * DAY,
        "machine_id": 3,
        "id": 5,
        "num_gpus": 1,
        "is_bid": False,
    },
}
NO_NUMBERS: tuple[object, ...] = (
    float("nan"),
    float("inf"),
    float("-inf"),
    -1,
    -1e-9,
    1e30,
    10**400,
    True,
    "0.3",
    "٣",
    [],
)
IDS = ("id", "machine_id", "host_id")
NUMBERS = (
    *("dph_total", "storage_cost", "gpu_ram", "dlperf", "reliability2", "inet_down"),
    *("inet_down_cost", "inet_up_cost", "disk_space", "direct_port_count", "duration", "end_date"),
    "num_gpus",
)
INSTANCE = {
    **{"id": 7, "label": "x", "machine_id": 3, "host_id": 4, "num_gpus": 1, "gpu_name": "A100"},
    **{"dph_total": 0.5, "dph_base": 0.4, "is_bid": True, "storage_total_cost": 0.01},
    **{"start_date": NOW - DAY, "end_date": NOW + DAY, "reliability2": 0.9, "dlperf": 50.0},
    **{
        "inet_up_cost": 0.01,
        "inet_down_cost": 0.01,
        "disk_space": 40.0,
        "public_ipaddr": "8.8.8.8",
    },
}


@pytest.mark.parametrize("kind", ["on-demand", "bid"])
@pytest.mark.parametrize("name", [*NUMBERS, "min_bid"])
def test_an_offer_with_an_impossible_number_is_left_out_and_counted(name: str, kind: str) -> None:
    if name == "min_bid" and kind == "on-demand":
        return  # the other kind's price
    good = {**OFFER, "is_bid": kind == "bid"}
    if name == "duration":
        good["end_date"] = None  # which counts first
    for wrong in NO_NUMBERS:
        rows = [{**good, name: wrong}, good]
        found = usable_offers(rows, {"type": kind}, 40.0, NOW)
        assert (len(found), sum(found.left_out.values())) == (1, 1), (name, wrong)


@pytest.mark.parametrize("name", ["id", "machine_id"])
def test_an_offer_without_a_whole_id_is_left_out(name: str) -> None:
    for wrong in (*NO_NUMBERS, 1.5, None):
        found = usable_offers([{**OFFER, name: wrong}], {"type": "on-demand"}, 40.0, NOW)
        assert (len(found), sum(found.left_out.values())) == (0, 1), wrong


def test_what_an_offer_does_not_say_is_unknown_and_no_reason_against_it() -> None:
    silent = ("inet_down", "inet_up_cost", "dlperf", "duration", "end_date", "reliability2")
    row = {**OFFER, **dict.fromkeys(silent)}
    [offer] = usable_offers([row], {"type": "on-demand"}, 40.0, NOW)
    assert (offer.ends_at, offer.dlperf, offer.reliability) == (None, 0.0, 0.99)


@pytest.mark.parametrize("op", ["gt", "gte", "lt", "lte"])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), "nan", "much", True, 10**400])
def test_no_number_is_neither_more_nor_less_than_what_was_asked(op: str, wrong: object) -> None:
    rows = [{**OFFER, "cpu_ram": wrong}]
    found = usable_offers(rows, {"type": "on-demand", "cpu_ram": {op: 16_000}}, 40.0, NOW)
    assert dict(found.left_out) == {"cpu_ram": 1}


@pytest.mark.parametrize("name", sorted(INSTANCE.keys() - {"id"}))
def test_an_instance_stays_in_the_list_without_what_cannot_be_true(name: str) -> None:
    for wrong in (*NO_NUMBERS, None, "x" * 100_000):
        record = plausible_record(parse_instance({**INSTANCE, name: wrong}), NOW)
        for field in fields(record):
            value = getattr(record, field.name)
            least, most = OFFER_BOUNDS.get(field.name, (0.0, 2.0**53))
            if isinstance(value, int | float):
                assert isfinite(value), (name, wrong, field.name)
                assert min(least, 0.0) <= value <= most, (name, wrong, field.name)
            if isinstance(value, str):
                assert len(value) <= 400, (name, field.name)


def test_a_disks_price_is_told_by_its_sum_or_by_price_and_size_apart() -> None:
    """Both in record show-docs, the sum alone is missing in show-running-go."""
    apart = {**INSTANCE, "storage_cost": 0.12, "disk_space": 32.0}
    assert parse_instance(apart).storage_usd_per_hour == 0.01
    for unknown in (None, 0, -1, "x"):
        record = parse_instance({**apart, "storage_total_cost": unknown})
        assert record.storage_usd_per_hour == pytest.approx(0.12 * 32 / 720)


@pytest.mark.parametrize(
    "port", ["9" * 5_000, "٣٠٠٠", "-1", "65536", "0", "3e3", None, True, 3000.5]
)
def test_a_port_that_is_none_is_none(port: object) -> None:
    ports = {"3000/tcp": [{"HostPort": port}], "x" * 9_000: [{"HostPort": "1"}]}
    assert parse_instance({**INSTANCE, "ports": ports}).ports == {}


@pytest.mark.parametrize("wrong", [-1, True, 1.0, "7", 10**30, None])
def test_an_instance_without_a_whole_id_makes_the_listing_doubtful(wrong: object) -> None:
    with pytest.raises(RowError, match="id"):
        parse_instance({**INSTANCE, "id": wrong})


def answering(text: str, status: int = 200, **headers: str) -> VastMarketplace:
    """A marketplace whose every answer is this."""
    return VastMarketplace(
        url="https://console.vast.ai",
        api_key=lambda: "k",
        clock=ManualClock(NOW),
        send=lambda _request: VastAnswer(status, text, headers),
    )


def test_half_a_surrogate_pair_becomes_text_that_can_be_stored() -> None:
    row = {**INSTANCE, "status_msg": "a\ud800b", "gpu_name": "😀", "actual_status": "\udc00"}
    listing = answering(json.dumps({"instances": [row], "total_instances": 1})).list_instances()
    [record] = listing.instances
    assert (record.status_msg, record.gpu_name, record.actual_status) == ("a?b", "😀", "?")


@pytest.mark.parametrize("credit", ["NaN", "Infinity", "-1e30", "1e30", "1" + "0" * 400])
def test_credit_that_no_account_has_is_unknown(credit: str) -> None:
    with pytest.raises(MarketplaceUnavailableError, match="no amount of money"):
        answering(f'{{"credit": {credit}}}').account_credit_usd()


@pytest.mark.parametrize("contract", ["-7", "0", "true", "1.5", "1" + "0" * 30, "NaN"])
def test_a_contract_that_is_no_id_may_have_rented(contract: str) -> None:
    request = CreateRequest(offer_id=1, template_hash="abc", disk_gb=40.0, label="x", env={})
    for success in ("true", "false"):
        body = f'{{"success": {success}, "new_contract": {contract}}}'
        with pytest.raises(AmbiguousCreateError) as caught:
            answering(body).create_instance(request)
        assert caught.value.contract_id is None


@pytest.mark.parametrize(
    "told",
    [
        "Mon, 1 Jan 99999999999999999999 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        *("1" + "0" * 400, "-5", "NaN", "inf", "٣"),
    ],
)
def test_a_wait_that_vast_names_ends_within_minutes(told: str) -> None:
    with pytest.raises(RateLimitedError) as caught:
        answering("threshold=9999.0*99", 429, **{"Retry-After": told}).account_credit_usd()
    assert 0 < caught.value.retry_after_s <= 600.0

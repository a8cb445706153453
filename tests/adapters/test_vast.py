"""The adapter against a transport that answers anything."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
from hypothesis import given

from chalicelib.adapters.vast.client import VastMarketplace
from chalicelib.adapters.vast.http import NoAnswerError, VastAnswer, VastRequest
from chalicelib.ports.marketplace import (
    MarketplaceError,
    MarketplaceUnavailableError,
    RefusedError,
)
from fakes.ports.clock import ManualClock
from tests.adapters.vast_transport import CREATE, JSON, KEY, Transport, adapter, ok


def page(ids: Sequence[object], token: object = None, total: object = None) -> VastAnswer:
    """A page of the listing."""
    rows = [{"id": instance_id} for instance_id in ids]
    total = len(ids) if total is None else total
    return ok({"success": True, "instances": rows, "total_instances": total, "next_token": token})


def test_the_wire_form_of_a_create() -> None:
    transport = Transport(ok({"success": True, "new_contract": 7}))
    assert adapter(transport).create_instance(CREATE) == 7
    (request,) = transport.requests
    assert (request.method, request.url) == ("PUT", "https://console.vast.ai/api/v0/asks/55/")
    assert request.body == {
        "client_id": "me",
        "env": {"-p 3000:3000": "1"},
        "disk": 40.0,
        "label": "chat - 0123",
        "cancel_unavail": True,
        "force": False,
        "price": None,
        "template_hash_id": "abc",
    }


def test_the_wire_form_of_a_search() -> None:
    transport = Transport(ok({"offers": []}))
    adapter(transport).search_offers({"gpu_ram": {"gte": 23_000.0}}, disk_gb=16.0, limit=64)
    assert transport.requests[0].body == {
        "direct_port_count": {"gte": 1},
        "rented": {"eq": False},
        "gpu_ram": {"gte": 23_000.0},
        "rentable": {"eq": True},
        "order": [["dph_total", "asc"]],
        "type": "on-demand",
        "allocated_storage": 16.0,
        "limit": 64,
    }


def test_pages_are_asked_for_one_a_second() -> None:
    clock = ManualClock()
    transport = Transport(page([1, 2], "t1", 3), page([3], None, 3))
    market = VastMarketplace(
        url="https://console.vast.ai", api_key=lambda: KEY, clock=clock, send=transport
    )
    listing = market.list_instances()
    assert listing.is_complete
    assert [i.instance_id for i in listing.instances] == [1, 2, 3]
    assert [request.params.get("after_token") for request in transport.requests] == [None, "t1"]
    assert clock.slept_s >= 1.0
    assert listing.ended_at - listing.started_at == pytest.approx(clock.slept_s)


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ([VastAnswer(200, "")], "HTTP 200"),
        ([ok({})], "malformed"),
        ([ok([])], "HTTP 200"),
        ([ok({"success": False, "error": "deprecated_endpoint"})], "deprecated_endpoint"),
        ([VastAnswer(410, '{"error": "deprecated_endpoint"}')], "deprecated_endpoint"),
        ([VastAnswer(200, "<html></html>")], "HTTP 200"),
        ([VastAnswer(500, "oops")], "HTTP 500"),
        ([VastAnswer(302, "")], "HTTP 302"),
        ([NoAnswerError("GET: ReadTimeout")], "ReadTimeout"),
        ([page([1], "t"), NoAnswerError("GET: ReadTimeout")], "ReadTimeout"),
        ([page([1], "t", 2), ok({})], "malformed"),
        ([page([1], "t", 3), page([2], "t", 3)], "token_loop"),
        ([page([1], "t", 3), page([], "u", 3)], "token_loop"),
        ([page([1], "t", 2), page([1], None, 2)], "duplicate_id"),
        ([page([1, 1])], "duplicate_id"),
        ([page([1], None, 2)], "totals_disagree"),
        ([page([1], "t", 2), page([2], None, 30)], "totals_disagree"),
        ([page(["x"])], "malformed"),
        ([page([None])], "malformed"),
        ([page([True])], "malformed"),
        ([page([1], 5)], "malformed"),
        ([ok({"instances": [5], "total_instances": 1})], "malformed"),
        ([ok({"instances": {}, "total_instances": 0})], "malformed"),
        ([ok({"instances": []})], "malformed"),
        ([VastAnswer(429, "API requests too frequent")], "too frequent"),
    ],
)
def test_every_malformed_listing_is_doubt(
    answers: list[VastAnswer | NoAnswerError], problem: str
) -> None:
    listing = adapter(Transport(*answers)).list_instances()
    assert not listing.is_complete
    assert problem in listing.problem


@given(JSON)
def test_whatever_json_comes_as_a_listing_is_doubt_or_a_listing(body: object) -> None:
    """Nothing raises; complete means that a list and its total came."""
    listing = adapter(Transport(ok(body))).list_instances()
    if listing.is_complete:
        assert isinstance(body, dict)
        assert len(body["instances"]) == len(listing.instances)


def test_an_offer_that_cannot_be_used_spoils_no_other() -> None:
    good = {"id": 1, "machine_id": 2, "gpu_name": "RTX 4090", "num_gpus": 1, "dph_total": 0.5}
    bad: list[dict[str, object]] = [
        {**good, "id": None},
        {**good, "dph_total": "cheap"},
        {**good, "gpu_name": " "},
        {},
    ]
    offers = adapter(Transport(ok({"offers": [*bad, good]}))).search_offers({}, disk_gb=1, limit=9)
    assert [offer.offer_id for offer in offers] == [1]


def test_no_error_shows_the_key(caplog: pytest.LogCaptureFixture) -> None:
    transport = Transport(VastAnswer(401, '{"error": "auth_error"}'), NoAnswerError("GET: x"))
    market = adapter(transport)
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            with pytest.raises(MarketplaceError) as caught:
                market.account_credit_usd()
            assert KEY not in f"{caught.value!r} {caught.value.__context__!r}"
    assert transport.requests[0].api_key == KEY
    assert KEY not in caplog.text + repr(transport.requests)


def test_logs_are_fetched_without_the_key() -> None:
    """The result lies on another host, which must never see it."""
    url = "https://logs.example/1"
    transport = Transport(ok({"success": True, "result_url": url}), VastAnswer(404, ""), ok("text"))
    assert adapter(transport).instance_logs(7) == '"text"'
    assert [request.api_key for request in transport.requests] == [KEY, "", ""]
    assert [request.url for request in transport.requests][1:] == [url, url]


@pytest.mark.parametrize("url", [None, "", "http://169.254.169.254/", "file:///etc/passwd", 5])
def test_logs_are_fetched_from_nowhere_odd(url: object) -> None:
    transport = Transport(ok({"success": True, "result_url": url}))
    with pytest.raises(MarketplaceUnavailableError, match="result_url"):
        adapter(transport).instance_logs(7)
    assert len(transport.requests) == 1


def test_logs_that_never_come_are_given_up() -> None:
    transport = Transport(ok({"result_url": "https://logs.example/1"}), VastAnswer(404, ""))
    with pytest.raises(MarketplaceUnavailableError, match="not ready"):
        adapter(transport).instance_logs(7)


@pytest.mark.parametrize(
    "url",
    ["http://console.vast.ai", "https://a/b", "https://u:p@a", "ftp://a", "", "http://127.0.0.1"],
)
def test_the_key_goes_nowhere_but_to_https_or_this_machine(url: str) -> None:
    with pytest.raises(ValueError, match="marketplace URL"):
        VastMarketplace(url=url, api_key=lambda: KEY, clock=ManualClock())


@pytest.mark.parametrize(
    "row", [{"id": 1, "hash_id": "abc", "extra_filters": "{"}, {"hash_id": "abc"}]
)
def test_a_template_that_cannot_be_read_is_named(row: dict[str, object]) -> None:
    with pytest.raises(RefusedError, match="bad_template"):
        adapter(Transport(ok({"templates": [row]}))).find_template("abc")


def test_another_template_than_asked_for_is_not_taken() -> None:
    row = {"id": 1, "hash_id": "other"}
    assert adapter(Transport(ok({"templates": [row]}))).find_template("abc") is None


@pytest.mark.parametrize("body", [{}, {"credit": "1"}, {"credit": True}, {"credit": None}])
def test_credit_that_is_no_number_is_unknown(body: object) -> None:
    with pytest.raises(MarketplaceUnavailableError):
        adapter(Transport(ok(body))).account_credit_usd()


@pytest.mark.parametrize("row", [5, {"label": "no id"}])
def test_an_instance_that_cannot_be_read_is_unknown(row: object) -> None:
    with pytest.raises(MarketplaceUnavailableError):
        adapter(Transport(ok({"instances": row}))).find_instance(7)


def test_a_batch_that_fails_says_so_and_the_others_go_on() -> None:
    done, failed = ok({"success": True}), VastAnswer(500, "")
    outcomes = adapter(Transport(done, failed, done)).destroy_instances(range(1, 131))
    assert [bool(outcomes[i]) for i in (1, 64, 65, 128, 129, 130)] == [
        *(False, False),
        *(True, True),
        *(False, False),
    ]


def test_a_listing_ends_at_its_deadline_and_says_so() -> None:
    """A page that takes long must not outlive the function: the rest of the round is lost too."""
    clock = ManualClock()
    pages = iter(range(1_000))

    def slow(_request: VastRequest) -> VastAnswer:
        clock.advance(10.0)
        page = next(pages)
        body = {"instances": [{"id": page + 1}], "total_instances": 900, "next_token": f"t{page}"}
        return ok(body)

    vast = VastMarketplace(
        url="https://console.vast.ai", api_key=lambda: "k", clock=clock, send=slow
    )
    began_at = clock.now()
    listing = vast.list_instances()
    assert not listing.is_complete
    assert "deadline" in listing.problem
    assert clock.now() - began_at < 60.0

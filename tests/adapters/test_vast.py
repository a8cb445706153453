"""The adapter against a transport that answers anything: no doubt passes as knowledge."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.adapters.vast import VastMarketplace
from chalicelib.adapters.vast_errors import refusal
from chalicelib.adapters.vast_http import NoAnswerError, VastAnswer, VastRequest
from chalicelib.core.pacing import Verb
from chalicelib.ports.marketplace import (
    AmbiguousCreateError,
    CreateRequest,
    MarketplaceError,
    MarketplaceUnavailableError,
    OfferGoneError,
    RateLimitedError,
    RefusedError,
)
from fakes.clock import ManualClock

KEY = "vast-key-canary"
CREATE = CreateRequest(
    offer_id=55, label="chat · 0123", template_hash="abc", disk_gb=40.0, env={"-p 3000:3000": "1"}
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


class Transport:
    """Answers from a list, the last one for ever; remembers the requests."""

    def __init__(self, *answers: VastAnswer | NoAnswerError) -> None:
        self._answers = list(answers)
        self.requests: list[VastRequest] = []

    def __call__(self, request: VastRequest) -> VastAnswer:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, NoAnswerError):
            raise answer
        return answer


def adapter(transport: Callable[[VastRequest], VastAnswer]) -> VastMarketplace:
    return VastMarketplace(
        url="https://console.vast.ai", api_key=lambda: KEY, clock=ManualClock(), send=transport
    )


def ok(body: object) -> VastAnswer:
    return VastAnswer(200, json.dumps(body))


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
        "label": "chat · 0123",
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
    assert listing.ended_at - listing.started_at == clock.slept_s


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
        ([page([1], "t", 2), page([2], None, 3)], "totals_disagree"),
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


@given(
    st.sampled_from(list(Verb)), st.integers(100, 599), st.text(max_size=40) | JSON.map(json.dumps)
)
def test_every_answer_means_a_success_or_one_of_the_ports_errors(
    verb: Verb, status: int, text: str
) -> None:
    """An error of a create that is not plainly a refusal is ambiguous."""
    error = refusal(verb, status, text, 1e9)
    assert error is None or isinstance(error, MarketplaceError)
    if error is None:
        assert 200 <= status < 300
    if verb is Verb.CREATE and (status >= 500 or status < 200):
        assert isinstance(error, AmbiguousCreateError)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (VastAnswer(404, '{"error": "no_such_ask"}'), OfferGoneError),
        (VastAnswer(410, '{"error": "no_such_ask"}'), OfferGoneError),
        (VastAnswer(410, "gone"), OfferGoneError),
        (VastAnswer(400, '{"error": "no_such_ask"}'), OfferGoneError),
        (ok({"success": False, "error": "no_such_ask"}), OfferGoneError),
        (VastAnswer(400, '{"error": "invalid_args", "msg": "x"}'), RefusedError),
        (VastAnswer(404, '{"error": "invalid_args", "msg": "no template"}'), RefusedError),
        (VastAnswer(401, '{"error": "auth_error"}'), RefusedError),
        (VastAnswer(403, "no"), RefusedError),
        (VastAnswer(429, "API requests too frequent"), RateLimitedError),
        (VastAnswer(408, ""), AmbiguousCreateError),
        (VastAnswer(502, "<html>"), AmbiguousCreateError),
        (VastAnswer(200, "<html>"), AmbiguousCreateError),
        (VastAnswer(200, ""), AmbiguousCreateError),
        (VastAnswer(302, ""), AmbiguousCreateError),
        (ok({"success": True}), AmbiguousCreateError),
        (ok({"success": True, "new_contract": "7"}), AmbiguousCreateError),
        (ok({"success": False}), AmbiguousCreateError),
        (NoAnswerError("PUT: ReadTimeout"), AmbiguousCreateError),
    ],
)
def test_what_answers_to_a_create_mean(
    answer: VastAnswer | NoAnswerError, expected: type[MarketplaceError]
) -> None:
    transport = Transport(answer)
    with pytest.raises(expected) as caught:
        adapter(transport).create_instance(CREATE)
    assert type(caught.value) is expected
    assert len(transport.requests) == 1, "a create is sent once"


def test_a_refused_create_names_its_contract() -> None:
    transport = Transport(
        ok({"success": False, "error": "resources_unavailable", "new_contract": 9})
    )
    with pytest.raises(AmbiguousCreateError) as caught:
        adapter(transport).create_instance(CREATE)
    assert caught.value.contract_id == 9


@pytest.mark.parametrize(
    ("text", "least_s"),
    [
        ("API requests too frequent: endpoint threshold=4.5", 12.0),
        ("API requests too frequent", 12.0),
        ('{"detail": "slow down"}', 12.0),
    ],
)
def test_a_429_names_a_time_though_vast_does_not(text: str, least_s: float) -> None:
    with pytest.raises(RateLimitedError) as caught:
        adapter(Transport(VastAnswer(429, text))).create_instance(CREATE)
    assert caught.value.retry_after_s >= least_s


def test_a_used_up_search_quota_waits_for_midnight() -> None:
    transport = Transport(VastAnswer(429, '{"error": "search_quota_exceeded"}'))
    with pytest.raises(RateLimitedError) as caught:
        adapter(transport).search_offers({}, disk_gb=16.0, limit=1)
    assert caught.value.retry_after_s == 86_400.0 - 1_800_000_000.0 % 86_400.0


def test_a_queued_start_is_a_refusal() -> None:
    transport = Transport(ok({"success": False, "error": "resources_unavailable"}))
    with pytest.raises(RefusedError) as caught:
        adapter(transport).start_instance(7)
    assert caught.value.code == "resources_unavailable"


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

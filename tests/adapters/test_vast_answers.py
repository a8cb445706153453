"""What answers of Vast mean, above all those to a create: no doubt passes as knowledge."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.adapters.vast.errors import refusal
from chalicelib.adapters.vast.http import NoAnswerError, VastAnswer
from chalicelib.core.fleet.pacing import Verb
from chalicelib.ports.marketplace import (
    AmbiguousCreateError,
    MarketplaceError,
    OfferGoneError,
    RateLimitedError,
    RefusedError,
)
from tests.adapters.vast_transport import CREATE, JSON, Transport, adapter, ok


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
    with pytest.raises(
        RateLimitedError, match=r"^search: search_quota_exceeded; Vast is asked again at 00:00 UTC$"
    ) as caught:
        adapter(transport).search_offers({}, disk_gb=16.0, limit=1)
    assert caught.value.retry_after_s == 86_400.0 - 1_800_000_000.0 % 86_400.0


def test_a_queued_start_is_a_refusal() -> None:
    transport = Transport(ok({"success": False, "error": "resources_unavailable"}))
    with pytest.raises(RefusedError) as caught:
        adapter(transport).start_instance(7)
    assert caught.value.code == "resources_unavailable"


@pytest.mark.parametrize(
    ("headers", "waits_s"),
    [
        ({"Retry-After": "45"}, 45.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:45 GMT"}, 45.0),
        ({"Retry-After": "Fri, 15 Jan 2027 07:00:00 GMT"}, 1.0),  # past: the verb's own interval
        ({"Retry-After": "soon"}, 1.0),
        ({"Retry-After": "-5"}, 1.0),
        ({"Retry-After": "999999"}, 600.0),
        ({}, 1.0),
    ],
)
def test_a_wait_is_read_in_either_form_of_the_standard(
    headers: dict[str, str], waits_s: float
) -> None:
    error = refusal(Verb.LIST, 429, "", 1_800_000_000.0, headers)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_s == waits_s


@pytest.mark.parametrize("reset", ["1800003600", "1800003600000", "3600"])
def test_the_end_of_a_quota_is_read_as_epoch_milliseconds_or_wait(reset: str) -> None:
    for body in (
        '{"error": "search_quota_exceeded"}',
        '{"error": "invalid_args", "msg": "error 429/12: search_quota_exceeded rows used up"}',
    ):
        error = refusal(Verb.SEARCH, 429, body, 1_800_000_000.0, {"X-RateLimit-Reset": reset})
        assert isinstance(error, RateLimitedError)
        assert error.retry_after_s == 3_600.0


@pytest.mark.parametrize(
    ("verb", "status", "body", "waits_s"),
    [
        (Verb.SEARCH, 400, {"error": "invalid_args", "msg": "error 429/12: search_quota_exceeded"},
         43_200.0),
        (Verb.SEARCH, 403, {"success": False, "error": "search_quota_exceeded"}, 43_200.0),
        (Verb.SEARCH, 200, {"success": False, "msg": "search_quota_exceeded"}, 43_200.0),
        (Verb.LIST, 403, {"detail": "API requests too frequent: endpoint threshold=9.0"}, 9.0),
        (Verb.LIST, 200, {"success": False, "error": "x", "retry_after": 7,
                          "msg": "error 429/3: API requests too frequent"}, 7.0),
        (Verb.CREATE, 400, {"error": "invalid_args", "msg": "error 429/1: slow down"}, 12.0),
    ],
)  # fmt: skip
def test_a_limit_is_one_under_whatever_status_it_is_told(
    verb: Verb, status: int, body: dict[str, object], waits_s: float
) -> None:
    """Vast gives codes of their own a general `error`, and another status: create-gone-400-live."""
    error = refusal(verb, status, json.dumps(body), 1_800_014_400.0)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_s == waits_s


def test_a_quota_that_names_its_wait_is_not_waited_for_till_midnight() -> None:
    error = refusal(
        Verb.SEARCH,
        429,
        '{"error": "search_quota_exceeded"}',
        1_800_014_400.0,
        {"Retry-After": "300"},
    )
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_s == 300.0

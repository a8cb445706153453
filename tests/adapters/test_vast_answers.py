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
    with pytest.raises(RateLimitedError) as caught:
        adapter(transport).search_offers({}, disk_gb=16.0, limit=1)
    assert caught.value.retry_after_s == 86_400.0 - 1_800_000_000.0 % 86_400.0


def test_a_queued_start_is_a_refusal() -> None:
    transport = Transport(ok({"success": False, "error": "resources_unavailable"}))
    with pytest.raises(RefusedError) as caught:
        adapter(transport).start_instance(7)
    assert caught.value.code == "resources_unavailable"

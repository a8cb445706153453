"""What stops service, or lets spending begin, is asked first; `--yes` is for scripts."""

from __future__ import annotations

import pytest

from fakes.console.server import Console
from tests.ballast.cli.conftest import Ballast


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("pause", "TGI-Llama3"),
            "It serves nobody until it is resumed: 3 ready workers will drain",
        ),
        (("pause", "12", "--autogroup"), "It gets no new requests, and nothing is rented for it"),
        (("promote", "12"), "It gets all requests"),
        (("panic", "--clear"), "Groups rent and scale again"),
    ],
)
def test_what_stops_service_or_lets_spending_begin_is_asked_first(
    ballast: Ballast, console: Console, words: tuple[str, ...], said: str
) -> None:
    result = ballast(*words)
    assert result.code == 6
    assert said in result.err
    assert "add --yes" in result.err
    assert not [call for call in console.calls if call.method != "GET"]


def test_unfreezing_shows_what_it_would_rent_and_asks_only_where_it_would(
    ballast: Ballast, console: Console
) -> None:
    plan = {
        "actions": [
            {"action": "start", "instance_id": 21000001, "sentence": "3 requests wait.",
             "once_usd": 0.0}
        ],
        "usd_per_hour_now": 0.1, "usd_per_hour_after": 0.5, "worst_first_hour_usd": 0.5,
    }  # fmt: skip
    console.answers["/api/v0/preview"] = {"plan": plan, "must_ask": True}
    asked = ballast("unfreeze")
    assert asked.code == 6
    assert "instance 21000001" in asked.err
    assert "$0.500/h after" in asked.err
    assert console.sent("POST", "/api/v0/preview") == [{"unfreeze": True}]
    assert not console.sent("POST", "/api/v0/freeze")
    assert ballast("unfreeze", "TGI-Llama3", "--yes").code == 0
    assert console.sent("POST", "/api/v0/preview")[1:] == [{"unfreeze": True, "endpoint_id": 7}]
    assert console.sent("POST", "/api/v0/freeze") == [{"frozen": False, "endpoint_id": 7}]

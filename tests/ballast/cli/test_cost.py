"""Before it costs: what would be rented is shown with its price, then asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ballast.cli.terminal.cost import update_lines
from chalicelib.core.scaling.reasons import CAP_NAMES
from fakes.console.server import Console

Ballast = Callable[..., Any]  # runs the command in this process, see conftest.py

RENT = {
    "action": "rent",
    "offer": {"gpu_type": "1x RTX 4090", "machine_id": 55, "usd_per_hour": 0.41},
    "sentence": "A test of this hardware.",
    "worst_usd_per_hour": 0.45,
    "once_usd": 0.2,
}
PREVIEW = {
    "plan": {
        "actions": [RENT],
        "refused": [{**RENT, "cap": "group_cap_hour", "cap_name": CAP_NAMES["group_cap_hour"]}],
        "notes": [],
        "usd_per_hour_now": 0.1,
        "usd_per_hour_after": 0.51,
        "worst_first_hour_usd": 0.71,
        "once_usd": 0.2,
        "caps": [
            {"cap": "cap_hour", "cap_name": CAP_NAMES["cap_hour"], "usd": 5.0, "used_usd": 4.5}
        ],
    },
    "offers": {"n": 12, "cheapest_usd_per_hour": 0.34, "dearest_usd_per_hour": 0.61},
    "usd_per_hour_idle": [0.01, 0.02],
    "usd_per_hour_max": 1.83,
    "warnings": ["Vast knows no template '6f0c'"],
}
CREATE = ["create", "autogroup", "--endpoint_name", "TGI-Llama3", "--template_hash", "6f0c"]


def test_a_create_shows_offers_first_hour_idle_cost_caps_and_warnings_and_asks(
    ballast: Ballast, console: Console
) -> None:
    console.answers["/api/v0/preview"] = PREVIEW
    result = ballast(*CREATE)
    assert result.code == 6
    for words in (
        "1x RTX 4090, machine 55", "$0.410", "first hour at most $0.71", "$0.20 of it to download",
        "refused: rent 1x RTX 4090, machine 55: needs $0.450/h more than the group's "
        "max_usd_per_hour leaves",
        "12 offers now, $0.340 to $0.610", "$0.010 to $0.020 an hour", "never more than $1.83",
        "Caps leave: $0.50 of $5.00 (the account's dollars per hour)",
        "! Vast knows no template '6f0c'", "add --yes",
    ):  # fmt: skip
        assert words in result.err, words
    assert console.sent("POST", "/api/v0/autojobs/") == []
    assert ballast(*CREATE, "--yes").code == 0
    assert len(console.sent("POST", "/api/v0/autojobs/")) == 1


def test_bids_are_shown_beside_what_the_machine_costs_on_demand(
    ballast: Ballast, console: Console
) -> None:
    offer = {**RENT["offer"], "is_bid": True, "bid_usd_per_hour": 0.2}  # type: ignore[dict-item]
    rent = {**RENT, "offer": {**offer, "on_demand_usd_per_hour": 0.4}}
    console.answers["/api/v0/preview"] = {
        **PREVIEW,
        "plan": {**PREVIEW["plan"], "actions": [rent]},  # type: ignore[dict-item]
        "bids": {"n": 3, "cheapest_usd_per_hour": 0.17, "dearest_usd_per_hour": 0.3},
    }
    shown = ballast(*CREATE, "--dry-run").err
    for words in (
        "1x RTX 4090, machine 55, bid $0.200 ($0.400 on demand)",
        "Interruptible: 3 offers, least bids with disk $0.170 to $0.300 an hour",
    ):
        assert words in " ".join(shown.split()), words


@pytest.mark.parametrize(
    "words",
    [
        [*CREATE, "--dry-run"],
        ["update", "endpoint", "TGI-Llama3", "--max_workers", "30", "--dry-run"],
        ["update", "autogroup", "11", "--template_hash", "new", "--dry-run"],
        ["update", "workers", "11", "--dry-run"],
    ],
)
def test_a_dry_run_shows_and_does_nothing(
    ballast: Ballast, console: Console, words: list[str]
) -> None:
    console.answers["/api/v0/preview"] = PREVIEW
    result = ballast(*words)
    assert result.code == 0
    assert "Nothing was done" in result.out
    paths = {call.path for call in console.calls if call.method in ("POST", "PUT")}
    assert paths <= {"/api/v0/preview", "/get_endpoint_workers/"}
    assert ballast(*words, "--json").json()["plan"]["actions"] == [RENT]


def test_the_server_judges_what_is_asked_and_a_no_of_an_older_one_is_no_yes(
    ballast: Ballast, console: Console
) -> None:
    console.answers["/api/v0/preview"] = PREVIEW | {"must_ask": True, "risks": ["a slip?"]}
    stops = ["update", "endpoint", "TGI-Llama3", "--max_workers", "0"]
    refused = ballast(*stops)
    assert refused.code == 6
    assert "a slip?; Make this change?" in " ".join(refused.err.split())
    assert ballast("update", "account", "--max_usd_per_hour", "1").code == 6
    assert ballast("update", "workers", "11").code == 6
    assert ballast("resume", "TGI-Llama3").code == 6
    console.answers["/api/v0/preview"] = PREVIEW  # an older deployment does not judge
    assert ballast(*stops).code == 6
    console.answers["/api/v0/preview"] = {"offers": None, "must_ask": False}
    assert ballast(*stops).code == 0
    assert ballast("update", "account", "--max_usd_per_hour", "1").code in (0, 1)
    (sent,) = console.sent("PUT", "/api/v0/account/")
    assert isinstance(sent, dict)
    assert (sent["max_usd_per_hour"], sent["expected"]["max_usd_per_hour"]) == (1.0, 5.0)


def test_where_no_price_is_to_be_had_it_says_so_and_asks(
    ballast: Ballast, console: Console
) -> None:
    console.refusals["/api/v0/preview"] = (502, "Vast does not answer")
    result = ballast(*CREATE)
    assert result.code == 6
    assert "cannot be told now" in result.err
    assert "Vast does not answer" in result.err
    console.refusals["/api/v0/preview"] = (400, "gpu_ram: 9e9 is out of bounds")
    assert ballast(*CREATE, "--yes").code == 1


def test_an_apply_asks_with_the_price_of_every_autogroup(
    ballast: Ballast, console: Console, tmp_path: Any
) -> None:
    console.answers["/api/v0/preview"] = PREVIEW
    path = tmp_path / "group.yaml"
    path.write_text(
        "endpoint_name: new\nmax_usd_per_hour: 1\nautogroups:\n"
        "  - {template_hash: a}\n  - {template_hash: b}\n"
    )
    result = ballast("apply", "-f", str(path))
    assert result.code == 6
    assert result.err.count("first hour at most") == 2
    asked = console.sent("POST", "/api/v0/preview")
    assert [one["autogroup"]["template_hash"] for one in asked] == ["a", "b"]
    assert all(one["endpoint"]["max_usd_per_hour"] == 1 for one in asked)


def test_an_update_says_where_nobody_can_come_first() -> None:
    assert len(update_lines(2, 0, ["idle", "stopped"], 5)) == 1
    assert "replace without a gap" in update_lines(2, 0, ["idle", "stopped"], 2)[-1]
    assert "wait for a first load" in update_lines(1, 1, ["stopped", "stopped"], 5)[-1]
    assert len(update_lines(0, 0, [], 5)) == 1, "there is nobody who could go"

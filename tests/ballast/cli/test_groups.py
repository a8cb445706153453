"""Groups, autogroups, keys: the seed's lines; only what is given is sent; values are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fakes.console.server import Console

Ballast = Callable[..., Any]  # runs the command in this process, see conftest.py

SEED_ENDPOINT = (
    "create endpoint --endpoint_name TGI-Llama3 --cold_mult 1.0 --min_load 100 "
    "--target_util 0.9 --max_workers 20 --cold_workers 5"
)


def test_the_seeds_line_creates_its_endpoint_with_just_these_values(
    ballast: Ballast, console: Console
) -> None:
    console.endpoints.clear()
    result = ballast(*SEED_ENDPOINT.split())
    assert result.code == 0
    assert console.sent("POST", "/api/v0/endptjobs/") == [
        {
            "endpoint_name": "TGI-Llama3",
            "cold_mult": 1.0,
            "min_load": 100.0,
            "target_util": 0.9,
            "max_workers": 20,
            "cold_workers": 5,
        }
    ]
    assert "Created endpoint TGI-Llama3 (id 1)" in result.out
    assert "target_util" in result.out


def test_dashes_and_underscores_are_the_same(ballast: Ballast, console: Console) -> None:
    assert ballast("create", "endpoint", "--endpoint-name", "a", "--max-workers", "2").code == 0
    assert ballast("create", "endpoint", "--endpoint_name", "b", "--max_workers", "2").code == 0
    first, second = console.sent("POST", "/api/v0/endptjobs/")
    assert first | {"endpoint_name": "b"} == second


def test_a_name_much_like_that_of_a_group_is_asked_about_and_any_other_makes_one(
    ballast: Ballast, console: Console
) -> None:
    words = ("create", "autogroup", "--endpoint_name", "TGI-Lama3", "--template_hash", "6f0c")
    refused = ballast(*words)
    assert refused.code == 6
    assert "no endpoint group 'TGI-Lama3'" in refused.err
    assert console.sent("POST", "/api/v0/autojobs/") == []
    ballast(*words, "--yes")
    new = ("create", "autogroup", "--endpoint_name", "images", "--template_hash", "6f0c")
    assert "there is no endpoint group 'images'; a new one would be made" in ballast(*new).err
    ballast(*new, "--yes")
    assert len(console.sent("POST", "/api/v0/autojobs/")) == 2


def test_the_seeds_line_creates_its_autogroup(ballast: Ballast, console: Console) -> None:
    words = "create autogroup --endpoint_name TGI-Llama3 --template_hash 6f0c --test_workers 5"
    result = ballast(*words.split(), "--yes")
    assert result.code == 0
    assert console.sent("POST", "/api/v0/autojobs/") == [
        {"endpoint_name": "TGI-Llama3", "template_hash": "6f0c", "test_workers": 5}
    ]
    assert "from the template" in result.out


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("create endpoint", "--endpoint-name"),
        ("create endpoint --endpoint_name a --min_load much", "'much' is no number"),
        ("create endpoint --endpoint_name a --min_lode 5", "Did you mean"),
        ("create autogroup --template_hash x", "--endpoint_name NAME"),
        ("create autogroup --endpoint_name x", "--template_hash HASH"),
        ("update endpoint TGI-Llama3", "nothing to change"),
        ("update endpoint TGI-Llama3 --schedule 8am", "CRON;DURATION;MIN_LOAD"),
        ("update endpoint TGI-Llama3 --schedule 0;10y;5", "write 90, 90s, 30m"),
        ("rollout TGI-Llama3 110", "110"),
        ("logs", "one of NAME"),
        ("shwo endpoint", "No such command 'shwo'"),
    ],
)
def test_a_wrong_line_names_the_fix_sends_nothing_and_ends_with_2(
    ballast: Ballast, console: Console, words: str, hint: str
) -> None:
    result = ballast(*words.split())
    assert result.code == 2
    assert hint in result.err
    assert [call for call in console.calls if call.method != "GET"] == []


def test_show_lists_all_and_never_shows_a_key(ballast: Ballast) -> None:
    for words in ("show endpoint", "show endpoints", "show endpoint TGI-Llama3", "show endpoint 7"):
        for extra in ((), ("--json",)):
            result = ballast(*words.split(), *extra)
            assert result.code == 0
            assert "TGI-Llama3" in result.out
            assert "secret" not in result.out
    for words in ("show autogroup", "show workergroups", "show autogroup 11"):
        result = ballast(*words.split(), "--json")
        assert result.code == 0
        assert "secret" not in result.out


def test_show_autogroup_tells_how_far_the_exploration_is(
    ballast: Ballast, console: Console
) -> None:
    console.autogroups[11]["exploration"] |= {"phase": "exploring", "n_loaded": 1, "n_needed": 2}
    for words in ("show autogroups", "show autogroup 11"):
        assert "1 of 2 needed test workers have loaded" in ballast(*words.split()).out
    del console.autogroups[11]["exploration"]  # a deployment of an older version
    assert ballast("show", "autogroup", "11").code == 0


def test_update_sends_only_the_change_and_shows_what_is_in_force(
    ballast: Ballast, console: Console
) -> None:
    result = ballast("update", "endpoint", "TGI-Llama3", "--target_util", "0.8")
    assert result.code == 0
    assert console.sent("PUT", "/api/v0/endptjobs/7/") == [{"target_util": 0.8, "revision": 4}]
    assert "0.8" in result.out


def test_schedules_and_automatic_again(ballast: Ballast, console: Console) -> None:
    words = ("update", "endpoint", "TGI-Llama3", "--unset", "target_util")
    assert ballast(*words, "--schedule", "0 8 * * mon-fri;10h;200").code == 0
    [body] = console.sent("PUT", "/api/v0/endptjobs/7/")
    assert body["unset"] == ["target_util"]
    assert body["schedules"] == [
        {"cron": "0 8 * * mon-fri", "duration_s": 36_000.0, "min_load": 200.0}
    ]


@pytest.mark.parametrize(
    "change",
    [
        ("--cold_workers", "500"),
        ("--max_usd_per_hour", "100"),
        ("--unset", "max_usd_per_hour"),
    ],
)
def test_what_could_cost_much_is_asked_first(
    ballast: Ballast, console: Console, change: tuple[str, str]
) -> None:
    """T20: without a terminal there is nobody to say yes, so nothing is done."""
    refused = ballast("update", "endpoint", "TGI-Llama3", *change)
    assert refused.code == 6
    assert "--yes" in refused.err
    assert console.sent("PUT", "/api/v0/endptjobs/7/") == []
    assert ballast("update", "endpoint", "TGI-Llama3", *change, "--yes").code == 0


def test_delete_asks_first(ballast: Ballast, console: Console) -> None:
    assert ballast("delete", "autogroup", "12").code == 6
    assert 12 in console.autogroups
    assert ballast("delete", "autogroup", "12", "--yes").code == 0
    assert 12 not in console.autogroups


def test_unknown_names_list_what_there_is(ballast: Ballast) -> None:
    result = ballast("workers", "Tgi")
    assert result.code == 1
    assert "known endpoints: TGI-Llama3" in result.err


def test_a_name_with_terminal_codes_cannot_steer_the_terminal(
    ballast: Ballast, console: Console
) -> None:
    console.status["groups"][0]["endpoint_name"] = "\x1b]0;owned\x07[red]x[/red]"
    result = ballast("status")
    assert "\x1b" not in result.out
    assert "[red]x[/red]" in result.out


def test_keys_are_shown_once_and_revoked_after_a_question(
    ballast: Ballast, console: Console
) -> None:
    row = {"key_id": "e7-r-abc", "name": "shop", "verbs": ["route"], "endpoint_name": "TGI-Llama3"}
    console.answers |= {
        "/api/v0/keys/": {"key": "blk.e7-r-abc.1.mac", "result": row, "results": [row]},
        "/api/v0/keys/e7-r-abc/": {"result": row},
    }
    made = ballast(
        "create", "key", "--name", "shop", "--endpoint_name", "TGI-Llama3", "--expires_in", "30d"
    )
    assert made.out.startswith("blk.e7-r-abc.1.mac")
    assert console.sent("POST", "/api/v0/keys/") == [
        {
            "name": "shop",
            "endpoint_name": "TGI-Llama3",
            "expires_in_s": 2_592_000.0,
            "verbs": ["route"],
        }
    ]
    assert "blk." not in ballast("show", "keys").out
    assert ballast("update", "key", "e7-r-abc").code == 2
    assert ballast("update", "key", "e7-r-abc", "--rotate").code == 0
    assert console.sent("PUT", "/api/v0/keys/e7-r-abc/") == [{"rotate": True}]
    limits = ("--max_requests_per_s", "5", "--unset", "max_concurrent", "--expires_in", "1d")
    assert ballast("update", "key", "e7-r-abc", *limits).code == 0
    assert console.sent("PUT", "/api/v0/keys/e7-r-abc/")[1:] == [
        {"max_requests_per_s": 5.0, "expires_in_s": 86_400.0, "unset": ["max_concurrent"]}
    ]
    assert ballast("update", "key", "e7-r-abc", "--rotate", *limits).code == 2
    assert ballast("delete", "key", "e7-r-abc").code == 6
    assert ballast("delete", "key", "e7-r-abc", "--yes").code == 0


def test_account_caps_are_shown_and_changed(ballast: Ballast, console: Console) -> None:
    console.answers["/api/v0/account/"] = {}
    assert "$50.00" in ballast("show", "account").out
    assert ballast("update", "account", "--max_usd_per_day", "40").code == 0
    [sent] = console.sent("PUT", "/api/v0/account/")
    assert sent.pop("expected")["max_usd_per_day"] == 50.0  # those that were shown
    assert sent == {"max_usd_per_day": 40.0}
    assert ballast("update", "account", "--max_usd_per_day", "60").code == 6  # nothing is above it
    assert ballast("update", "account", "--max_usd_per_day", "60", "--yes").code == 0

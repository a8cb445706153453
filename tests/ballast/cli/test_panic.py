"""`ballast panic` at the deployment: it ends well only where a list of Vast's proves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fakes.console.server import Console
from tests.ballast.cli.test_operating import ADOPT

Ballast = Callable[..., Any]  # runs the command in this process, see conftest.py

NOT_PROVED = "no list of Vast's that can be trusted proved it"


def test_panic_asks_waits_for_zero_and_says_so(ballast: Ballast, console: Console) -> None:
    console.answers["/api/v0/panic"] = {"n_instances": 3}
    assert ballast("panic").code == 6
    console.status["groups"][0]["n_workers"] = 0
    result = ballast("panic", "--yes")
    assert result.code == 0
    assert "No instance is left" in result.out
    assert console.sent("POST", "/api/v0/panic") == [{"confirm": "destroy everything"}]


@pytest.mark.parametrize(
    ("inventory", "is_looking", "words"),
    [
        ({"state": "none", "at": None}, False, NOT_PROVED),  # never
        ({"state": "known"}, False, NOT_PROVED),  # a list of before
        ({"state": "unknown"}, True, NOT_PROVED),
        ({"n_strays": 2}, True, "2 instances run under our label, but in no book of ours"),
    ],
)
def test_a_panic_proves_nothing_by_no_list_an_old_one_or_with_machines_nobody_can_judge(
    ballast: Ballast, console: Console, inventory: dict[str, Any], is_looking: bool, words: str
) -> None:
    console.answers["/api/v0/panic"] = {"n_instances": 0}
    for group in console.status["groups"]:
        group["n_workers"] = 0
    console.status["account"]["inventory"] |= inventory
    console.is_looking = is_looking
    result = ballast("panic", "--yes", "--timeout", "0")
    assert result.code == 5
    assert words in result.err


def test_a_panic_ends_by_naming_what_the_owner_has_not_confirmed(
    ballast: Ballast, console: Console
) -> None:
    console.answers["/api/v0/panic"] = {"n_instances": 1}
    console.answers["/api/v0/adopt"] = {"instances": ADOPT}
    for group in console.status["groups"]:
        group["n_workers"] = 0
    console.status["groups"][0]["n_workers"] = 1
    result = ballast("panic", "--yes")
    assert result.code == 5
    assert "1 instance is left" in result.err
    assert "ballast adopt" in result.err
    assert console.sent("POST", "/api/v0/adopt") == [{"instance_ids": [42], "ours": True}]

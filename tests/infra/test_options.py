"""What the deploy asks its owner, and what it does not ask again."""

from __future__ import annotations

import io

import pytest

from infra.bootstrap import FIRST_CAPS, Caps
from infra.options import ask_caps, ask_mail, parse


def answer(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Type these lines."""
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_caps_are_asked_for_and_an_empty_answer_takes_the_small_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, "2.5", "", "90")
    assert ask_caps(Caps()) == Caps(usd_per_hour=2.5, usd_per_day=50.0, usd_per_month=90.0)
    assert "most usd per day [50]" in capsys.readouterr().out


def test_a_cap_that_was_given_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "3", "30")
    given = parse(["--ask", "--max-usd-per-month", "40"])
    assert given.complete_caps(given.caps) == Caps(
        usd_per_hour=3.0, usd_per_day=30.0, usd_per_month=40.0
    )


def test_an_answer_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "a lot")
    with pytest.raises(ValueError, match="a lot"):
        ask_caps(Caps())


def test_without_ask_nothing_is_asked_and_the_defaults_are_small() -> None:
    given = parse(["--stage", "prod"])
    assert given.complete_caps(given.caps) == FIRST_CAPS
    assert given.vast_key is None


def test_without_a_terminal_nobody_is_asked_for_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch)
    assert ask_mail() == ""
    assert parse(["--ask"]).mail is ask_mail
    assert parse([]).mail is None

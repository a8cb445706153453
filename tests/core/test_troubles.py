"""The one list of troubles: told once, ended once, worst first, and never a kind without words."""

from __future__ import annotations

from pathlib import Path

import pytest

from chalicelib.core.fleet.troubles import (
    MEANINGS,
    LastingTrouble,
    Severity,
    Trouble,
    TroubleKind,
    begun_and_ended,
    lasting,
    standing,
    with_action,
)

ROOT = Path(__file__).parents[2]


def trouble(kind: TroubleKind, scope: str = "account", subject: str = "") -> Trouble:
    return Trouble(kind=kind, scope=scope, message=f"{kind} at {scope}", subject=subject)


def test_every_kind_has_its_meaning() -> None:
    assert set(MEANINGS) == set(TroubleKind)
    assert all(meaning.title for meaning in MEANINGS.values())


@pytest.mark.parametrize("kind", list(TroubleKind))
def test_every_kind_says_what_to_do_and_has_its_section_in_the_runbook(kind: TroubleKind) -> None:
    action = MEANINGS[kind].action
    told = with_action(trouble(kind))
    assert action
    assert told.message == f"{kind} at account; {action}"
    assert with_action(told) == told, "what the words say already is not said twice"
    (remembered,) = lasting({}, [told], 0.0).values()
    path, _, anchor = remembered.runbook.partition("#")
    _, _, rest = (ROOT / path).read_text(encoding="utf-8").partition(f"\n## {anchor}\n")
    section, _, _ = rest.partition("\n## ")
    assert "**Means.**" in section
    assert "**Do.**" in section


def test_a_trouble_is_told_when_it_matters_and_ended_once() -> None:
    kind = TroubleKind.NO_OFFERS
    matters_s = MEANINGS[kind].matters_after_s
    told: list[tuple[str, bool, float]] = []
    memory: dict[str, LastingTrouble] = {}
    for now in (10.0, 40.0, 71.0, 80.0, 100.0, 110.0, 1000.0):
        found = [trouble(kind, "autogroup:1")] if now < 100.0 else []
        after = lasting(memory, found, now)
        told += [(t.kind, begins, now) for t, begins in begun_and_ended(memory, after)]
        memory = after
    assert told == [(kind.value, True, 10.0 + matters_s + 1.0), (kind.value, False, 100.0)]


def heard_of(kind: TroubleKind, minutes: list[bool]) -> list[tuple[bool, int]]:
    """(begins, minute) of what is told of a trouble that a round a minute finds, or does not."""
    told: list[tuple[bool, int]] = []
    memory: dict[str, LastingTrouble] = {}
    for minute, is_found in enumerate(minutes):
        now = 60.0 * minute
        after = lasting(memory, [trouble(kind)] if is_found else [], now)
        told += [(begins, minute) for _, begins in begun_and_ended(memory, after)]
        assert {t.kind for t in standing(after, now)} <= ({kind.value} if is_found else set())
        memory = after
    return told


def test_what_comes_and_goes_adds_up_and_is_told_twice_at_most() -> None:
    kind = TroubleKind.INVENTORY_UNKNOWN  # matters after five minutes
    assert heard_of(kind, [True] * 6) == [(True, 5)]
    flapping = heard_of(kind, [minute % 2 == 0 for minute in range(40)] + [False] * 10)
    assert flapping == [(True, 10), (False, 11), (True, 12), (False, 44)]
    one_in_three = heard_of(kind, [minute % 3 == 0 for minute in range(40)])
    assert one_in_three[0] == (True, 15)


def test_what_needs_no_patience_is_told_at_once_and_twice_at_most() -> None:
    kind = TroubleKind.CAP_REACHED
    flapping = heard_of(kind, [minute % 2 == 0 for minute in range(40)] + [False] * 10)
    assert flapping == [(True, 0), (False, 1), (True, 2), (False, 44)]


def test_one_bad_minute_in_fifteen_is_never_told() -> None:
    kind = TroubleKind.INVENTORY_UNKNOWN
    assert heard_of(kind, [minute % 15 == 0 for minute in range(200)]) == []


def test_a_clock_that_was_ahead_neither_hides_a_trouble_nor_keeps_it() -> None:
    kind = TroubleKind.NO_OFFERS
    ahead = lasting({}, [trouble(kind)], 1e6)
    back = lasting(ahead, [trouble(kind)], 100.0)
    assert standing(back, 100.0 + MEANINGS[kind].matters_after_s)
    gone = lasting(lasting(ahead, [], 1e6 + 60.0), [], 100.0)
    for now in (160.0, 700.0):
        gone = lasting(gone, [], now)
    assert not gone


def test_what_passes_before_it_matters_is_never_told() -> None:
    before = lasting({}, [trouble(TroubleKind.WILL_NOT_GO, "endpoint:1", "77")], 0.0)
    assert not list(begun_and_ended(before, {}))


def test_troubles_of_a_group_are_its_own_its_autogroups_and_the_accounts_worst_first() -> None:
    found = [
        trouble(TroubleKind.STRAY_MACHINES),
        trouble(TroubleKind.BREAKER_OPEN, "autogroup:5"),
        trouble(TroubleKind.BREAKER_OPEN, "autogroup:6"),
        trouble(TroubleKind.CAP_REACHED, "endpoint:1"),
        trouble(TroubleKind.CAP_REACHED, "endpoint:2"),
    ]
    memory = lasting({}, found, 0.0)
    names = [(t.kind, t.scope) for t in standing(memory, 1e4, endpoint_id=1, autogroup_ids=[5])]
    assert names == [
        ("breaker_open", "autogroup:5"),
        ("cap_reached", "endpoint:1"),
        ("stray_machines", "account"),
    ]
    assert len(standing(memory, 1e4)) == len(found)


def test_a_trouble_of_another_version_warns() -> None:
    future = LastingTrouble(kind="moon_phase", scope="account", since=0.0, message="new moon")
    assert future.severity is Severity.WARN
    assert standing({"moon_phase|account": future}, 1.0) == [future]

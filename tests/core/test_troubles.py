"""The one list of troubles: told once, ended once, worst first, and never a kind without words."""

from __future__ import annotations

from chalicelib.core.fleet.troubles import (
    MEANINGS,
    LastingTrouble,
    Severity,
    Trouble,
    TroubleKind,
    begun_and_ended,
    lasting,
    standing,
)


def trouble(kind: TroubleKind, scope: str = "account", subject: str = "") -> Trouble:
    return Trouble(kind=kind, scope=scope, message=f"{kind} at {scope}", subject=subject)


def test_every_kind_has_its_meaning() -> None:
    assert set(MEANINGS) == set(TroubleKind)
    assert all(meaning.title for meaning in MEANINGS.values())


def test_a_trouble_is_told_when_it_matters_and_ended_once() -> None:
    kind = TroubleKind.NO_OFFERS
    matters_s = MEANINGS[kind].matters_after_s
    told: list[tuple[str, bool, float]] = []
    memory: dict[str, LastingTrouble] = {}
    last_at = 0.0
    for now in (10.0, 40.0, 71.0, 80.0, 100.0, 110.0):
        found = [trouble(kind, "autogroup:1")] if now < 100.0 else []
        after = lasting(memory, found, now)
        told += [
            (t.kind, begins, now) for t, begins in begun_and_ended(memory, after, last_at, now)
        ]
        memory, last_at = after, now
    assert told == [(kind.value, True, 10.0 + matters_s + 1.0), (kind.value, False, 100.0)]


def test_what_passes_before_it_matters_is_never_told() -> None:
    before = lasting({}, [trouble(TroubleKind.WILL_NOT_GO, "endpoint:1", "77")], 0.0)
    assert not list(begun_and_ended(before, {}, 100.0, 200.0))


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

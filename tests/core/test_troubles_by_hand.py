"""The list of troubles at its edges: when each matters, ends, is remembered, and is told anew."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.fleet.troubles import (
    LastingTrouble,
    Severity,
    Trouble,
    TroubleKind,
    begun_and_ended,
    lasting,
    matters_after_s,
    present,
    standing,
)

K = TroubleKind
NOW = 10_000.0
CAP = Trouble(kind=K.CAP_REACHED, scope="endpoint:1", message="m", facts={"cap": "day"})
KEY = "cap_reached|endpoint:1"
PATIENCE_S = {
    K.INVENTORY_UNKNOWN: 300.0,
    K.STRAY_MACHINES: 300.0,
    K.LABEL_CHANGED: 120.0,
    K.FOREIGN_VERSION: 600.0,
    K.WORKERS_CAPPED: 120.0,
    K.FROZEN: 30.0,
    K.MACHINE_UNSETTLED: 120.0,
    K.WILL_NOT_GO: 300.0,
    K.NOT_USABLE: 60.0,
    K.REQUESTS_FAIL: 60.0,
    K.REPORTS_MISSING: 60.0,
    K.REQUESTS_WAIT: 120.0,
    K.TEMPLATE_UNREADABLE: 60.0,
    K.NO_OFFERS: 60.0,
    K.OFFERS_REFUSED: 60.0,
    K.BIDS_REFUSED: 60.0,
}
"""As docs/runbook.md tells them; all others are told at once."""


def at(now: float, *found: Trouble, before: dict[str, LastingTrouble]) -> dict[str, LastingTrouble]:
    return lasting(before, found, now)


@pytest.mark.parametrize("kind", list(TroubleKind))
def test_how_long_each_kind_must_last_before_it_is_told(kind: TroubleKind) -> None:
    patience_s = PATIENCE_S.get(kind, 0.0)
    trouble = replace(CAP, kind=kind)
    first = lasting({}, [trouble], NOW)
    for after_s, is_told in ((patience_s - 0.5, False), (patience_s, True)):
        if after_s < 0:
            continue
        later = lasting(first, [trouble], NOW + after_s)
        assert bool(list(begun_and_ended(first, later))) is (is_told and patience_s > 0)
        assert bool(standing(later, NOW + after_s)) is is_told
    assert matters_after_s(kind) == patience_s
    assert matters_after_s("another version's") == 0.0


def test_what_is_found_first_begins_now() -> None:
    (trouble,) = lasting({}, [CAP], NOW).values()
    assert (trouble.since, trouble.absent_since, trouble.is_present) == (NOW, 0.0, True)
    assert (trouble.is_told, trouble.has_returned, trouble.was_over) == (True, False, False)
    assert (trouble.kind, trouble.scope, trouble.message) == ("cap_reached", "endpoint:1", "m")
    assert trouble.facts == {"cap": "day"}
    assert trouble.matters_at == NOW
    assert trouble.runbook == "docs/runbook.md#cap-reached"
    assert CAP.key == KEY
    assert replace(CAP, subject="7").key == f"{KEY}|7"


def test_a_pause_does_not_count_and_starts_nothing_anew() -> None:
    waits = replace(CAP, kind=K.REQUESTS_WAIT)
    seen = at(NOW, waits, before={})
    seen = at(NOW + 60, waits, before=seen)
    seen = at(NOW + 100, before=seen)
    paused = next(iter(seen.values()))
    assert (paused.absent_since, paused.since, paused.is_told) == (NOW + 100, NOW, False)
    at_once = next(iter(at(NOW + 100, waits, before=seen).values()))
    assert at_once.since == NOW, "no pause at all"
    seen = at(NOW + 130, before=seen)
    assert next(iter(seen.values())).absent_since == NOW + 100
    seen = at(NOW + 150, waits, before=seen)
    back = next(iter(seen.values()))
    assert (back.since, back.absent_since, back.is_told) == (NOW + 50, 0.0, False)
    assert not back.has_returned  # it was never told, so its end was not
    assert not next(iter(at(NOW + 169, waits, before=seen).values())).is_told
    assert next(iter(at(NOW + 170, waits, before=seen).values())).is_told


@pytest.mark.parametrize(
    ("kind", "remembered_s"), [(K.CAP_REACHED, 600.0), (K.FOREIGN_VERSION, 1200.0)]
)
def test_what_is_absent_for_long_is_forgotten(kind: TroubleKind, remembered_s: float) -> None:
    seen = at(NOW + 1, before=lasting({}, [replace(CAP, kind=kind)], NOW))
    assert at(NOW + remembered_s, before=seen)
    assert not at(NOW + 1 + remembered_s, before=seen)


def test_an_end_is_told_once_and_a_return_once_more_after_five_calm_minutes() -> None:
    told = lasting({}, [CAP], NOW)
    over = at(NOW + 10, before=told)
    assert [begins for _, begins in begun_and_ended(told, over)] == [False]
    assert (over[KEY].is_told, over[KEY].was_over) == (False, True)
    quiet = at(NOW + 20, before=over)
    assert list(begun_and_ended(over, quiet)) == []
    back = at(NOW + 30, CAP, before=quiet)
    assert back[KEY].has_returned
    assert [begins for _, begins in begun_and_ended(quiet, back)] == [True]
    again = at(NOW + 40, before=back)
    assert again[KEY].is_told  # its end must last
    calm = at(NOW + 339, before=again)
    assert list(begun_and_ended(again, calm)) == []
    ended = at(NOW + 340, before=calm)
    assert [begins for _, begins in begun_and_ended(calm, ended)] == [False]
    stays = at(NOW + 50, CAP, before=again)
    assert list(begun_and_ended(again, stays)) == []
    assert stays[KEY].has_returned


def test_what_goes_on_is_told_no_second_time() -> None:
    told = lasting({}, [CAP], NOW)
    on = at(NOW + 60, CAP, before=told)
    assert list(begun_and_ended(told, on)) == []
    assert on[KEY].since == NOW
    assert list(begun_and_ended(told, {})) == [(told[KEY], False)]
    assert list(begun_and_ended({}, told)) == [(told[KEY], True)]
    young = lasting({}, [replace(CAP, kind=K.NO_OFFERS)], NOW)
    assert list(begun_and_ended({}, young)) == []
    assert list(begun_and_ended(young, {})) == []


def test_only_what_was_found_last_is_present_and_stands() -> None:
    told = lasting({}, [CAP], NOW)
    assert present(told, KEY) is told[KEY]
    assert present(told, "no_offers|endpoint:1") is None
    over = at(NOW + 10, before=told)
    assert present(over, KEY) is None
    assert standing(over, NOW + 10) == []


def test_the_worst_stands_first_then_the_oldest_then_by_name() -> None:
    bad_late = replace(CAP, kind=K.BREAKER_OPEN, scope="autogroup:5")
    warn = replace(CAP, kind=K.WORKER_FAILING)
    seen = lasting(lasting({}, [warn], NOW), [warn, CAP], NOW + 5)
    seen = lasting(seen, [warn, CAP, bad_late], NOW + 9)
    kinds = [one.kind for one in standing(seen, NOW + 9)]
    assert kinds == ["cap_reached", "breaker_open", "worker_failing"]
    same = lasting({}, [replace(CAP, scope="endpoint:2"), CAP, replace(CAP, kind=K.PANIC)], NOW)
    order = [(one.scope, one.kind) for one in standing(same, NOW)]
    assert order == [
        ("endpoint:1", "cap_reached"),
        ("endpoint:1", "panic"),
        ("endpoint:2", "cap_reached"),
    ]
    ours = standing(same, NOW, endpoint_id=2)
    assert [one.scope for one in ours] == ["endpoint:2"]
    account = lasting({}, [replace(CAP, kind=K.PANIC, scope="account")], NOW)
    assert standing(account, NOW, endpoint_id=2)


def test_a_kind_is_as_bad_as_its_meaning_says() -> None:
    def severity(kind: str) -> Severity:
        return LastingTrouble(kind=kind, scope="account", since=0.0, message="").severity

    warns = {
        *(K.STRAY_MACHINES, K.ADOPTED_UNCONFIRMED, K.LABEL_CHANGED, K.FOREIGN_VERSION),
        *(
            K.WORKERS_CAPPED,
            K.FROZEN,
            K.MACHINE_UNSETTLED,
            K.NOT_USABLE,
            K.OVERBILLED,
            K.WORKER_FAILING,
        ),
        *(K.ALERTS_UNHEARD, K.BIDS_REFUSED),
    }
    assert {kind for kind in K if severity(kind) is Severity.WARN} == warns

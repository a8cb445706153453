"""Hosts that fail are avoided for longer each time; templates that only fail are not rented."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.fleet.breakers import (
    FIRST_PAUSE_S,
    HOST_COOL_DOWN_S,
    LASTS_S,
    MAX_PAUSE_AFTER_SERVICE_S,
    MAX_PAUSE_S,
    Boot,
    Reputation,
    avoided_machines,
    judge,
    open_breakers,
)

NOW = 1_800_000_000.0


def _boot(
    instance_id: int, machine_id: int, *, fails: bool = True, revision: int = 1, at: float = NOW
) -> Boot:
    return Boot(
        at=at,
        instance_id=instance_id,
        autogroup_id=5,
        machine_id=machine_id,
        template_revision=revision,
        is_failure=fails,
        error="no HF_TOKEN",
    )


def test_a_failed_boot_is_blamed_once_however_often_it_is_seen() -> None:
    seen = judge(Reputation(), [_boot(1, 10)], NOW)
    again = judge(seen, [_boot(1, 10)], NOW + 100)
    assert again == seen
    assert avoided_machines(seen, NOW + HOST_COOL_DOWN_S - 1) == {10}
    assert avoided_machines(seen, NOW + HOST_COOL_DOWN_S + 1) == frozenset()


def test_cool_downs_of_a_host_double() -> None:
    seen = judge(Reputation(), [_boot(1, 10)], NOW)
    later = NOW + HOST_COOL_DOWN_S + 1
    seen = judge(seen, [_boot(2, 10)], later)
    assert avoided_machines(seen, later + 2 * HOST_COOL_DOWN_S - 1) == {10}


def test_three_failures_on_one_machine_do_not_accuse_the_template() -> None:
    seen = judge(Reputation(), [_boot(n, 10) for n in range(3)], NOW)
    assert open_breakers(seen, [], {5: 1}, NOW) == frozenset()


def test_failures_on_three_machines_open_the_breaker_and_forgive_the_hosts() -> None:
    seen = judge(Reputation(), [_boot(n, 10 + n) for n in range(3)], NOW)
    assert open_breakers(seen, [], {5: 1}, NOW + FIRST_PAUSE_S - 1) == {5}
    assert avoided_machines(seen, NOW) == frozenset()


def test_after_the_pause_one_trial_goes_through_and_a_failure_doubles_the_pause() -> None:
    seen = judge(Reputation(), [_boot(n, 10 + n) for n in range(3)], NOW)
    later = NOW + FIRST_PAUSE_S + 1
    assert open_breakers(seen, [], {5: 1}, later) == frozenset()
    assert open_breakers(seen, [5], {5: 1}, later) == {5}
    seen = judge(seen, [_boot(9, 19)], later)
    assert open_breakers(seen, [], {5: 1}, later + 2 * FIRST_PAUSE_S - 1) == {5}


def test_a_success_or_a_changed_template_clears_the_record() -> None:
    seen = judge(Reputation(), [_boot(n, 10 + n) for n in range(3)], NOW)
    assert open_breakers(seen, [], {5: 2}, NOW) == frozenset()
    healed = judge(seen, [_boot(8, 18, fails=False, at=NOW + 1)], NOW + 1)
    assert open_breakers(healed, [], {5: 1}, NOW) == frozenset()


@pytest.mark.parametrize(
    ("has_served", "longest_s"), [(True, MAX_PAUSE_AFTER_SERVICE_S), (False, MAX_PAUSE_S)]
)
def test_what_has_served_before_is_tried_again_within_the_hour(
    has_served: bool, longest_s: float
) -> None:
    """A registry that was down for a day fails every boot; the day after, clients are waiting."""
    seen, now = judge(Reputation(), [_boot(1, 10)], NOW), NOW
    if has_served:
        seen = judge(seen, [_boot(2, 11, fails=False)], now)
    for n in range(3, 30):
        now += 1.0
        seen = judge(seen, [_boot(n, 10 + n, at=now)], now)
        now = max(now, seen.templates["5"].paused_until) + 1.0
    assert open_breakers(seen, [], {5: 1}, now) == frozenset()
    seen = judge(seen, [_boot(30, 40, at=now)], now)
    assert open_breakers(seen, [], {5: 1}, now + longest_s - 1) == {5}
    assert open_breakers(seen, [], {5: 1}, now + longest_s) == frozenset()


@pytest.mark.parametrize("serves_first", [True, False])
def test_a_worker_that_serves_hides_no_failures_and_blames_no_host_twice(
    serves_first: bool,
) -> None:
    """Each round sees the old worker ready and the new ones in error, in whatever order."""
    serving = _boot(1, 10, fails=False)
    failed = [_boot(n, 10 + n, at=NOW + 1) for n in (2, 3)]
    boots = [serving, *failed] if serves_first else [*failed, serving]
    seen = judge(Reputation(), [serving], NOW)
    for second in range(1, 20):
        seen = judge(seen, boots, NOW + second)
    assert {record.n_failures for record in seen.hosts.values()} == {1}
    seen = judge(seen, [*boots, _boot(4, 14, at=NOW + 20)], NOW + 20)
    assert open_breakers(seen, [], {5: 1}, NOW + 20) == {5}


def test_a_worker_that_recovers_from_its_error_clears_the_record() -> None:
    seen = judge(Reputation(), [_boot(n, 10 + n) for n in range(3)], NOW)
    seen = judge(seen, [_boot(0, 10, fails=False, at=NOW + 60)], NOW + 60)
    assert open_breakers(seen, [], {5: 1}, NOW + 60) == frozenset()


def test_an_old_revisions_failure_does_not_accuse_the_new_one() -> None:
    seen = judge(Reputation(), [_boot(1, 10, revision=2)], NOW)
    after = judge(seen, [_boot(n, 20 + n, revision=1) for n in range(2, 6)], NOW)
    assert open_breakers(after, [], {5: 2}, NOW) == frozenset()


def _short_lived(before: Reputation, n: int, at: float = NOW) -> Reputation:
    """Workers on n machines, one after another: ready, and a minute later failed for good."""
    for i in range(n):
        ready_at = at + 100 * i
        before = judge(before, [_boot(i, 10 + i, fails=False, at=ready_at)], ready_at)
        failed = replace(_boot(i, 10 + i, at=ready_at + 60), is_short_lived=True)
        before = judge(before, [failed], ready_at + 60)
        assert judge(before, [failed], ready_at + 65) == before, "each counts once"
    return before


def test_workers_that_were_ready_and_soon_failed_accuse_the_template_and_not_every_host() -> None:
    two = _short_lived(Reputation(), 2)
    assert avoided_machines(two, NOW + 200) == {10, 11}
    assert open_breakers(two, [], {5: 1}, NOW + 200) == frozenset()
    three = _short_lived(Reputation(), 3)
    opened_at = NOW + 260
    assert open_breakers(three, [], {5: 1}, opened_at + FIRST_PAUSE_S - 1) == {5}
    assert open_breakers(three, [], {5: 1}, opened_at + FIRST_PAUSE_S + 1) == frozenset()
    assert avoided_machines(three, opened_at) == frozenset()


def test_only_a_worker_that_lasts_clears_the_template_of_those_that_did_not() -> None:
    seen = _short_lived(Reputation(), 3)
    trial_at = NOW + 260 + FIRST_PAUSE_S + 1
    trial = _boot(9, 10, fails=False, at=trial_at)
    ready = judge(seen, [trial], trial_at)
    assert ready.templates["5"].n_openings == 1, "to be ready is no success yet"
    failed = replace(_boot(9, 10, at=trial_at + 60), is_short_lived=True)
    again = judge(ready, [failed], trial_at + 60)
    assert open_breakers(again, [], {5: 1}, trial_at + 60 + 2 * FIRST_PAUSE_S - 1) == {5}
    lasted = judge(ready, [trial], trial_at + LASTS_S + 1)
    assert lasted.templates["5"].n_openings == 0
    assert not lasted.templates["5"].short_lived

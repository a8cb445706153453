"""Hosts that fail are avoided for longer each time; templates that only fail are not rented."""

from __future__ import annotations

from chalicelib.core.breakers import (
    FIRST_PAUSE_S,
    HOST_COOL_DOWN_S,
    Boot,
    Reputation,
    avoided_machines,
    judge,
    open_breakers,
)

NOW = 1_800_000_000.0


def _boot(instance_id: int, machine_id: int, *, fails: bool = True, revision: int = 1) -> Boot:
    return Boot(
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
    healed = judge(seen, [_boot(8, 18, fails=False)], NOW)
    assert open_breakers(healed, [], {5: 1}, NOW) == frozenset()


def test_an_old_revisions_failure_does_not_accuse_the_new_one() -> None:
    seen = judge(Reputation(), [_boot(1, 10, revision=2)], NOW)
    after = judge(seen, [_boot(n, 20 + n, revision=1) for n in range(2, 6)], NOW)
    assert open_breakers(after, [], {5: 2}, NOW) == frozenset()

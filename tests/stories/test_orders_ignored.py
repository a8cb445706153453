"""Orders that Vast accepts and never carries out: told, and another machine takes the place."""

from __future__ import annotations

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.worker import WorkerState
from chalicelib.ports.marketplace import RefusedError
from tests.stories.day import Day
from tests.stories.test_failing import memory_of

READY = WorkerState.READY


def test_a_machine_that_does_not_stop_is_destroyed_and_replaced() -> None:
    day = Day()
    group = day.group(cold_workers=1, max_workers=1)
    day.minutes(6, 2, of=group, rounds=6)
    (stubborn,) = day.world.market.instances
    day.world.market.switch_on("stop-ignored", day.world.now)
    day.minutes(40)
    assert stubborn not in day.world.market.instances, "it was to stop, and ran on"
    day.world.ask(group.endpoint_id, 2)
    day.minutes(8, rounds=6)
    assert day.world.n_waiting == 0, "its substitute serves"
    day.world.market.switch_off("stop-ignored", day.world.now)
    day.minutes(45)
    assert day.running() == 0
    assert "will_not_go" not in day.troubles()
    day.ends()


def test_where_nothing_stops_no_reserve_is_rented_again_and_again_and_the_owner_hears_why() -> None:
    """An idle group rented a machine each six minutes: it could not be parked, and was returned."""
    day = Day()
    group = day.group(cold_workers=1)
    day.minutes(5, 2, of=group, rounds=6)
    refusal = RefusedError("forbidden", "this key may not stop")
    day.world.marketplace.fail_next(Verb.STOP, refusal, times=10_000)
    day.minutes(120, rounds=2)
    assert day.running() == 0, "what does not stop is returned"
    assert day.calls(Verb.CREATE) <= 5
    assert day.told("will_not_go")[0] == "will_not_go"
    words = next(event.message for event in day.events() if event.kind == "will_not_go")
    assert "this key may not stop" in words
    day.world.ask(group.endpoint_id, 1)
    day.minutes(5, rounds=6)
    assert day.world.n_waiting == 0, "whoever asks is served all the same"
    n_lines = sum(event.kind == "action_failed" for event in day.events())
    assert n_lines <= 5 * (day.calls(Verb.CREATE) + 1), "the log tells of it, and not each round"
    day.ends()


def test_a_group_deleted_while_its_machine_does_not_stop_leaves_nothing() -> None:
    day = Day()
    group = day.group(min_load=50.0, cold_workers=1, max_workers=1)
    day.minutes(6, 2, of=group, rounds=6)
    assert day.n(READY) == 1
    day.world.market.switch_on("stop-ignored", day.world.now)
    day.set_state(group, "suspended")
    day.minutes(2, rounds=4)
    assert day.n(WorkerState.STOPPING) == 1
    day.delete(group)
    day.minutes(3, rounds=4)
    assert not day.world.market.instances
    assert not day.world.owner_ports.groups.list_groups()
    day.ends()


def test_a_destroy_that_is_accepted_and_never_happens_is_told_with_its_price() -> None:
    day = Day()
    group = day.group(min_load=50.0, cold_workers=0, max_workers=2)
    day.minutes(5, 1, of=group, rounds=6)
    day.world.market.switch_on("destroy-ignored", day.world.now)
    day.delete(group)
    day.minutes(10)
    assert "$" in day.troubles()["will_not_go"]
    day.world.market.switch_off("destroy-ignored", day.world.now)
    day.minutes(5, rounds=4)
    assert not day.world.market.instances
    assert day.troubles() == {}
    day.ends()


def test_at_max_workers_a_machine_that_does_not_go_is_named_and_its_going_lets_others_serve() -> (
    None
):
    day = Day()
    group = day.group(cold_workers=1, max_workers=1)
    day.minutes(6, 2, of=group, rounds=6)
    (stubborn,) = day.world.market.instances
    day.world.market.switch_on("destroy-ignored", day.world.now)
    day.world.market.switch_on("stop-ignored", day.world.now)
    day.minutes(25)  # it does not stop, so it is destroyed, and does not go either
    assert list(day.world.market.instances) == [stubborn]
    day.world.ask(group.endpoint_id, 2)
    day.minutes(8, rounds=6)
    assert day.n(READY) == 0, "another one would pass the owner's max_workers"
    told = day.troubles()
    assert str(stubborn) in told["will_not_go"]
    assert "told to go and still counted, as billed: 1" in told["workers_capped"]
    day.change(group, max_workers=2)
    day.minutes(6, rounds=6)
    assert day.world.n_waiting == 0, "as the owner was told, raising it serves at once"
    for fault in ("destroy-ignored", "stop-ignored"):
        day.world.market.switch_off(fault, day.world.now)
    day.minutes(45)
    assert stubborn not in day.world.market.instances
    assert (day.running(), day.troubles()) == (0, {})
    day.ends()


def test_a_reboot_that_never_happens_ends_with_another_machine() -> None:
    day = Day()
    group = day.group(min_load=150.0, cold_workers=0, max_workers=4)
    day.minutes(8, 2, of=group, rounds=6)
    sick = min(row.instance_id for row in day.world.workers.rows.values() if row.state is READY)
    day.world.processes[sick].fails = True
    machine_id = day.world.market.instances[sick].machine.machine_id
    day.world.market.switch_on("reboot-ignored", day.world.now)
    day.minutes(12, 6, of=group, rounds=6)
    assert day.calls(Verb.REBOOT) == 3, "told, and told again a minute and two minutes later"
    assert any("old process still reports" in event.message for event in day.events())
    assert str(machine_id) in memory_of(day.world).reputation.hosts
    day.minutes(18, 6, of=group, rounds=6)
    assert day.world.n_waiting == 0
    assert sick not in day.world.market.instances, "it was rebooted in vain, and returned"
    assert day.n(READY) >= 2
    assert day.told("worker_failing")[0] == "worker_failing"
    day.ends()


@pytest.mark.parametrize("is_broken", [True, False], ids=["broken", "failing"])
def test_whom_vast_will_not_reboot_is_returned_and_another_machine_serves(is_broken: bool) -> None:
    """It was billed for ever, served nobody, and no trouble told of it."""
    day = Day()
    group = day.group(min_load=150.0, cold_workers=0, max_workers=4)
    day.minutes(8, 2, of=group, rounds=6)
    sick = min(row.instance_id for row in day.world.workers.rows.values() if row.state is READY)
    day.world.processes[sick].error = "CUDA error" if is_broken else ""
    day.world.processes[sick].fails = not is_broken
    refusal = RefusedError("forbidden", "this key may not reboot")
    day.world.marketplace.fail_next(Verb.REBOOT, refusal, times=10_000)
    day.minutes(10, 6, of=group, rounds=3)
    assert sick not in day.world.market.instances
    assert day.n(READY) >= 2
    words = [event.message for event in day.events() if event.kind == "worker_failing"]
    why = "Vast refused 1, lastly: forbidden: this key may not" if is_broken else "requests failed"
    assert why in words[0]
    assert "worker_failing" not in day.troubles()
    day.ends()


def test_the_last_word_of_a_process_that_reboots_undoes_no_reboot() -> None:
    """A report on its way made the machine ready, or broken again, before it had gone down."""
    day = Day()
    group = day.group(min_load=150.0, cold_workers=0, max_workers=4)
    day.minutes(8, 2, of=group, rounds=6)
    row = min(
        (row for row in day.world.workers.rows.values() if row.state is READY),
        key=lambda row: row.instance_id,
    )
    rows, key = day.world.workers.rows, (row.endpoint_id, row.instance_id)
    day.world.processes[row.instance_id].error = "CUDA error: unspecified launch failure"
    day.world.market.switch_on("reboot-ignored", day.world.now)  # down only after its last word
    day.minutes(1, 2, of=group, rounds=6)
    assert rows[key].state is WorkerState.REBOOTING, "what it said before is no second error"
    day.world.market.switch_off("reboot-ignored", day.world.now)
    day.minutes(4, 2, of=group, rounds=6)
    assert rows[key].state is READY, "told once more, it came back"
    assert rows[key].boot_id != row.boot_id
    assert day.calls(Verb.REBOOT) == 2
    day.ends()

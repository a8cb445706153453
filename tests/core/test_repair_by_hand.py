"""Repairs one worker at a time: what is done at each limit, and just before it nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.worker import AfterDrain, WorkerState
from chalicelib.core.scaling.actions import (
    Action,
    DestroyWorker,
    DrainWorker,
    RebootWorker,
    StopWorker,
)
from chalicelib.core.scaling.learning import Beliefs
from chalicelib.core.scaling.memory import ScalingMemory
from chalicelib.core.scaling.moves.pools import Round, sort_into_pools
from chalicelib.core.scaling.moves.repair import (
    dismiss,
    end_stuck,
    finish_drains,
    is_late_stop,
    last_seen_at,
    park_all,
    repair_broken,
)
from chalicelib.core.scaling.reasons import ReasonCode
from chalicelib.core.scaling.snapshot import WorkerFacts
from tests.core.test_scaling import NOW, make_snapshot, make_worker

S = WorkerState
NOTHING: list[tuple[type[Action], str]] = []


def acted(
    what: object, *workers: WorkerFacts, memory: ScalingMemory | None = None, **over: object
) -> list[Action]:
    """What one repair does with the workers of an autogroup."""
    snapshot = make_snapshot(*workers, **over)
    ctx = Round(snapshot, Beliefs(memory or ScalingMemory()), NOW)
    (pool,), _ = sort_into_pools(snapshot, workers, NOW)
    return list(what(pool, ctx))  # type: ignore[operator]


def kinds(actions: list[Action]) -> list[tuple[type[Action], str]]:
    return [(type(one), one.reason.code.value) for one in actions]


def draining(for_s: float = 60.0, **over: object) -> WorkerFacts:
    return make_worker(1, S.DRAINING, state_since=NOW - for_s, **over)


@pytest.mark.parametrize(
    ("worker", "done"),
    [
        (draining(4.0), [(StopWorker, "drained")]),
        (draining(3.9), NOTHING),  # a ticket may still be on its way
        (draining(n_working=1), NOTHING),
        (draining(pending_load=1.0), NOTHING),
        (draining(n_working=1, drain_by=NOW), [(StopWorker, "drain_deadline")]),
        (draining(n_working=1, drain_by=NOW + 0.1), NOTHING),
        (draining(3.0, drain_by=NOW - 1), [(StopWorker, "drained")]),
        (draining(after_drain=AfterDrain.DESTROY), [(DestroyWorker, "drained")]),
        (draining(after_drain=AfterDrain.REBOOT), [(RebootWorker, "drained")]),
        (draining(after_drain=AfterDrain.STOP), [(StopWorker, "drained")]),
    ],
)
def test_a_drain_ends_empty_or_at_its_deadline(
    worker: WorkerFacts, done: list[tuple[type[Action], str]]
) -> None:
    assert kinds(acted(finish_drains, worker)) == done


@pytest.mark.parametrize(
    ("n", "over", "what"),
    [
        (4, {}, (RebootWorker, "drained")),
        (5, {}, (DestroyWorker, "reboot_refused")),
        (5, {"inventory_is_known": False}, (RebootWorker, "drained")),
    ],
)
def test_whom_vast_will_not_reboot_five_times_in_a_row_is_returned(
    n: int, over: dict[str, object], what: tuple[type[Action], str]
) -> None:
    worker = draining(after_drain=AfterDrain.REBOOT, n_reboot_refusals=n)
    assert kinds(acted(finish_drains, worker, **over)) == [what]  # type: ignore[arg-type]
    broken = make_worker(1, S.ERROR, error="CUDA error", n_reboot_refusals=n)
    (one,) = acted(repair_broken, broken, **over)  # type: ignore[arg-type]
    assert type(one) is what[0]


def test_a_drain_that_ends_in_doubt_stops_the_machine_and_tells_whom_it_cut() -> None:
    goes = draining(n_working=3, drain_by=NOW - 1, after_drain=AfterDrain.DESTROY)
    (stop,) = acted(finish_drains, goes, inventory_is_known=False)
    assert isinstance(stop, StopWorker)
    assert stop.reason.facts == {"n_cut": 3}
    (unknown,) = acted(finish_drains, draining(n_working=-1))
    assert unknown.reason.facts == {"n_cut": 0}
    both = acted(finish_drains, draining(n_working=1), make_worker(2, S.DRAINING))
    assert [one.instance_id for one in both if not hasattr(one, "offer")] == [2]


def stuck(state: WorkerState, for_s: float, **over: object) -> WorkerFacts:
    return make_worker(1, state, state_since=NOW - for_s, **over)


def test_a_start_that_takes_too_long_is_stopped() -> None:
    limit_s = Beliefs(ScalingMemory()).start_timeout()
    assert acted(end_stuck, stuck(S.STARTING, limit_s - 0.1)) == []
    (stop,) = acted(end_stuck, stuck(S.STARTING, limit_s + 1))
    assert kinds([stop]) == [(StopWorker, "stuck_starting")]
    assert stop.reason.facts == pytest.approx({"waited_s": limit_s + 1, "limit_s": limit_s})
    assert acted(end_stuck, stuck(S.REBOOTING, 600.0)) == []
    assert len(acted(end_stuck, stuck(S.REBOOTING, 601.0))) == 1


@pytest.mark.parametrize(
    ("ran_on_s", "told_s_ago", "over", "done"),
    [
        (60.0, 70.0, {}, NOTHING),  # its last report may have been on its way
        (61.0, 61.0, {}, [(RebootWorker, "reboot_again")]),
        (150.0, 60.0, {}, NOTHING),  # told again a minute ago
        (180.0, 61.0, {}, [(RebootWorker, "reboot_again")]),
        (181.0, 10.0, {}, [(DestroyWorker, "will_not_reboot")]),
        (181.0, 10.0, {"inventory_is_known": False}, NOTHING),
        (0.0, 500.0, {}, NOTHING),  # it went down
    ],
)
def test_whose_old_process_reports_on_after_a_reboot_is_told_again_and_then_replaced(
    ran_on_s: float,
    told_s_ago: float,
    over: dict[str, object],
    done: list[tuple[type[Action], str]],
) -> None:
    memory = ScalingMemory(rebooted={"1": NOW - told_s_ago})
    worker = stuck(S.REBOOTING, 190.0, ran_on_s=ran_on_s)
    actions = acted(end_stuck, worker, memory=memory, **over)
    assert kinds(actions) == done
    for action in actions:
        assert action.reason.facts == {"ran_on_s": ran_on_s}


@pytest.mark.parametrize(
    ("for_s", "over", "done"),
    [
        (301.0, {}, [(DestroyWorker, "will_not_stop")]),
        (300.0, {}, NOTHING),
        (301.0, {"inventory_is_known": False}, NOTHING),
        (400.0, {"listed_at": NOW - 100}, NOTHING),  # what the list did not show is no proof
        (401.0, {"listed_at": NOW - 100}, [(DestroyWorker, "will_not_stop")]),
    ],
)
def test_a_stop_that_lists_show_undone_for_five_minutes_becomes_a_destroy(
    for_s: float, over: dict[str, object], done: list[tuple[type[Action], str]]
) -> None:
    actions = acted(end_stuck, stuck(S.STOPPING, for_s), **over)  # type: ignore[arg-type]
    assert kinds(actions) == done
    for action in actions:
        assert action.reason.facts["waited_s"] == 301.0


def test_one_function_says_which_stop_is_late() -> None:
    worker = stuck(S.STOPPING, 400.0)
    assert is_late_stop(worker, NOW)
    assert not is_late_stop(worker, NOW - 100)
    assert not is_late_stop(replace(worker, state=S.READY), NOW)
    assert last_seen_at(make_snapshot(listed_at=NOW - 7), NOW) == NOW - 7
    assert last_seen_at(make_snapshot(), NOW) == NOW


def booting(for_s: float, **over: object) -> WorkerFacts:
    return make_worker(1, S.LOADING, created_at=NOW - for_s, loaded_at=0.0, **over)


def test_a_first_load_has_its_limit_and_more_while_it_moves() -> None:
    limit_s = Beliefs(ScalingMemory()).load_timeout(1)
    assert acted(end_stuck, booting(limit_s - 0.1)) == []
    (destroy,) = acted(end_stuck, booting(limit_s + 1))
    assert kinds([destroy]) == [(DestroyWorker, "stuck_loading")]
    assert destroy.reason.facts == pytest.approx({"waited_s": limit_s + 1, "limit_s": limit_s})
    assert acted(end_stuck, booting(limit_s + 1), inventory_is_known=False) == []
    assert acted(end_stuck, booting(limit_s + 1, progress_at=NOW - 299)) == []
    assert len(acted(end_stuck, booting(limit_s + 1, progress_at=NOW - 300))) == 1
    assert acted(end_stuck, booting(7199.0, progress_at=NOW)) == []
    assert len(acted(end_stuck, booting(7200.0, progress_at=NOW))) == 1  # two hours, whatever


def test_ready_without_an_address_for_two_minutes_is_a_failed_boot() -> None:
    def hidden(for_s: float, **over: object) -> list[Action]:
        return acted(end_stuck, stuck(S.READY, for_s, has_address=False), **over)  # type: ignore[arg-type]

    assert hidden(120.0) == []
    assert kinds(hidden(121.0)) == [(DestroyWorker, "no_address")]
    assert hidden(121.0)[0].reason.facts == {"waited_s": 121.0}
    assert hidden(121.0, listed_at=NOW - 5) == []
    assert hidden(121.0, inventory_is_known=False) == []


def broken(rebooted_s: float | None, **over: object) -> list[tuple[type[Action], str]]:
    memory = ScalingMemory(rebooted={} if rebooted_s is None else {"1": NOW - rebooted_s})
    worker = make_worker(1, S.ERROR, error="x" * 300)
    actions = acted(repair_broken, worker, memory=memory, **over)
    assert all(len(str(one.reason.facts["error"])) == 200 for one in actions)
    return kinds(actions)


def test_an_error_is_rebooted_once_an_hour_and_then_returned() -> None:
    assert broken(None) == [(RebootWorker, "error_reboot")]
    assert broken(3601.0) == [(RebootWorker, "error_reboot")]
    assert broken(3600.0) == [(DestroyWorker, "error_again")]
    assert broken(60.0, inventory_is_known=False) == []
    assert broken(None, state=GroupState.STOPPED) == []


def failing(rebooted_s: float | None = None, **over: object) -> list[Action]:
    memory = ScalingMemory(rebooted={} if rebooted_s is None else {"1": NOW - rebooted_s})
    own = {name: over.pop(name) for name in list(over) if name in ("after_drain", "worker_state")}
    state = own.pop("worker_state", S.READY)
    worker = make_worker(1, state, failing="9 of 10 failed", **own)  # type: ignore[arg-type]
    return acted(repair_broken, worker, memory=memory, **over)


def test_a_failing_worker_is_drained_to_a_reboot_and_then_returned() -> None:
    (first,) = failing()
    assert isinstance(first, DrainWorker)
    assert (first.then, first.deadline_s) == (AfterDrain.REBOOT, 120.0)
    assert first.reason.facts["failing"] == "9 of 10 failed"
    (later,) = failing(3601.0)
    assert isinstance(later, DrainWorker)
    assert later.then is AfterDrain.REBOOT
    (again,) = failing(3600.0)
    assert isinstance(again, DrainWorker)
    assert again.then is AfterDrain.DESTROY
    assert again.reason.code is ReasonCode.FAILING_AGAIN
    assert failing(inventory_is_known=False) == []
    assert failing(state=GroupState.STOPPED) == []
    for then in (AfterDrain.DESTROY, AfterDrain.REBOOT):
        assert failing(worker_state=S.DRAINING, after_drain=then) == []
    assert len(failing(worker_state=S.DRAINING, after_drain=AfterDrain.STOP)) == 1


def test_who_is_lost_for_ten_minutes_is_returned() -> None:
    others = [make_worker(id_) for id_ in (2, 3, 4)]

    def lost(for_s: float, **over: object) -> list[Action]:
        return acted(repair_broken, stuck(S.UNREACHABLE, for_s), *others, **over)  # type: ignore[arg-type]

    assert lost(600.0) == []
    assert kinds(lost(601.0)) == [(DestroyWorker, "unreachable")]
    assert lost(601.0)[0].reason.facts == {"silent_s": 601.0}
    assert lost(601.0, inventory_is_known=False) == []


@pytest.mark.parametrize(
    ("failed", "refused", "goes"), [(3.0, 0, True), (2.0, 1, True), (1.0, 1, False), (0.0, 3, True)]
)
@pytest.mark.parametrize("state", [S.STOPPED, S.UNAVAILABLE])
def test_what_fails_to_start_three_times_is_returned(
    state: WorkerState, failed: float, refused: int, goes: bool
) -> None:
    memory = ScalingMemory(failed_starts={"1": failed} if failed else {})
    worker = make_worker(1, state, n_start_refusals=refused)
    actions = acted(repair_broken, worker, memory=memory)
    assert kinds(actions) == ([(DestroyWorker, "will_not_start")] if goes else [])
    assert acted(repair_broken, worker, memory=memory, inventory_is_known=False) == []


EVERY_STATE = [
    *(S.READY, S.DRAINING, S.STARTING, S.LOADING, S.STOPPING, S.STOPPED, S.PAUSED),
    *(S.UNAVAILABLE, S.ERROR, S.SUSPECT, S.UNREACHABLE, S.DESTROYING, S.FOREIGN),
]


def test_a_deleted_autogroup_returns_all_that_is_its_own() -> None:
    workers = [make_worker(n, state) for n, state in enumerate(EVERY_STATE, 1)]
    workers.append(make_worker(50, S.DRAINING, after_drain=AfterDrain.DESTROY))
    workers.append(make_worker(51, S.READY, has_address=False))

    def dismissed(**over: object) -> list[Action]:
        def dismiss_all(pool: object, ctx: object) -> list[Action]:
            return dismiss(pool, ctx, code=ReasonCode.DELETED)  # type: ignore[arg-type]

        return acted(dismiss_all, *workers, **over)  # type: ignore[arg-type]

    actions = dismissed()
    drained = {a.instance_id: a for a in actions if isinstance(a, DrainWorker)}
    destroyed = {a.instance_id for a in actions if isinstance(a, DestroyWorker)}
    assert set(drained) == {1, 2}
    assert all(a.then is AfterDrain.DESTROY and a.deadline_s == 900.0 for a in drained.values())
    assert destroyed == {3, 4, 5, 6, 7, 8, 9, 10, 11, 51}
    assert dismissed(inventory_is_known=False) == []


def test_a_paused_autogroup_stops_what_serves_or_may() -> None:
    workers = [make_worker(n, state) for n, state in enumerate(EVERY_STATE, 1)]

    def park(pool: object, _ctx: object) -> list[Action]:
        return park_all(pool, code=ReasonCode.PAUSED)  # type: ignore[arg-type]

    actions = acted(park, *workers)
    (drain,) = (a for a in actions if isinstance(a, DrainWorker))
    assert (drain.instance_id, drain.then) == (1, AfterDrain.STOP)
    assert {a.instance_id for a in actions if isinstance(a, StopWorker)} == {3, 7, 9}

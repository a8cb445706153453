"""What must still be queued at a worker by what it was granted, whatever it reports."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.model.load import granted_beyond
from chalicelib.core.model.worker import Worker
from chalicelib.core.routing.view import least_queued
from fakes.bundles.hot_ports import make_worker
from tests.core.test_reports import BOOT, NOW

PERF, COST, SLOTS = 100.0, 50.0, 4


def machine(rate: float, n_working: int) -> Worker:
    """A worker that was granted `rate` load a second for a minute."""
    marks = tuple((NOW - s, 10_000.0 - rate * s) for s in (60, 30, 10, 5, 2, 1))
    return make_worker(
        1, NOW, perf=PERF, slots=SLOTS, n_working=n_working, granted_load=10_000.0,
        reqnum=200, granted_marks=marks,
    )  # fmt: skip


def test_one_that_claims_to_be_idle_is_queued_by_what_it_got_beyond_its_part() -> None:
    busy, idle = machine(PERF, SLOTS), machine(2 * PERF, 0)
    of_busy, of_idle = least_queued([busy, idle], COST, NOW)
    assert of_busy == 0
    assert of_idle == pytest.approx(60 * PERF, rel=0.15)


def test_where_most_are_not_busy_reports_are_believed() -> None:
    fleet = [machine(PERF, SLOTS), machine(2 * PERF, 0), machine(PERF, 0)]
    assert least_queued(fleet, COST, NOW) == [0, 0, 0]
    assert least_queued([], COST, NOW) == []


def unused(worker: Worker, load: float) -> Worker:
    """It says that so much of what it was granted never came, beside the rest of a minute."""
    return replace(worker, boot_id=BOOT, load_rate=PERF, unused=(load, 0.0))


def test_where_others_say_that_tickets_go_unused_what_never_came_is_queued_nowhere() -> None:
    """A shared key's hostile holder took 60 s of load: counted, both would look full so long."""
    fleet = [machine(2 * PERF, SLOTS), machine(2.5 * PERF, SLOTS)]
    assert max(least_queued([machine(PERF, SLOTS), *fleet[1:]], COST, NOW)) > 0
    assert least_queued([unused(w, 6_000.0) for w in fleet], COST, NOW) == [0, 0]
    assert least_queued([fleet[0], unused(fleet[1], 6_000.0)], COST, NOW)[0] == 0


@pytest.mark.parametrize("n_busy", [1, 2, 5])
def test_and_one_that_says_so_alone_is_still_queued_by_what_it_got(n_busy: int) -> None:
    busy, liar = [machine(PERF, SLOTS)] * n_busy, machine(2 * PERF, 0)
    believed = least_queued([*busy, liar], COST, NOW)
    assert believed[-1] > 0
    assert least_queued([*busy, unused(liar, 6_000.0)], COST, NOW)[-1] == believed[-1]


@pytest.mark.parametrize("n_busy", [2, 3])
def test_and_two_that_say_so_do_not_vouch_for_each_other(n_busy: int) -> None:
    honest, liar = [machine(PERF, SLOTS)] * n_busy, unused(machine(2 * PERF, 0), 6_000.0)
    assert min(least_queued([*honest, liar, liar], COST, NOW)[-2:]) > 0


def test_where_requests_use_less_than_they_state_the_busy_ones_say_how_much_less() -> None:
    """All serve three times what their benchmark says, in stated costs: nobody is held back."""
    busy, luckier = machine(3 * PERF, SLOTS), machine(3.1 * PERF, 0)
    assert least_queued([busy, luckier], COST, NOW) == [0, 0]


def test_one_busy_with_a_long_request_does_not_slow_the_others() -> None:
    """It is granted next to nothing, and the others no more than they serve."""
    long, quick = machine(0.01, SLOTS), machine(PERF, 0)
    assert least_queued([long, quick], COST, NOW) == [0, 0]


def test_a_burst_that_was_served_sooner_by_luck_holds_nobody_back() -> None:
    marks = ((NOW - 10, 9_700.0), (NOW - 2, 9_700.0))
    quick = make_worker(1, NOW, perf=PERF, granted_load=10_000.0, granted_marks=marks)
    assert granted_beyond(quick, PERF, COST, NOW) == pytest.approx(300 - 0.75 * 122.5 - 200, abs=1)

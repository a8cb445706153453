"""Tickets that nobody uses: how long they make others wait, and that used ones count in full."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.model.load import (
    UNUSED_FADES_S,
    came_share,
    coming_load,
    goes_unused,
    pending_load,
    stale_load,
)
from chalicelib.core.model.worker import Worker
from fakes.bundles.hot_ports import make_worker
from tests.core.test_reports import BOOT, NOW, after, report_d

PERF = 100.0


def granted(worker: Worker, load: float, at: float) -> Worker:
    """A grant, as a router writes it."""
    del at  # a grant has no moment of its own: the next report's mark tells it
    return replace(worker, granted_load=worker.granted_load + load, reqnum=worker.reqnum + 1)


def played(seconds: int, *, used: float, unused: float = 0.0, burst: float = 0.0) -> Worker:
    """A worker that reports each second: `used` and `unused` load a second, one `burst` unused."""
    worker = make_worker(1, NOW, boot_id=BOOT, perf=PERF, reported_at=NOW)
    came = 0.0
    for second in range(1, seconds + 1):
        lot = used + unused + (burst if second == 1 else 0.0)
        worker = granted(worker, lot, NOW + second - 0.5) if lot else worker
        came += used
        report = report_d(
            second,
            received_load=came,
            finished_load=came,
            num_requests_recieved=second if used else 0,
        )
        worker = after(worker, report, at=NOW + second)
    return worker


@pytest.mark.parametrize(("seconds", "held"), [(1, 1_000.0), (2, 1_000.0), (6, 0.0)])
def test_a_ticket_holds_a_place_until_a_report_should_have_shown_it(
    seconds: int, held: float
) -> None:
    worker, now = played(seconds, used=0.0, burst=1_000.0), NOW + seconds
    assert coming_load(worker, now, is_wasted=False) == held
    assert pending_load(worker, now) == 1_000.0  # it may come yet: the machine is not empty


@pytest.mark.parametrize(
    ("silent_s", "granted_load", "held"),
    [
        (20.0, 3_000.0, 3_000.0),  # two reports may be lost: it may all be on its way
        (30.0, 3_000.0, 2_000.0),  # ten seconds at its pace are served
        (50.0, 3_000.0, 0.0),
        (60.0, 9_000.0, 5_000.0),  # more than it can have served waits there
    ],
)
def test_where_no_report_comes_a_worker_is_taken_to_serve_at_its_pace(
    silent_s: float, granted_load: float, held: float
) -> None:
    """Our edge is away: what was granted is not dated by reports, and would hold its places."""
    worker = granted(played(1, used=0.0), granted_load, NOW + 1)
    now = NOW + 1 + silent_s
    assert coming_load(worker, now, is_wasted=False) == held
    assert pending_load(worker, now) == held


def test_without_exact_books_it_is_held_for_as_long_as_it_may_come() -> None:
    worker = replace(played(6, used=0.0, burst=1_000.0), boot_id="")
    assert coming_load(worker, NOW + 6, is_wasted=False) == 1_000.0
    assert not goes_unused([worker])


def test_silence_of_a_worker_is_no_proof_against_its_tickets() -> None:
    """An idle one reports each 10 s: what was granted since then is not seen by anybody."""
    worker = granted(played(2, used=0.0), 300.0, NOW + 3)
    assert coming_load(worker, NOW + 11, is_wasted=False) == 300.0


def test_used_tickets_are_never_taken_for_unused_ones() -> None:
    worker = played(60, used=50.0)
    assert not goes_unused([worker])
    assert came_share([worker], NOW + 60) == 1.0
    assert worker.unused_load == 0.0


def test_where_a_notable_part_goes_unused_only_what_usually_comes_holds_places() -> None:
    worker, now = played(30, used=50.0, unused=200.0), NOW + 30
    assert goes_unused([worker])
    usual = coming_load(worker, now, is_wasted=True)
    assert 50 <= usual <= 200  # of 600 that it did not show in time
    assert came_share([worker], now) == pytest.approx(0.2, abs=0.05)


def test_and_a_few_that_die_on_the_way_change_nothing() -> None:
    assert not goes_unused([played(60, used=50.0, unused=2.0)])


def test_the_memory_of_it_fades() -> None:
    worker = played(5, used=50.0, burst=3_000.0)
    assert goes_unused([worker])
    came = 250.0
    for second in range(6, 6 + int(4 * UNUSED_FADES_S)):
        came += 50.0
        worker = granted(worker, 50.0, NOW + second)
        report = report_d(
            second, received_load=came, finished_load=came, num_requests_recieved=second
        )
        worker = after(worker, report, at=NOW + second)
    assert not goes_unused([worker])


def test_what_nobody_used_expires_under_traffic_too_and_nothing_else_does() -> None:
    worker = played(60, used=50.0, burst=3_000.0)
    assert worker.expired_load == 3_000.0
    assert worker.unseen_load == 0.0
    assert played(60, used=50.0).expired_load == 0.0


def test_one_machine_out_of_its_clients_reach_is_not_the_callers_doing() -> None:
    """Nothing comes to it while the others serve; were its tickets forgiven, it would draw all."""
    hole, others = played(8, used=0.0, unused=50.0), [played(8, used=50.0)] * 2
    assert hole.unused_load == 0.0
    assert not goes_unused([hole, *others])


def test_grants_after_the_report_do_not_hide_what_it_should_have_shown() -> None:
    """A burst each few seconds: seen from one of them, those before are unused all the same."""
    worker = played(5, used=0.0, burst=1_000.0)
    assert stale_load(worker) == 1_000.0
    assert stale_load(granted(worker, 9_000.0, NOW + 5.5)) == 1_000.0


def test_at_most_machines_it_is_the_callers_doing_though_nothing_comes() -> None:
    fleet = [played(8, used=0.0, burst=1_000.0)] * 2 + [played(8, used=0.0)]
    assert goes_unused(fleet)

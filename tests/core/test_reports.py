"""What reports change, and the laws: order and repetition do not matter, nothing is lost."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.fleet.report import apply_report
from chalicelib.core.model.lifecycle import WorkerEvent, ran_on_s
from chalicelib.core.model.load import MAX_MARKS, is_empty, pending_load
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.wire.reports import WorkerReport
from fakes.bundles.hot_ports import make_worker

NOW = 1_800_000_000.0
BOOT = "0123456789abcdef"
SEQ = 1_800_000_000_000


def report(**fields: object) -> WorkerReport:
    """A generation-C report of a loaded worker unless the fields say otherwise."""
    defaults: dict[str, object] = {
        "id": 1,
        "version": "1.1.0",
        "loadtime": 5.0,
        "cur_load": 0.0,
        "new_load": 0.0,
        "rej_load": 0.0,
        "cur_perf": 0.0,
        "max_perf": 100.0,
        "error_msg": "",
        "num_requests_working": 0,
        "num_requests_recieved": 0,
    }
    return WorkerReport.from_json(json.dumps({**defaults, **fields}).encode())


def report_d(n: int, **fields: object) -> WorkerReport:
    """The n-th report of our own worker's boot."""
    return report(
        **{
            "ticket": "D",
            "boot_id": BOOT,
            "seq": SEQ + n,
            "received_load": 10.0 * n,
            "finished_load": 9.0 * n,
            "rejected_load": 0.0,
            "num_requests_recieved": n,
            **fields,
        }
    )


def after(worker: Worker, *reports: WorkerReport, at: float = NOW, every_s: float = 1.0) -> Worker:
    for i, each in enumerate(reports):
        outcome = apply_report(worker, each, at + i * every_s)
        worker = replace(worker, **outcome.changes)  # type: ignore[arg-type]
    return worker


def loading() -> Worker:
    return make_worker(
        1, NOW, state=WorkerState.MODEL_LOADING, loaded_at=0.0, perf=0.0, reported_at=0.0
    )


def test_a_worker_is_ready_from_its_first_loaded_report() -> None:
    worker = after(loading(), report(max_perf=0, loadtime=0))
    assert worker.state is WorkerState.MODEL_LOADING
    worker = after(worker, report(), at=NOW + 10)
    assert (worker.state, worker.loaded_at, worker.perf) == (WorkerState.READY, NOW + 10, 100)


def test_readiness_is_latched() -> None:
    """Nothing said of perf, generation A's one-shot loadtime, no work since: nothing changes."""
    worker = after(make_worker(1, NOW), report(loadtime=0.0), at=NOW + 1)
    assert worker.state is WorkerState.READY
    idle = report(cur_perf=0, cur_load=0.0, new_load=0.0, num_requests_working=0)
    assert after(worker, idle, at=NOW + 11).state is WorkerState.READY
    partial = WorkerReport.from_json(b'{"id": 1, "error_msg": ""}')
    assert after(worker, partial, at=NOW + 20).state is WorkerState.READY


def test_an_error_wins_over_everything_and_is_kept() -> None:
    worker = after(make_worker(1, NOW), report(error_msg="CUDA out of memory"), at=NOW + 1)
    assert (worker.state, worker.error) == (WorkerState.ERROR, "CUDA out of memory")
    recovered = after(worker, report(cur_load=1.0), at=NOW + 60)
    assert (recovered.state, recovered.error) == (WorkerState.READY, "")


def test_a_restart_is_seen_by_perf_going_to_zero() -> None:
    busy = make_worker(1, NOW, working_load=50.0, n_working=1)
    worker = after(busy, report(max_perf=0, loadtime=0), at=NOW + 5)
    assert worker.state is WorkerState.STARTING
    assert (worker.working_load, worker.n_working) == (0, 0)


def test_a_draining_worker_stays_draining_whatever_it_reports() -> None:
    worker = make_worker(1, NOW, state=WorkerState.DRAINING)
    assert after(worker, report(), at=NOW + 1).state is WorkerState.DRAINING


def test_a_duplicate_changes_nothing() -> None:
    body = report(new_load=100.0, cur_load=100.0, num_requests_recieved=1)
    once = after(make_worker(1, NOW), body, at=NOW + 1)
    assert not apply_report(once, body, NOW + 3).is_news
    assert once.received_load == 100


def test_an_idle_workers_identical_report_ten_seconds_later_is_a_sign_of_life() -> None:
    once = after(make_worker(1, NOW - 60), report(), at=NOW)
    assert after(once, report(), at=NOW + 10.5).reported_at == NOW + 10.5


def test_deltas_are_added_once_and_totals_replace() -> None:
    c = after(
        make_worker(1, NOW),
        *(
            report(new_load=50.0, cur_perf=40.0, rej_load=5.0, num_requests_recieved=n)
            for n in (1, 2)
        ),
        at=NOW + 1,
    )
    assert (c.received_load, c.finished_load, c.rejected_load) == (100, 80, 10)
    d = after(make_worker(1, NOW), report_d(1), report_d(2), at=NOW + 1)
    assert (d.received_load, d.finished_load) == (20, 18)


def test_a_count_that_goes_back_is_an_old_report_for_half_a_minute() -> None:
    worker = after(make_worker(1, NOW), report(num_requests_recieved=9, new_load=9.0), at=NOW + 1)
    old = report(num_requests_recieved=8, new_load=8.0)
    assert not apply_report(worker, old, NOW + 3).is_news
    assert apply_report(worker, old, NOW + 40).is_news  # a new process whose start was lost


def test_a_new_boot_starts_its_totals_at_zero() -> None:
    worker = after(make_worker(1, NOW), report_d(5), at=NOW + 1)
    reborn = report_d(9, boot_id="f" * 16, received_load=3.0, finished_load=1.0)
    worker = after(worker, reborn, at=NOW + 2)
    assert (worker.boot_id, worker.received_load, worker.finished_load) == ("f" * 16, 3, 1)


@pytest.mark.parametrize("word", [{}, {"max_perf": 0.0}, {"error_msg": "CUDA error"}])
def test_while_a_reboot_is_awaited_only_a_new_process_says_how_it_goes(
    word: dict[str, object],
) -> None:
    ready = after(loading(), report_d(1))
    told = replace(ready, state=WorkerState.REBOOTING, state_since=NOW + 5)
    same = after(told, report_d(2, **word), at=NOW + 95)
    assert (same.state, same.error) == (WorkerState.REBOOTING, "")
    assert ran_on_s(same) == 90.0
    other = after(same, report_d(9_000, boot_id="f" * 16, **word), at=NOW + 96)
    assert other.state is not WorkerState.REBOOTING
    assert ran_on_s(other) == 0.0
    quiet = after(same, report_d(9_000, boot_id="f" * 16, max_perf=None), at=NOW + 96)
    assert quiet.state is WorkerState.STARTING, "it says nothing yet, and runs"
    assert ran_on_s(replace(same, boot_id="")) == 0.0, "one boot cannot be told from another"


def test_generation_a_never_shows_more_in_flight_than_was_granted_lately() -> None:
    """Its count leaks: three failed model connections stay for ever (protocol.md C.1)."""
    fields = {"num_requests_working": 3, "num_requests_recieved": 3}
    a = {"id": 1, "cur_load": 0.0, "max_perf": 100.0, "error_msg": "", **fields}
    stuck = WorkerReport.from_json(json.dumps(a).encode())
    worker = make_worker(1, NOW, granted_load=300.0, reqnum=3, granted_marks=((NOW - 1, 0.0),))
    worker = after(worker, stuck, at=NOW)
    assert pending_load(worker, NOW) == 300
    for i in range(20):
        other = WorkerReport.from_json(json.dumps({**a, "cur_perf": i + 1}).encode())
        worker = after(worker, other, at=NOW + 10 * (i + 1))
    assert pending_load(worker, NOW + 200) == 0


def test_a_grant_is_pending_until_it_is_seen_or_expires() -> None:
    worker = after(make_worker(1, NOW), report_d(0), at=NOW)
    granted = replace(worker, reqnum=1, granted_load=40.0)
    assert pending_load(granted, NOW + 1) == 40
    seen = after(granted, report_d(1, received_load=40.0, cur_load=40.0), at=NOW + 2)
    assert pending_load(seen, NOW + 2) == 40  # in flight there, and not on the way any more
    lost = after(granted, report_d(1, received_load=0.0), at=NOW + 2)
    assert pending_load(lost, NOW + 2) == 40
    for i in range(30):
        lost = after(lost, report_d(2 + i, received_load=0.0), at=NOW + 3 + i)
    assert pending_load(lost, NOW + 33) == 0
    assert is_empty(lost, NOW + 33)


def test_a_liar_is_believed_no_more_than_it_serves() -> None:
    """Perf ten times the truth: once its queue grows, what it serves under it counts."""
    worker = make_worker(1, NOW, perf=1_000.0, reported_at=NOW)
    for i in range(1, 11):
        worker = after(
            worker,
            report(max_perf=1_000.0, cur_load=2_500.0, cur_perf=100.0, num_requests_recieved=i),
            at=NOW + i,
        )
    assert worker.observed_perf == pytest.approx(100)


@pytest.mark.parametrize(("n_working", "observed"), [(9, 0.0), (10, 73.0)])
def test_only_a_worker_without_a_free_slot_shows_its_capacity(
    n_working: int, observed: float
) -> None:
    """However long its work would take by its own claim: slots that are free serve nobody."""
    worker = make_worker(1, NOW, perf=160.0, slots=10, reported_at=NOW)
    for n in range(1, 11):
        busy = report_d(
            n,
            max_perf=160.0,
            num_requests_working=n_working,
            cur_load=100.0 * n_working,
            finished_load=73.0 * n,
        )
        worker = after(worker, busy, at=NOW + n)
    assert worker.observed_perf == pytest.approx(observed)


COUNTERS = (
    "state",
    "boot_id",
    "report_seq",
    "received_load",
    "finished_load",
    "rejected_load",
    "n_received",
    "n_working",
    "working_load",
    "perf",
    "error",
)


@given(
    st.permutations(range(1, 9)),
    st.lists(st.integers(min_value=1, max_value=8), max_size=8),
)
def test_permuted_and_repeated_reports_leave_the_same_state(
    order: list[int], repeats: list[int]
) -> None:
    """Generation D, delivered within the time in which anything is delivered at all."""
    start = make_worker(1, NOW, granted_load=200.0, reqnum=8)
    in_order = after(start, *(report_d(n, cur_load=float(n)) for n in range(1, 9)))
    mixed = after(start, *(report_d(n, cur_load=float(n)) for n in [*order, *repeats]), every_s=0.5)
    assert {n: getattr(mixed, n) for n in COUNTERS} == {n: getattr(in_order, n) for n in COUNTERS}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["grant", "C", "D", "A", "partial", "error", "restart"]),
            st.floats(min_value=0, max_value=1e6),
            st.floats(min_value=0, max_value=30),
        ),
        max_size=25,
    )
)
def test_whatever_is_reported_load_is_finite_and_never_negative(
    steps: list[tuple[str, float, float]],
) -> None:
    worker, now = make_worker(1, NOW), NOW
    for i, (kind, load, wait_s) in enumerate(steps):
        now += wait_s
        if kind == "grant":
            worker = replace(
                worker, reqnum=worker.reqnum + 1, granted_load=worker.granted_load + load
            )
            continue
        made = {
            "C": report(cur_load=load, new_load=load, num_requests_recieved=i),
            "D": report_d(i, cur_load=load),
            "A": WorkerReport.from_json(
                json.dumps({"id": 1, "cur_load": load, "max_perf": 9.0}).encode()
            ),
            "partial": WorkerReport.from_json(b'{"id": 1}'),
            "error": report(error_msg=f"broken {i}"),
            "restart": report(max_perf=0, loadtime=i),
        }
        worker = after(worker, made[kind], at=now)
        assert 0 <= pending_load(worker, now) < 1e12
        assert worker.load_rate >= 0
    assert len(worker.granted_marks) <= MAX_MARKS


def test_the_event_says_why() -> None:
    outcome = apply_report(loading(), report(), NOW)
    assert outcome.event is WorkerEvent.LOADED

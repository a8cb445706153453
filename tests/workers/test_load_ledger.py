"""The books of a PyWorker balance, whatever happens in whatever order."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from workers.pyworker.reporting.load_ledger import Entry, LoadLedger, Outcome, RequestFacts

ENDINGS = (Outcome.SERVED, Outcome.ERRORED, Outcome.CANCELLED)
steps = st.lists(
    st.tuples(st.sampled_from(["enter", "leave", "reject"]), st.integers(1, 1000)), max_size=60
)


def facts(cost: int, reqnum: int = 1) -> RequestFacts:
    return RequestFacts(request_idx=reqnum, reqnum=reqnum, cost=cost, workload=2 * cost)


@given(steps, st.randoms())
def test_in_flight_is_received_minus_finished_and_zero_after_quiet(
    steps: list[tuple[str, int]], rng: random.Random
) -> None:
    ledger, now = LoadLedger(), 0.0
    open_entries: list[Entry] = []
    for number, (step, cost) in enumerate(steps):
        now += 1.0
        if step == "enter":
            open_entries.append(ledger.enter(facts(cost, number), now))
        elif step == "reject":
            ledger.reject(facts(cost, number), now)
        elif open_entries:
            entry = open_entries.pop(rng.randrange(len(open_entries)))
            ledger.leave(entry, rng.choice(ENDINGS), now)
        c = ledger.counters
        assert c.received_workload - c.finished_workload == ledger.working_workload
        assert ledger.n_working == len(open_entries)
    for entry in open_entries:
        ledger.leave(entry, Outcome.SERVED, now)
    c = ledger.counters
    assert c.received_load == c.finished_load
    assert c.n_received == c.n_served + c.n_errored + c.n_cancelled
    assert ledger.working_request_idxs == []
    assert len(ledger.undelivered(10_000)) == c.n_received + c.n_rejected


def test_what_finishes_while_a_batch_is_on_its_way_is_not_lost() -> None:
    ledger = LoadLedger()
    ledger.leave(ledger.enter(facts(1, 1), 0.0), Outcome.SERVED, 1.0)
    batch = ledger.undelivered(500)
    ledger.leave(ledger.enter(facts(1, 1), 2.0), Outcome.ERRORED, 3.0)
    ledger.acknowledge(batch)
    assert [f.outcome for f in ledger.undelivered(500)] == [Outcome.ERRORED]


def test_a_session_counts_as_work_but_nobody_queues_behind_it() -> None:
    ledger = LoadLedger()
    session = RequestFacts(request_idx=1, reqnum=1, cost=50, workload=50, is_session=True)
    ledger.enter(session, 0.0)
    assert (ledger.working_workload, ledger.queued_workload) == (50, 0)


def test_busy_time_grows_while_anything_is_in_flight() -> None:
    ledger = LoadLedger()
    first = ledger.enter(facts(1), 10.0)
    second = ledger.enter(facts(1), 12.0)
    ledger.leave(first, Outcome.SERVED, 15.0)
    ledger.leave(second, Outcome.SERVED, 16.0)
    ledger.leave(ledger.enter(facts(1), 20.0), Outcome.SERVED, 21.0)
    assert ledger.counters.busy_s == 7.0

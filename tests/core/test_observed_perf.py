"""An honest worker is believed, however long and uneven its requests are."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, field, replace

import pytest

from chalicelib.core.fleet.report import apply_report
from chalicelib.core.model.load import believed_perf
from chalicelib.core.model.vouching import SHOWN_BY_GRANTS, WITHIN_TYPE
from chalicelib.core.model.worker import Worker
from chalicelib.wire.reports import WorkerReport
from fakes.bundles.hot_ports import make_worker
from fakes.worlds.worker_program import WorkerProgram

NOW = 1_800_000_000.0
PERF, SLOTS, MEAN_LOAD, SIGMA = 1.0, 8, 7.5, 1.2  # a request takes a minute, some many


@dataclass
class Server:
    """Eight slots, each at an eighth of the perf; a request's load is told when it ends."""

    dice: random.Random
    row: Worker = field(
        default_factory=lambda: make_worker(1, NOW, perf=PERF, slots=SLOTS, reported_at=NOW)
    )
    program: WorkerProgram = field(
        default_factory=lambda: WorkerProgram("0123456789abcdef", slots=SLOTS)
    )
    running: list[tuple[float, float]] = field(default_factory=list)  # (ends at, load)
    queue: list[float] = field(default_factory=list)

    def second(self, at: int, utilisation: float) -> None:
        """Requests come, end and begin; then it reports."""
        if self.dice.random() < utilisation * PERF / MEAN_LOAD:
            load = math.exp(SIGMA * self.dice.gauss(0, 1) - SIGMA**2 / 2)
            self.queue.append(MEAN_LOAD * load)
        self.running = [(ends_at, load) for ends_at, load in self.running if ends_at > at]
        while self.queue and len(self.running) < SLOTS:
            load = self.queue.pop(0)
            self.running.append((at + load * SLOTS / PERF, load))
            granted = self.row.granted_load + load
            self.row = replace(self.row, reqnum=self.row.reqnum + 1, granted_load=granted)
        self.program.seq += 1
        self.program.n_working = len(self.running)
        self.program.working_load = sum(load for _, load in self.running)
        report = self.program.report(1, "", max_perf=PERF, row=self.row)
        changes: dict[str, object] = dict(apply_report(self.row, report, NOW + at).changes)
        self.row = replace(self.row, **changes)  # type: ignore[arg-type]  # the row's own fields


@pytest.mark.parametrize("utilisation", [0.6, 0.9, 1.2])
@pytest.mark.parametrize("seed", range(2))
def test_an_honest_worker_of_long_uneven_requests_is_believed(
    seed: int, utilisation: float
) -> None:
    """Most seconds in which no slot is free show no load served: they prove nothing."""
    server = Server(random.Random(seed))
    least = PERF
    for at in range(1, 5_000):
        server.second(at, utilisation)
        least = min(least, believed_perf(server.row))
    assert server.row.reqnum > 200
    assert least >= 0.6 * PERF
    assert believed_perf(server.row) >= 0.8 * PERF


@pytest.mark.parametrize("slots", [0, 10**6, 64, SLOTS])
def test_a_worker_alone_that_claims_ten_thousand_times_its_speed_is_found_by_its_work(
    slots: int,
) -> None:
    """It has no peers, is believed at first, and so is given all that comes: twice too much."""
    claim, cost = 1e4 * PERF, MEAN_LOAD / 10
    row = make_worker(1, NOW, perf=claim, slots=slots, reported_at=NOW)
    program = WorkerProgram("0123456789abcdef", slots=slots)
    at_work, done, n, n_granted, found_after = 0.0, 0.0, 3, 0, math.inf
    for second in range(1, 1_600):
        n_granted += n
        row = replace(row, reqnum=n_granted, granted_load=n_granted * cost)
        at_work += n * cost
        done = min(done + PERF, at_work)
        n_left = math.ceil((at_work - done) / cost)
        program.seq, program.n_working, program.working_load = second, n_left, n_left * cost
        report = program.report(1, "", max_perf=claim, row=row)
        changes: dict[str, object] = dict(apply_report(row, report, NOW + second).changes)
        row = replace(row, **changes)  # type: ignore[arg-type]  # the row's own fields
        if believed_perf(row) < 2 * PERF:
            found_after = min(found_after, n_left)
    assert believed_perf(row) == pytest.approx(1.25 * PERF, rel=0.15)
    assert found_after <= {0: 300, 10**6: 2_500, 64: 200, SLOTS: 60}[slots]


def finishes_by_its_word(
    claims: list[float], granted_per_s: float, *, knows_tickets: bool = True
) -> Worker:
    """One of PERF that is always full and finished 1.27 times that, whatever it was granted."""
    row = make_worker(1, NOW, perf=claims[0], slots=SLOTS, reported_at=NOW, reqnum=100)
    row = replace(row, granted_load=100.0)
    for second, claim in enumerate(claims, 1):
        granted = row.granted_load + granted_per_s
        row = replace(row, reqnum=row.reqnum + 1, granted_load=granted)
        told = {"ticket": "D"} if knows_tickets or claim == claims[0] else {}
        body = {
            "id": 1, "mtoken": "", "version": "1.0.0", "boot_id": "0123456789abcdef",
            "seq": second, "max_perf": claim, "slots": SLOTS, "num_requests_working": SLOTS,
            "cur_load": 0.0, "received_load": 1.27 * second, "finished_load": 1.27 * second, **told,
        }  # fmt: skip
        report = WorkerReport.from_json(json.dumps(body))
        changes: dict[str, object] = dict(apply_report(row, report, NOW + second).changes)
        row = replace(row, **changes)  # type: ignore[arg-type]  # the row's own fields
    return row


def test_what_it_says_it_finished_shows_no_more_than_was_granted() -> None:
    """Beyond the grants it shows what its claim needs to be believed, which is no proof."""
    claim = WITHIN_TYPE * PERF
    assert finishes_by_its_word([claim] * 200, 0.1).observed_perf <= SHOWN_BY_GRANTS * PERF
    granted = finishes_by_its_word([claim] * 200, 1.27)
    assert granted.observed_perf == pytest.approx(1.27, rel=0.03)


@pytest.mark.parametrize("knows_tickets", [True, False])
def test_what_a_higher_claim_made_room_for_falls_with_the_claim(knows_tickets: bool) -> None:
    claims = [1e12] * 100 + [WITHIN_TYPE * PERF] * 2
    row = finishes_by_its_word(claims, 0.1, knows_tickets=knows_tickets)
    assert row.perf == WITHIN_TYPE * PERF
    assert 0.0 < row.observed_perf <= SHOWN_BY_GRANTS * PERF

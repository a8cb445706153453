"""Root on one rented machine: it may report what it likes, and gets no more than its share.

A game is a fleet of n honest machines and one liar of their speed behind the real router and the
real reports, over the fakes. The liar tries every field of a report, alone and in pairs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.worker import WorkerState
from fakes.bundles.hot_ports import AUTOGROUP_ID
from fakes.worlds.world import World
from tests.faults.stories import count_calls, in_state, run_rounds
from tests.services.reporter import Reporter
from tests.services.router import Router, make_world, see

TRUE_PERF, COST, SLOTS, REPORT_S = 100.0, 100.0, 4, 1.0
LIAR = 1
MARGIN = 0.10
BOOT = "0123456789abcdef"
N_WARM, N_COUNTED = 40, 120
PATIENCE_S, POLLS = 30.0, 3

Report = dict[str, object]
Lie = Callable[[Report], Report]


def says(**fields: object) -> Lie:
    return lambda report: {**report, **fields}


def seems_saturated(report: Report) -> Report:
    """All slots busy at every report, and all that came in is done: what would prove any speed."""
    return {
        **report,
        "num_requests_working": report["slots"],
        "finished_load": report["received_load"],
    }


def came_in_part(report: Report, part: float) -> Report:
    """The rest of what it was granted never came, it says: its callers' doing, not its load."""
    came = part * float(str(report["received_load"]))
    return {
        **report,
        "num_requests_working": 0,
        "cur_load": 0.0,
        "received_load": came,
        "finished_load": came,
    }


LIES: dict[str, Lie] = {
    "perf 1e12": says(max_perf=1e12),
    "perf x 10": says(max_perf=10 * TRUE_PERF),
    "perf x 2": says(max_perf=2 * TRUE_PERF),
    "perf x 1.27": says(max_perf=1.27 * TRUE_PERF),
    "perf x 1.27, proven": lambda r: seems_saturated({**r, "max_perf": 1.27 * TRUE_PERF}),
    "perf 1e12, proven": lambda r: seems_saturated({**r, "max_perf": 1e12}),
    "perf x 2, proven": lambda r: seems_saturated({**r, "max_perf": 2 * TRUE_PERF}),
    "slots 1e6": says(slots=1_000_000),
    "slots x 4": says(slots=4 * SLOTS),
    "no slots": says(slots=0),
    "idle": says(num_requests_working=0, cur_load=0.0),
    "perf x 1.27, idle": says(max_perf=1.27 * TRUE_PERF, num_requests_working=0, cur_load=0.0),
    "perf low": says(max_perf=1.0),
    "load high": says(cur_load=1e15),
    "working high": says(num_requests_working=10**9),
    "perf 1e12, slots 1e6": says(max_perf=1e12, slots=1_000_000),
    "half never came, idle": lambda r: came_in_part(r, 0.5),
    "a tenth came, idle": lambda r: came_in_part(r, 0.1),
    "perf 1e12, no slots": says(max_perf=1e12, slots=0, num_requests_working=0, cur_load=0.0),
}


@dataclass
class Fleet:
    """n honest workers and a liar, or accomplices that lie alike; each serves TRUE_PERF."""

    n_honest: int
    load: float  # of what they all serve
    lie: Lie
    lies_from: int = 0
    seed: int = 0
    n_liars: int = 1
    granted: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world = make_world()
        self.router = Router(self.world)
        self.rng = random.Random(self.seed)
        n_all = self.n_honest + self.n_liars
        self.every_s = COST / (self.load * TRUE_PERF * n_all)
        self.liars = range(LIAR, LIAR + self.n_liars)
        ids = range(1, n_all + 1)
        self.received = dict.fromkeys(ids, 0.0)
        self.finished = dict.fromkeys(ids, 0.0)
        self.url: dict[str, int] = {}
        self.reporters = {i: Reporter(self.world, i) for i in ids}
        self.report_at = self.world.clock.now()
        self.n_asked = 0
        self.waiting: list[tuple[int, float]] = []
        for i in ids:
            worker = self.world.add_worker(
                i, perf=TRUE_PERF, slots=SLOTS, gpu_name="RTX 4090", autogroup_id=AUTOGROUP_ID
            )
            self.url[worker.url] = i
        self._report()

    def play(self, n: int) -> None:
        """N clients come; those that wait ask again, and leave after 30 s."""
        for _ in range(n):
            self.n_asked += 1
            now = self.world.clock.now()
            self.waiting = [(idx, at) for idx, at in self.waiting if now - at < PATIENCE_S]
            again, self.waiting = self.waiting[:POLLS], self.waiting[POLLS:]
            for idx, at in [*again, (0, now)]:
                self._ask(idx, at)
            self._serve(self.rng.expovariate(1.0 / self.every_s))

    def _ask(self, idx: int, asked_at: float) -> None:
        reply = self.router.ask(idx, cost=COST, is_paced=True)
        if "url" in reply:
            worker = self.url[str(reply["url"])]
            self.granted.append(worker)
            self.received[worker] += COST
        else:
            self.waiting.append((self.router.idx(reply), asked_at))

    def share_of_liar(self, n: int) -> float:
        return sum(worker in self.liars for worker in self.granted[-n:]) / n

    def _serve(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        for i, received in self.received.items():
            self.finished[i] = min(received, self.finished[i] + TRUE_PERF * seconds)
        if self.world.clock.now() >= self.report_at:
            self._report()

    def _report(self) -> None:
        self.report_at = self.world.clock.now() + REPORT_S
        for i, reporter in self.reporters.items():
            working = self.received[i] - self.finished[i]
            report: Report = {
                "ticket": "D",
                "boot_id": BOOT,
                "seq": int(self.world.clock.now() * 1000),
                "max_perf": TRUE_PERF,
                "slots": SLOTS,
                "cur_load": working,
                "num_requests_working": int(-(-working // COST)),
                "received_load": self.received[i],
                "finished_load": self.finished[i],
                "rejected_load": 0.0,
            }
            if i in self.liars and self.n_asked >= self.lies_from:
                report = self.lie(report)
            reporter.send(None, "", **report)
        see(self.world)


def share(n_honest: int, load: float, name: str, lies_from: int = 0, n_liars: int = 1) -> float:
    """The liars' share of the requests granted after a while."""
    fleet = Fleet(n_honest, load, LIES[name], lies_from, n_liars=n_liars)
    fleet.play(N_WARM + int(N_COUNTED * max(1.0, load)))
    # One that says it is full is believed, and serves nobody: the others go on.
    assert len(fleet.granted) >= N_COUNTED / 2, f"{name}: only {len(fleet.granted)} were served"
    return fleet.share_of_liar(min(N_COUNTED, len(fleet.granted)))


@pytest.mark.parametrize(
    ("n_honest", "load"),
    [
        (1, 1.5),
        (2, 0.3),
        *(pytest.param(*case, marks=pytest.mark.long) for case in [(1, 0.3), (2, 1.5), (3, 1.5)]),
        *(pytest.param(5, load, marks=pytest.mark.long) for load in (0.3, 1.5)),
    ],
)
def test_no_lie_gets_more_than_a_share_of_the_requests(n_honest: int, load: float) -> None:
    most = 1.0 / (n_honest + 1) + MARGIN
    shares = {name: share(n_honest, load, name) for name in LIES}
    assert {name: got for name, got in shares.items() if got > most} == {}


WITH_ACCOMPLICES = ["a tenth came, idle", "perf x 1.27, proven", "slots 1e6"]


@pytest.mark.parametrize(
    ("n_honest", "n_liars", "load", "names"),
    [
        (3, 2, 1.5, WITH_ACCOMPLICES),
        *(
            pytest.param(n, 2, load, [*LIES], marks=pytest.mark.long)
            for n in (2, 3, 4)
            for load in (0.8, 1.5)
        ),
    ],
)
def test_accomplices_that_are_no_majority_get_ten_points_each_above_their_part(
    n_honest: int, n_liars: int, load: float, names: list[str]
) -> None:
    """Each vouches for the other. A majority of a type says what the type is: no bound there."""
    most = n_liars / (n_honest + n_liars) + n_liars * MARGIN
    shares = {name: share(n_honest, load, name, n_liars=n_liars) for name in names}
    assert {name: got for name, got in shares.items() if got > most} == {}


@pytest.mark.parametrize("name", ["perf 1e12", "slots 1e6", "perf low", "perf 1e12, no slots"])
def test_a_worker_that_was_honest_and_lies_later_gets_no_more(name: str) -> None:
    assert share(2, 0.8, name, lies_from=N_WARM // 2) <= 1 / 3 + MARGIN


@dataclass
class UnusedTickets(Fleet):
    """Forty small tickets in two seconds, of which a part is used; the liar may be cheaper."""

    used: float = 0.0
    usd_per_hour: float = 0.2

    def __post_init__(self) -> None:
        """The machines beside it cost 0.20 dollars an hour."""
        super().__post_init__()
        self.every_s = 0.05
        for key, row in self.world.workers.rows.items():
            usd = self.usd_per_hour if key[1] == LIAR else 0.2
            self.world.workers.rows[key] = replace(row, usd_per_hour=usd)

    def _ask(self, idx: int, asked_at: float) -> None:
        reply = self.router.ask(idx, cost=COST / 20, is_paced=True)
        if "url" in reply:
            worker = self.url[str(reply["url"])]
            self.granted.append(worker)
            self.received[worker] += COST / 20 * (self.rng.random() < self.used)


NOTHING_CAME = says(
    max_perf=1.2 * TRUE_PERF,
    received_load=0.0,
    finished_load=0.0,
    num_requests_working=0,
    cur_load=0.0,
)


def share_of_tickets(lie: Lie, used: float, usd_per_hour: float, seed: int = 0) -> float:
    fleet = UnusedTickets(1, 0.8, lie, seed=seed, used=used, usd_per_hour=usd_per_hour)
    fleet.play(10 + 80)
    return fleet.share_of_liar(80)


@pytest.mark.parametrize("used", [0.0, 0.5, 1.0])
def test_tickets_that_nobody_uses_give_a_liar_no_more(used: float) -> None:
    assert share_of_tickets(NOTHING_CAME, used, 0.2) <= 1 / 2 + MARGIN


@pytest.mark.parametrize("used", [0.0, 1.0])
def test_a_cheap_liar_gets_what_an_honest_machine_of_its_price_gets(used: float) -> None:
    """A free slot is taken where it is cheapest: small requests are nearly all its own."""
    honest = share_of_tickets(lambda report: report, used, 0.19)
    assert honest > 1 / 2 + MARGIN
    assert share_of_tickets(NOTHING_CAME, used, 0.19) <= honest + MARGIN


@pytest.mark.parametrize("used", [0.25, 0.5, 0.75])
def test_a_cheap_liar_gains_less_than_ten_points_by_tickets_half_used(used: float) -> None:
    """One draw of eighty requests may say 0.25 more; the mean of eight says 0.07 at most."""
    gains = [
        share_of_tickets(NOTHING_CAME, used, 0.19, seed)
        - share_of_tickets(lambda report: report, used, 0.19, seed)
        for seed in range(8)
    ]
    assert fmean(gains) <= MARGIN


# The scaler: what a lie makes it start, drain and rent.

SCALER_LIES: dict[str, Mapping[str, object]] = {
    "perf 1e12": {"max_perf": 1e12},
    "perf 1e12, all busy": {"max_perf": 1e12, "slots": 8, "num_requests_working": 8},
    "one slot, many at work": {"slots": 1, "num_requests_working": 10**9},
    "no slots, load 1e15": {"slots": 0, "cur_load": 1e15, "num_requests_working": 10**9},
    "perf low": {"max_perf": 1e-3},
}


def busy_fleet(n_workers: int, min_load: float = 95.0, n_autogroups: int = 2) -> World:
    """A group that needs all of its workers, each of which did some work."""
    world = World(seed=4)
    group = world.add_group("llm", min_load=min_load * n_workers, max_workers=12, cold_workers=0)
    for _ in range(n_autogroups - 1):
        world.add_autogroup(group.endpoint_id, test_workers=0)
    run_rounds(world, 80)
    return world


@pytest.mark.parametrize("name", SCALER_LIES)
@pytest.mark.parametrize("n_honest", [2, pytest.param(5, marks=pytest.mark.long)])
def test_a_lie_drains_no_honest_worker_and_rents_nothing(name: str, n_honest: int) -> None:
    world = busy_fleet(n_honest + 1)
    ready = in_state(world, WorkerState.READY)
    liar, *honest = ready
    world.ask(next(iter(world.workers.rows))[0], 4 * len(ready))
    run_rounds(world, 2)
    before = count_calls(world, Verb.CREATE)
    world.processes[liar].lie = SCALER_LIES[name]
    for _ in range(60):
        run_rounds(world, 1)
        assert set(in_state(world, WorkerState.READY)) >= set(honest)
    assert count_calls(world, Verb.CREATE) == before


WITHIN_BELIEF = {"a quarter more": {"max_perf": 127.0}, "a fifth less": {"max_perf": 79.0}}
FINISHED = "a quarter more, and finished"


def lie_of(name: str, told_s: float) -> Mapping[str, object]:
    """What it reports so long after its first lie: of finished work more each second."""
    if name == FINISHED:
        return {"max_perf": 127.0, "num_requests_working": 4, "finished_load": 1e6 + 127.0 * told_s}
    return {**WITHIN_BELIEF, **SCALER_LIES}[name]


def _between(n_honest: int, min_load: float, name: str) -> Any:
    is_quick = (n_honest, min_load, name) in [
        (1, 55.0, FINISHED), (1, 55.0, "a quarter more"), (2, 70.0, "a quarter more"),
        (2, 94.0, "a fifth less"),
    ]  # fmt: skip
    marks = () if is_quick else pytest.mark.long
    return pytest.param(n_honest, min_load, name, marks=marks)


@pytest.mark.parametrize(
    ("n_honest", "min_load", "name"),
    [
        _between(n, min_load, name)
        for n in (1, 2)
        for min_load in (55.0, 70.0, 94.0)
        for name in [*WITHIN_BELIEF, FINISHED, *SCALER_LIES]
    ],
)
def test_wherever_the_floor_lies_a_lie_drains_nobody_starts_and_rents_nothing(
    n_honest: int, min_load: float, name: str
) -> None:
    """One autogroup; a claim within belief is no reason, since the floor may lie between.

    Nor is work that it says it finished, and that we never granted.
    """
    world = busy_fleet(n_honest + 1, min_load, n_autogroups=1)
    liar, *honest = ready = in_state(world, WorkerState.READY)
    assert honest
    world.ask(next(iter(world.workers.rows))[0], 4 * len(ready))
    run_rounds(world, 2)
    before = [count_calls(world, verb) for verb in (Verb.CREATE, Verb.START)]
    began_at = world.clock.now()
    for _ in range(40):
        world.processes[liar].lie = lie_of(name, world.clock.now() - began_at)
        run_rounds(world, 1)
        assert set(in_state(world, WorkerState.READY)) >= set(honest)
    assert [count_calls(world, verb) for verb in (Verb.CREATE, Verb.START)] == before


@pytest.mark.parametrize("name", SCALER_LIES)
def test_what_a_lone_worker_lied_is_no_demand_once_it_is_gone(name: str) -> None:
    """Nobody vouches for the only one: busy at 1e12, it left 78 million load/s to be served."""
    world = busy_fleet(1, min_load=30.0)
    (liar,) = in_state(world, WorkerState.READY)
    before = count_calls(world, Verb.CREATE)
    world.ask(next(iter(world.workers.rows))[0], 1)
    world.processes[liar].lie = SCALER_LIES[name]
    run_rounds(world, 2)
    if liar in world.processes:
        world.processes[liar].lie = {}
    run_rounds(world, 12)
    most = 2 if name == "perf low" else 1  # who says it is broken is replaced, and its reserve, too
    assert count_calls(world, Verb.CREATE) <= before + most

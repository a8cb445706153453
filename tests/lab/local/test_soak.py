"""The soak in short: load with a killed router and a killed worker, and books that agree."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakes.bundles.hot_ports import make_worker
from lab.local.system.local_system import Options, local_system
from lab.local.system.templates import FAST_MODEL, TGI_SIMULATED_8B, onstart
from lab.local.trials.soak import MAX_GROWTH, Plan, Soak, figures_of, growth
from lab.local.trials.soak_books import Books, Fate
from lab.local.trials.soak_clients import Habits

NOW = 1_800_000_000.0
QUICK = replace(TGI_SIMULATED_8B, onstart=onstart(FAST_MODEL, "workers.tgi.server"))


def test_every_request_is_accounted_once_while_routers_and_workers_are_killed() -> None:
    plan = Plan(
        seconds=10.0,
        habits=Habits(rate=6.0, dies_waiting=0.02, dies_with_ticket=0.05, patience_s=5.0),
        kill_worker_every_s=6.0,
        kill_router_every_s=1.0,
        template=QUICK,
    )
    options = Options(n_gateways=2, round_interval_s=1.0, time_scale=60.0)
    with local_system(options, print) as system:
        soak = Soak(system, plan)
        soak.run()
        assert soak.disagreements() == []
        figures = figures_of(soak)
    assert figures["answered"], figures
    assert figures["routers_killed"], figures


@pytest.mark.long
def test_half_an_hour_of_it_leaves_nothing_unaccounted_and_no_process_grown() -> None:
    with local_system(Options(n_gateways=2, has_ministack=True), print) as system:
        soak = Soak(system, Plan(seconds=1800.0))
        soak.run()
        figures = figures_of(soak)
    assert figures["unaccounted"] == 0
    assert figures["answered"] > 5_000
    assert figures["grants_that_reached_nobody"] <= figures["lost_replies"]
    grown = {name: m["growth"] for name, m in figures["memory_mb"].items()}
    assert max(grown.values()) <= MAX_GROWTH, grown


@pytest.fixture
def books() -> Books:
    """One request, granted worker 1 and answered."""
    books = Books(n_asked=1)
    books.fates[Fate.ANSWERED] += 1
    books.note_grant(1, 1, 20.0)
    books.sold[1].delivered = 20.0
    return books


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"reqnum": 1, "granted_load": 20.0, "received_load": 20.0}, None),
        ({"reqnum": 2, "granted_load": 40.0, "received_load": 20.0}, None),  # a reply was lost
        ({"reqnum": 0, "granted_load": 20.0, "received_load": 20.0}, "row has 0"),
        ({"reqnum": 1, "granted_load": 10.0, "received_load": 20.0}, "row has only 10"),
        ({"reqnum": 1, "granted_load": 20.0, "received_load": 40.0}, "received 40"),
        ({"reqnum": 1, "granted_load": 20.0, "received_load": 0.0}, "received 0"),
    ],
)
def test_the_soak_finds_rows_that_disagree_with_its_clients(
    books: Books, row: dict[str, object], what: str | None
) -> None:
    found = books.problems_with({1: make_worker(1, NOW, **row)}, {1})
    assert (what is None) == (not found)
    assert what is None or what in found[0]


@pytest.mark.parametrize(
    ("granted", "is_agreed"), [(220.0, True), (180.0, True), (120.0, False), (221.0, False)]
)
def test_a_large_request_may_weigh_less_than_it_states_and_never_less_than_a_usual_one(
    books: Books, granted: float, is_agreed: bool
) -> None:
    books.n_asked = 2
    books.fates[Fate.ANSWERED] += 1
    books.note_grant(1, 2, 200.0)
    books.sold[1].delivered = 220.0
    row = make_worker(1, NOW, reqnum=2, granted_load=granted, received_load=220.0)
    assert (books.problems_with({1: row}, {1}) == []) == is_agreed


def test_the_soak_finds_double_grants_lost_requests_and_refusals(books: Books) -> None:
    rows = {1: make_worker(1, NOW, reqnum=1, granted_load=20.0, received_load=20.0)}
    books.note_grant(1, 1, 20.0)
    books.n_asked += 2
    books.fates[Fate.REFUSED] += 1
    assert len(books.problems_with(rows)) == 3


def test_growth_compares_the_last_third_with_the_one_before() -> None:
    assert growth([50.0, 90.0, 100.0, 100.0, 120.0, 120.0]) == pytest.approx(0.2)
    assert growth([1.0]) == 0.0

"""Over random views: a choice with keys obeys whatever a choice without them obeys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.routing.choice import (
    CROWD,
    PATIENCE_S,
    Choice,
    Criteria,
    OnDemand,
    _warm,
    choose_worker,
)
from chalicelib.core.routing.pool import RoutableWorker, slot_of
from chalicelib.core.routing.table import AutogroupFacts, RoutingTable
from tests.core.test_affinity import NOW, wish, worker

N_AUTOGROUPS = 4
EPSILON = 1e-6


@st.composite
def fleets(draw: st.DrawFn) -> list[RoutableWorker]:
    ids = draw(st.lists(st.integers(1, 8_000), max_size=24, unique=True))
    workers = []
    for instance_id in ids:
        one = worker(
            instance_id,
            perf=draw(st.sampled_from([20.0, 90.0, 100.0, 110.0, 400.0])),
            usd=draw(st.sampled_from([0.0, 0.2, 0.21, 3.0])),
            wait_s=draw(st.sampled_from([0.0, 0.3, 2.0, 9.0, 70.0])),
            headroom_s=draw(st.sampled_from([0.0, 1.0, 8.0])),
        )
        one.autogroup_index = draw(st.integers(0, N_AUTOGROUPS))  # the last is of none
        one.is_bid = draw(st.booleans())
        one.generation = draw(st.sampled_from("AD"))
        one.granted_load = draw(st.sampled_from([0.0, 5_000.0]))
        workers.append(one)
    return workers


AUTOGROUPS = st.tuples(
    *[
        st.builds(
            AutogroupFacts,
            autogroup_id=st.just(index + 1),
            weight=st.sampled_from([0.0, 1.0, 1.0, 3.0]),
            tier=st.integers(0, 1),
            is_active=st.sampled_from([True, True, False]),
        )
        for index in range(N_AUTOGROUPS)
    ]
)


@st.composite
def criteria_of(draw: st.DrawFn, workers: list[RoutableWorker]) -> Criteria:
    cost = draw(st.sampled_from([0.0, 1.0, 100.0, 5_000.0]))
    keys = draw(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=4))
    slots = [slot_of(one) for one in workers] or [0]
    return wish(
        *keys,
        saved=draw(st.sampled_from([0.0, 10.0, 90.0, 1e9])),
        cost=cost,
        bound_s=draw(st.sampled_from([0.0, 1.0, 5.0, 60.0])),
        dice=draw(st.floats(0, 0.999)),
        is_strict=draw(st.booleans()),
        is_limited=draw(st.booleans()),
        on_demand=draw(st.sampled_from(OnDemand)),
        avoid_slot=draw(st.none() | st.sampled_from(slots)),
        turned_from=draw(st.frozensets(st.sampled_from(slots), max_size=3)),
    )


Case = tuple[Callable[[], RoutingTable], Criteria]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    workers, facts = draw(fleets()), draw(AUTOGROUPS)
    phase, rate = draw(st.floats(0, 0.999)), draw(st.sampled_from([0.0, 3.0, 40.0]))
    criteria = draw(criteria_of(workers))

    def make() -> RoutingTable:
        rows = [replace(one) for one in workers]
        return RoutingTable(facts, rows, phase=phase, built_at=NOW - 1.0, grants_per_s=rate)

    return make, criteria


def felt_s(choice: Choice) -> float:
    return choice.wait_s + CROWD * max(0.0, choice.worker.free_at - NOW)


@given(cases())
def test_who_is_served_where_and_how_late_is_as_without_keys(case: Case) -> None:
    make, criteria = case
    table, plain = make(), replace(criteria, preferences=())
    keyed, unkeyed = table.choose(criteria, NOW), make().choose(plain, NOW)
    if keyed is None or unkeyed is None:
        assert keyed is unkeyed
        return
    here, there = keyed.worker, unkeyed.worker
    assert table._pool_of[here.autogroup_index] is table._pool_of[there.autogroup_index]
    assert keyed.wait_s == here.wait_s(NOW) <= criteria.bound_s
    asked = criteria
    if criteria.on_demand is OnDemand.PREFER and there.is_bid:
        asked = replace(criteria, on_demand=OnDemand.ANY)  # nobody else would do
    assert not asked.bars(here)
    assert not asked.avoids(here)
    most_saved = max(one.saved_load for one in criteria.preferences)
    warm_s = felt_s(keyed) + (criteria.cost - most_saved) / here.perf
    assert warm_s <= felt_s(unkeyed) + criteria.cost / there.perf + EPSILON


@given(cases())
def test_what_others_may_have_granted_meanwhile_is_bounded_as_without_keys(case: Case) -> None:
    """Up to `bound` at the worker, nobody waits longer there than the request accepts."""
    make, criteria = case
    for asked in (criteria, replace(criteria, preferences=())):
        choice = make().choose(asked, NOW)
        if choice is None:
            continue
        worker = choice.worker
        others_s = (choice.bound - worker.granted_load) / worker.perf
        starts_s = max(0.0, max(worker.free_at, NOW) + others_s - worker.headroom_s - NOW)
        most_s = criteria.bound_s if criteria.is_strict else max(PATIENCE_S, choice.wait_s)
        assert starts_s <= most_s + EPSILON


@given(cases(), st.integers(1, 30))
def test_weights_and_reservations_count_on_as_without_keys(case: Case, n: int) -> None:
    make, criteria = case
    keyed, plain = make(), make()
    for _ in range(n):
        for table, asked in ((keyed, criteria), (plain, replace(criteria, preferences=()))):
            choice = table.choose(asked, NOW)
            if choice is not None:
                load = choice.worker.granted_load + criteria.cost
                table.granted(choice.worker, criteria.cost, load, NOW)
    assert keyed.n_workers == plain.n_workers
    if keyed._n_own == plain._n_own:
        assert keyed.position == plain.position


@given(cases(), st.sampled_from([0.0, 2.0, 30.0]))
def test_the_first_home_taken_at_once_is_what_a_look_at_all_finds(
    case: Case, n_unseen: float
) -> None:
    make, criteria = case
    plain = replace(criteria, preferences=())
    for pool in make()._pool_of.values():
        chosen = choose_worker(pool, criteria, NOW, n_unseen)
        cold = choose_worker(pool, plain, NOW, n_unseen)
        found = cold and (_warm(pool, criteria, NOW, cold) or cold)
        assert (chosen and chosen.worker) is (found and found.worker)
        if chosen and found:
            assert (chosen.why, chosen.promised_load) == (found.why, found.promised_load)
            assert chosen.bound <= found.bound + EPSILON

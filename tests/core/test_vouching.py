"""What a worker says counts as far as its peers and our grants vouch for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.model.load import believed_perf
from chalicelib.core.model.vouching import (
    WITHIN_TYPE,
    lower_median,
    vouch,
    vouch_capacity,
    vouch_routing,
)
from chalicelib.core.model.worker import Worker
from chalicelib.core.scaling.learning import learned_perfs, type_key
from chalicelib.core.scaling.memory import ScalingMemory
from fakes.bundles.hot_ports import make_worker

NOW = 1_800_000_000.0
TYPE = "1x RTX 4090"


def machine(instance_id: int, perf: float = 100.0, **values: object) -> Worker:
    facts = {"gpu_name": "RTX 4090", "slots": 4, "reqnum": 50, "granted_load": 5_000.0, **values}
    return make_worker(instance_id, NOW, perf=perf, **facts)


def perfs(*rows: Worker) -> list[float]:
    return [row.perf for row in vouch(rows, NOW)]


def test_one_liar_among_three_counts_as_its_peers_do() -> None:
    assert perfs(machine(1, 1e12), machine(2, 90.0), machine(3, 110.0)) == [110.0, 90.0, 110.0]


def test_a_low_claim_among_three_lowers_nobody_else() -> None:
    assert perfs(machine(1, 1e-3), machine(2), machine(3)) == [1e-3, 100.0, 100.0]


def test_of_two_that_differ_beyond_belief_the_lower_one_is_believed() -> None:
    assert perfs(machine(1, 1e12), machine(2)) == [100.0, 100.0]


def test_what_the_group_learned_before_breaks_the_tie() -> None:
    known = {(machine(1).autogroup_id, TYPE): 100.0}
    rows = vouch_capacity([machine(1, 1.0, observed_perf=1.0), machine(2)], NOW, known)
    assert [believed_perf(row) for row in rows] == [100.0, 100.0]


def test_a_machine_alone_is_believed() -> None:
    assert perfs(machine(1, 5_000.0)) == [5_000.0]


def test_a_little_faster_is_believed_but_ranked_with_its_peers_until_it_is_proven() -> None:
    fast, *_ = vouch([machine(1, 120.0), machine(2), machine(3)], NOW)
    assert (fast.perf, fast.rank_perf) == (120.0, 100.0)
    proven, *_ = vouch([machine(1, 120.0, observed_perf=115.0), machine(2), machine(3)], NOW)
    assert (proven.perf, proven.rank_perf) == (120.0, 120.0)


@pytest.mark.parametrize("n_peers", [1, 2, 5])
def test_for_routers_a_machine_is_no_faster_than_its_type_until_its_work_shows_it(
    n_peers: int,
) -> None:
    """Idle and 1.27 times as fast, by its word, one took 0.71 of the load beside one honest."""
    peers = [machine(i) for i in range(2, 2 + n_peers)]
    for claim, observed, counts_as in (
        (127.0, 0.0, 100.0),
        (127.0, 102.0, 100.0),
        (110.0, 110.0, 110.0),
        (90.0, 0.0, 90.0),
    ):
        rows = vouch_routing([machine(1, claim, observed_perf=observed), *peers], NOW)
        # Of two that differ the slower one is what the type serves.
        others = min(100.0, counts_as) if n_peers == 1 else 100.0
        assert [row.perf for row in rows] == [counts_as] + [others] * n_peers
        assert rows[0].rank_perf <= counts_as


def test_for_routers_another_type_is_not_held_to_this_one() -> None:
    rows = [machine(i, dlperf=100.0) for i in (1, 2, 3)]
    other = machine(4, 390.0, gpu_name="H100", dlperf=300.0)
    assert vouch_routing([*rows, other], NOW)[3].perf == 390.0


def test_work_that_was_finished_proves_more_than_peers_vouch_for() -> None:
    fast, *_ = vouch([machine(1, 1_000.0, observed_perf=1_000.0), machine(2), machine(3)], NOW)
    assert WITHIN_TYPE * 100.0 < fast.perf <= 130.0


def test_for_the_scaler_a_machine_is_no_slower_than_its_type_by_its_own_account() -> None:
    """Without slots demand is not counted in them, so what a machine finished is what it serves."""
    peers = [machine(2), machine(3)]
    slow, *_ = vouch_capacity([machine(1, 1e-3), *peers], NOW, {})
    assert slow.perf == 100.0
    assert slow.rank_perf == 1e-3
    assert slow.told_perf == pytest.approx(100.0 / WITHIN_TYPE)
    shown, *_ = vouch_capacity([machine(1, 20.0, observed_perf=20.0), *peers], NOW, {})
    assert believed_perf(shown) == 100.0
    rows = [machine(1, 20.0, observed_perf=20.0, slots=0), *(replace(w, slots=0) for w in peers)]
    assert believed_perf(vouch_capacity(rows, NOW, {})[0]) == 20.0


def test_for_the_scaler_a_claim_beyond_belief_is_no_reason_to_stop_another() -> None:
    """Of two real machines one said 1e12 and finished a third more: the honest one was drained."""
    liar, honest = vouch_capacity([machine(1, 1e12, observed_perf=130.0), machine(2)], NOW, {})
    assert (liar.perf, honest.perf) == (100.0, 100.0)


@pytest.mark.parametrize("claim", [79.0, 95.0, 127.0])
@pytest.mark.parametrize("n_peers", [1, 2, 5])
def test_for_the_scaler_a_type_counts_alike_until_its_work_differs(
    claim: float, n_peers: int
) -> None:
    """A claim within belief stopped an honest machine where a floor lay between, or rented one."""
    known = {(machine(1).autogroup_id, TYPE): 100.0}
    peers = [machine(i) for i in range(2, 2 + n_peers)]
    shown = (claim, max(claim, 100.0))
    for observed, counts_as in ((0.0, 100.0), (100.0, 100.0), (102.0, 100.0), shown):
        rows = vouch_capacity([machine(1, claim, observed_perf=observed), *peers], NOW, known)
        assert [believed_perf(row) for row in rows] == [counts_as] + [100.0] * n_peers
        assert rows[0].told_perf == (0.0 if counts_as == claim else claim)


def test_for_the_scaler_no_queue_is_longer_than_what_was_granted_and_not_served() -> None:
    """Forty at work in four slots, by its own word, was the demand of ten machines."""
    marks = ((NOW - 60.0, 0.0), (NOW - 3.0, 4_700.0))
    liar = machine(1, n_working=40, granted_load=5_000.0, granted_marks=marks)
    counted, *_ = vouch_capacity([liar, machine(2), machine(3)], NOW, {})
    assert counted.n_working == 4
    swamped = replace(liar, granted_load=7_000.0, reqnum=70)
    counted, *_ = vouch_capacity([swamped, machine(2), machine(3)], NOW, {})
    assert counted.n_working == 4 + 20


def test_for_the_scaler_another_type_counts_as_far_as_it_is_proven() -> None:
    rows = [machine(i, dlperf=100.0) for i in (1, 2, 3)]
    other = machine(4, 390.0, gpu_name="H100", dlperf=300.0)
    assert vouch_capacity([*rows, other], NOW, {})[3].perf == pytest.approx(300.0)
    proven = replace(other, observed_perf=380.0)
    assert vouch_capacity([*rows, proven], NOW, {})[3].perf == 390.0


def test_another_type_is_judged_by_the_marketplaces_benchmark() -> None:
    rows = [machine(i, dlperf=100.0) for i in (1, 2, 3)]
    honest = machine(4, 300.0, gpu_name="H100", dlperf=300.0)
    assert vouch([*rows, honest], NOW)[3].perf == 300.0
    liar = replace(honest, perf=1e12)
    assert vouch([*rows, liar], NOW)[3].perf == pytest.approx(300.0)


def test_another_template_revision_is_another_model() -> None:
    old = [machine(i) for i in (1, 2, 3)]
    new = [machine(i, 400.0, template_revision=2) for i in (4, 5, 6)]
    assert [row.perf for row in vouch([*old, *new], NOW)] == [100.0] * 3 + [400.0] * 3


@pytest.mark.parametrize(("claimed", "vouched"), [(10**6, 4), (5, 5), (0, 4), (3, 3), (1, 3)])
def test_slots_are_vouched_for_by_peers(claimed: int, vouched: int) -> None:
    liar, *_ = vouch([machine(1, slots=claimed), machine(2), machine(3)], NOW)
    assert liar.slots == vouched


def test_no_more_requests_are_at_work_than_were_granted() -> None:
    marks = ((NOW - 140.0, 4_800.0), (NOW, 5_000.0))
    busy = machine(1, n_working=10**9, granted_marks=marks)
    assert vouch([busy], NOW)[0].n_working == 4 + 2
    assert vouch([replace(busy, reqnum=1)], NOW)[0].n_working == 1


@given(
    honest=st.lists(st.floats(90.0, 110.0), min_size=3, max_size=9),
    lie=st.floats(1e-6, 1e15),
    claimed_slots=st.integers(0, 10**9),
)
def test_one_liar_moves_no_honest_worker_and_stands_for_one_of_them(
    honest: list[float], lie: float, claimed_slots: int
) -> None:
    rows = [machine(i, perf) for i, perf in enumerate(honest, 2)]
    without = {row.instance_id: row.perf for row in vouch(rows, NOW)}
    liar, *others = vouch([machine(1, lie, slots=claimed_slots), *rows], NOW)
    assert {row.instance_id: row.perf for row in others} == without
    assert liar.perf <= max(honest) * WITHIN_TYPE
    assert liar.slots <= 5


def test_the_lower_of_two_middle_values_counts() -> None:
    assert lower_median([3.0, 1.0]) == 1.0
    assert lower_median([1e12, 3.0, 1.0, 2.0]) == 2.0
    with pytest.raises(ValueError, match="no value"):
        lower_median([])


def test_two_loads_of_a_type_vouch_for_the_next() -> None:
    memory = ScalingMemory(perf={type_key(70, TYPE): [2.0, 0.0, 0.0], "71|X": [1.0, 5.0, 0.0]})
    assert learned_perfs(memory) == {(70, TYPE): 1.0}

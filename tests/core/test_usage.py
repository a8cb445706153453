"""What a request counts as: by what such requests used, whatever its caller states."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.model.usage import (
    ENOUGH,
    MAX_ENTRIES,
    POOLED,
    UNLEARNED_COST,
    UNLEARNED_TIMES,
    Use,
    Uses,
    bucket_of,
    combine_uses,
    note_uses,
    tag_of,
    use_key,
    usual_use,
)

CAP, USED = 65_535.0, 40.0
MINE, OTHER = "key-a", "key-b"


def learned(*finished: tuple[str, float, float], n: int = ENOUGH) -> tuple[Use, ...]:
    """A worker's uses after n each of (key, stated, used)."""
    return note_uses((), [(use_key(key, cost), used) for key, cost, used in finished] * n)


def weigh(uses: tuple[Use, ...], key: str, stated: float, most: float = math.inf) -> float:
    return Uses.of(combine_uses([uses])).weigh(key, stated, most=most)


def test_a_cap_that_uses_forty_counts_as_forty() -> None:
    assert weigh(learned((MINE, CAP, USED)), MINE, CAP) == pytest.approx(USED)


def test_an_understated_cost_counts_as_what_it_used() -> None:
    uses = learned((MINE, 0.0001, 200.0))
    assert weigh(uses, MINE, 0.0001, most=3_000.0) == pytest.approx(200.0)
    assert weigh(uses, MINE, 0.0, most=3_000.0) == pytest.approx(200.0)


def test_nobody_counts_for_more_than_a_worker_serves_by_what_a_worker_says() -> None:
    assert weigh(learned((MINE, 1.0, 1e9)), MINE, 1.0, most=3_000.0) == 3_000.0


def test_honest_costs_stay_as_they_are_stated() -> None:
    uses = learned((MINE, 100.0, 95.0))
    assert [weigh(uses, MINE, cost) for cost in (65.0, 100.0)] == [65.0, pytest.approx(95.0)]
    assert weigh(learned((MINE, 100.0, 120.0)), MINE, 100.0) == 100.0


def test_before_twenty_finished_ten_times_the_default_counts_at_most() -> None:
    most = UNLEARNED_TIMES * UNLEARNED_COST
    assert weigh((), MINE, 1e9) == most == 1_000.0
    assert weigh((), MINE, 300.0) == 300.0
    assert weigh(learned((MINE, CAP, USED), n=ENOUGH - 1), MINE, CAP) == most
    assert weigh((), MINE, 1e9, most=50.0) == 50.0


def test_another_key_counts_at_most_as_nearly_all_of_its_stated_cost_did() -> None:
    assert tag_of(MINE) != tag_of(OTHER)
    assert weigh(learned((MINE, CAP, USED)), OTHER, CAP) == pytest.approx(USED)


def test_a_cost_that_was_never_seen_counts_at_most_as_nearly_all_requests_did() -> None:
    assert weigh(learned((MINE, 100.0, 90.0)), OTHER, 1e9) == pytest.approx(90.0)


def test_the_99th_percentile_is_about_that() -> None:
    rng = random.Random(7)
    uses: tuple[Use, ...] = ()
    for _ in range(4_000):
        uses = note_uses(uses, [(use_key(MINE, 100.0), rng.expovariate(0.01))])
    ((_, _, mean, high),) = uses
    assert mean == pytest.approx(100.0, rel=0.25)
    assert 300.0 < high < 700.0  # 461 in truth


def test_one_worker_of_three_that_lies_moves_nothing() -> None:
    honest = learned((MINE, CAP, USED))
    liar = learned((MINE, CAP, 1e9))
    uses = combine_uses([honest, honest, liar])
    assert Uses.of(uses).weigh(MINE, CAP, most=math.inf) == pytest.approx(USED)
    assert usual_use(uses) == pytest.approx(USED)


@given(st.lists(st.tuples(st.integers(-5, 2**17), st.floats(-10, 1e12)), max_size=60))
def test_a_row_keeps_few_uses_and_only_sound_ones(finished: list[tuple[int, float]]) -> None:
    uses = note_uses((), finished)
    assert len(uses) <= MAX_ENTRIES
    assert all(0 <= key < POOLED and 0 <= mean <= high <= 1e9 for key, _, mean, high in uses)


@given(st.floats(0.0, 1e9), st.text(max_size=20))
def test_a_use_key_fits_into_ten_bits(stated: float, key_id: str) -> None:
    assert 0 <= use_key(key_id, stated) < 1 << 10
    assert bucket_of(stated) <= bucket_of(stated * 2)

"""What a request counts as: by what such requests used, whatever its caller states."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.model.usage import (
    ALL,
    AT_A_ROUTE,
    ENOUGH,
    MAX_ENTRIES,
    N_ROUTES,
    POOLED,
    UNLEARNED_COST,
    UNLEARNED_TIMES,
    Use,
    Uses,
    bucket_of,
    combine_uses,
    heard,
    note_uses,
    route_key,
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


@pytest.mark.parametrize("lie", [0.0, 1e9])
@pytest.mark.parametrize("n_honest", [2, 3, 5])
def test_who_claims_to_have_served_more_is_not_heard_more(lie: float, n_honest: int) -> None:
    """A liar that fills its row with thousands, beside machines that served thirty each."""
    honest = learned((MINE, CAP, USED), n=30)
    kinds = [(MINE, CAP / 4**i, lie) for i in range(MAX_ENTRIES)]
    liar = learned(*kinds, n=200)
    uses = combine_uses([liar, *[heard(honest, 30)] * n_honest])
    assert Uses.of(uses).weigh(MINE, CAP, most=3_000.0) == pytest.approx(USED)
    assert usual_use(uses) == pytest.approx(USED)


@pytest.mark.parametrize("lie", [0.0, 1e9])
def test_of_two_that_tell_the_opposite_neither_is_believed(lie: float) -> None:
    rows = [learned((MINE, 200.0, USED)), learned((MINE, 200.0, lie))]
    uses = combine_uses(rows)
    assert Uses.of(uses).weigh(MINE, 200.0, most=3_000.0) == 200.0
    assert usual_use(uses) == 0.0


def test_a_row_is_heard_for_as_many_as_its_worker_was_granted() -> None:
    told = learned((MINE, CAP, USED), (OTHER, CAP, USED), n=100)
    assert sum(n for _, n, _, _ in heard(told, 50)) == 50
    assert heard(told, 0) == []
    assert heard(told, 200) == list(told)


def test_of_fifty_keys_with_two_requests_each_is_known_what_such_requests_use() -> None:
    """No kind of theirs is known by itself, and rows told only of the four that came first."""
    rows: list[tuple[Use, ...]] = [(), (), ()]
    for number in range(100):
        key = use_key(f"key{number % 50}", CAP)
        rows[number % 3] = note_uses(rows[number % 3], [(key, USED)])
    uses = combine_uses(rows)
    assert sum(n for row in rows for _, n, *_ in row) == 100
    assert Uses.of(uses).weigh("a new key", CAP, most=3_000.0) == pytest.approx(USED)
    assert usual_use(uses) == pytest.approx(USED)


def test_the_rest_of_a_row_is_told_by_its_stated_cost_while_it_has_one() -> None:
    strays = [(use_key(f"key{i}", CAP), USED) for i in range(40)]
    one_cost = note_uses((), strays)
    assert [key for key, *_ in one_cost if key >= POOLED] == [POOLED + use_key("", CAP) % 32]
    other = [(use_key(f"key{i}", 3.0), 2.0) for i in range(40)]
    assert [key for key, *_ in note_uses(one_cost, other) if key >= POOLED] == [ALL]


def test_a_kind_that_comes_often_is_told_by_itself_after_strays() -> None:
    strays = [(use_key(f"key{i}", CAP), USED) for i in (1, 2, 3, 4, 5)]
    uses = note_uses((), [*strays, *[(use_key(MINE, CAP), 7.0)] * 30])
    assert (use_key(MINE, CAP), 30, 7.0, 7.0) in [(k, n, m, h) for k, n, m, h in uses]


@given(st.lists(st.tuples(st.integers(-5, 2**17), st.floats(-10, 1e12)), max_size=60))
def test_a_row_keeps_few_uses_and_only_sound_ones(finished: list[tuple[int, float]]) -> None:
    uses = note_uses((), finished)
    kinds = [key for key, *_ in uses if key % AT_A_ROUTE < POOLED]
    assert len(kinds) <= MAX_ENTRIES
    assert len(uses) <= len(kinds) + 1  # the rest together
    assert all(0 <= key < N_ROUTES * AT_A_ROUTE for key, *_ in uses)
    assert all(0 <= mean <= high <= 1e9 for _, _, mean, high in uses)


@given(st.floats(0.0, 1e9), st.text(max_size=20))
def test_a_use_key_fits_into_ten_bits(stated: float, key_id: str) -> None:
    assert 0 <= use_key(key_id, stated) < 1 << 10
    assert bucket_of(stated) <= bucket_of(stated * 2)


CHAT, EMBED = "/v1/chat/completions", "/v1/embeddings"


def at_routes(**used: float) -> tuple[Use, ...]:
    key = use_key(MINE, CAP)
    routes = {"chat": CHAT, "embed": EMBED}
    finished = [(route_key(key, routes[name]), load) for name, load in used.items()]
    return combine_uses([note_uses((), finished * ENOUGH)])


def weigh_at(uses: tuple[Use, ...], route: str, key: str = MINE) -> float:
    return Uses.of(uses).weigh(key, CAP, most=math.inf, route=route)


def test_a_key_that_uses_two_routes_is_corrected_at_each() -> None:
    """One stated cost for both: a chat that generates 40, an embedding of 3,000 tokens."""
    uses = at_routes(chat=40.0, embed=3_000.0)
    assert weigh_at(uses, CHAT) == pytest.approx(40.0)
    assert weigh_at(uses, EMBED) == pytest.approx(3_000.0)


def test_who_names_no_route_or_one_that_nobody_used_counts_as_the_keys_others() -> None:
    uses = at_routes(chat=40.0)
    assert weigh_at(uses, "") == weigh_at(uses, "/made/up") == pytest.approx(40.0)
    mixed = at_routes(chat=40.0, embed=3_000.0)
    assert 40.0 <= weigh_at(mixed, "/made/up") <= 3_000.0
    assert weigh_at(mixed, EMBED, OTHER) == pytest.approx(3_000.0), "another key: the most of all"


def test_all_routes_together_are_what_the_group_uses() -> None:
    assert 40.0 <= usual_use(at_routes(chat=40.0, embed=3_000.0)) <= 3_000.0


def test_what_one_request_in_a_thousand_used_is_no_tail_of_all() -> None:
    """Of one worker: its tail is what 1 % use, of whichever keys."""
    usual, rare = use_key(MINE, CAP), use_key(OTHER, CAP)
    uses = combine_uses([((usual, 200, 40.0, 60.0), (rare, 1, 60_000.0, 60_000.0))])
    assert Uses.of(uses).weigh("third", CAP, most=math.inf) == 60.0
    uses = combine_uses([((usual, 200, 40.0, 60.0), (rare, 10, 60_000.0, 60_000.0))])
    assert Uses.of(uses).weigh("third", CAP, most=math.inf) == 60_000.0

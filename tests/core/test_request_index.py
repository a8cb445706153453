"""`request_idx` says its own history, cannot be forged, and fits what clients can carry."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.routing.request_index import (
    N_SLOTS,
    IndexKind,
    RequestIndex,
    decode_index,
    worker_slot,
)

KEY = b"key of a group"
NOW = 1_800_000_000.0

indexes = st.builds(
    RequestIndex,
    kind=st.sampled_from([IndexKind.GRANTED, IndexKind.WAITING_AGAIN]),
    n_grants=st.integers(0, 3),
    first_seen_at=st.integers(0, 4 * 4_000).map(lambda ticks: NOW - ticks / 4),
    slot=st.integers(0, N_SLOTS - 1),
    low_bits=st.integers(0, 1_023),
) | st.builds(
    RequestIndex,
    kind=st.just(IndexKind.WAITING),
    n_grants=st.integers(0, 3),
    first_seen_at=st.integers(0, 4 * 4_000).map(lambda ticks: NOW - ticks / 4),
    slot=st.none(),
    low_bits=st.integers(0, 2**23 - 1),
)


@given(indexes)
def test_an_index_comes_back_as_it_was_made(index: RequestIndex) -> None:
    assert decode_index(index.encode(KEY), KEY, NOW) == index


@given(indexes)
def test_an_index_is_a_number_that_javascript_can_hold_and_never_zero(index: RequestIndex) -> None:
    assert 0 < index.encode(KEY) < 2**53


@given(indexes)
def test_another_groups_key_does_not_open_it(index: RequestIndex) -> None:
    others = [decode_index(index.encode(KEY), f"other {i}".encode(), NOW) for i in range(8)]
    assert others.count(None) >= 6


@given(st.integers(0, 2**53 - 1))
def test_guessed_numbers_are_refused(idx: int) -> None:
    """One guess in 4,096 passes: what it wins is the place of a request that waited."""
    guesses = [decode_index((idx + i) % 2**53, KEY, NOW) for i in range(64)]
    assert guesses.count(None) >= 60


@given(st.integers())
def test_any_number_is_understood_or_refused(idx: int) -> None:
    index = decode_index(idx, KEY, NOW)
    assert index is None or index.encode(KEY) == idx


def test_a_clock_that_runs_ahead_by_a_second_does_not_make_a_request_old() -> None:
    index = RequestIndex(
        kind=IndexKind.WAITING, n_grants=0, first_seen_at=NOW + 1, slot=None, low_bits=1
    )
    decoded = decode_index(index.encode(KEY), KEY, NOW)
    assert decoded is not None
    assert decoded.first_seen_at == NOW + 1


def test_more_grants_than_can_be_counted_stay_at_the_most() -> None:
    index = RequestIndex(
        kind=IndexKind.GRANTED, n_grants=9, first_seen_at=NOW, slot=1, low_bits=2_000
    )
    decoded = decode_index(index.encode(KEY), KEY, NOW)
    assert decoded is not None
    assert (decoded.n_grants, decoded.low_bits) == (3, 2_000 & 1_023)


def test_slots_fit_their_bits() -> None:
    assert all(0 <= worker_slot(i) < 2**13 for i in range(1, 100_000, 7))

"""Listings are believed only as far as they agree, are complete, and can show what is asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.fleet.intents import (
    LISTING_LAG_S,
    label_for,
    split_label,
    token_from,
    token_is_ours,
)
from chalicelib.core.fleet.inventory import Inventory, absorb, believed_absent
from chalicelib.core.model.market import InstanceListing, InstanceRecord

NOW = 1_800_000_000.0
TOKEN = "0123456789abcdef" + "AbC-_xyz"


def _listing(*ids: int, at: float = NOW, is_complete: bool = True) -> InstanceListing:
    records = tuple(
        InstanceRecord(
            instance_id=id_,
            label=label_for("llm", TOKEN) if id_ == 7 else "",
            actual_status="running",
            intended_status="running",
            cur_state="running",
        )
        for id_ in ids
    )
    return InstanceListing(
        started_at=at, ended_at=at, is_complete=is_complete, instances=records, problem="short"
    )


def _mac(purpose: str, message: str) -> str:
    return f"{purpose}{message}"[::-1]


def test_emptiness_is_believed_after_two_listings_that_agree() -> None:
    first = absorb(Inventory(), _listing(), {})
    assert not first.is_known
    assert absorb(first, _listing(at=NOW + 5), {}).is_known


def test_an_incomplete_listing_undoes_what_was_counted() -> None:
    once = absorb(Inventory(), _listing(1), {"5": 0.0})
    doubt = absorb(once, _listing(is_complete=False), {"5": 0.0})
    assert not doubt.is_known
    assert doubt.unknown_since == NOW
    again = absorb(doubt, _listing(1), {"5": 0.0})
    assert believed_absent(again) == frozenset()
    assert believed_absent(absorb(again, _listing(1), {"5": 0.0})) == {"5"}


def test_a_listing_that_began_too_early_says_nothing_about_an_attempt() -> None:
    inventory = Inventory()
    for n in range(10):
        early = _listing(1, at=NOW + LISTING_LAG_S - 1 + n / 100)
        inventory = absorb(inventory, early, {TOKEN: NOW})
    assert believed_absent(inventory) == frozenset()


def test_a_token_in_a_label_counts_as_present() -> None:
    inventory = absorb(Inventory(), _listing(7), {TOKEN: 0.0})
    assert believed_absent(absorb(inventory, _listing(7), {TOKEN: 0.0})) == frozenset()


@given(st.lists(st.tuples(st.sets(st.integers(1, 4)), st.booleans()), max_size=12))
def test_nothing_is_absent_that_the_last_complete_listing_shows(
    story: list[tuple[set[int], bool]],
) -> None:
    inventory = Inventory()
    shown: set[str] = set()
    for n, (ids, is_complete) in enumerate(story):
        listing = _listing(*ids, at=NOW + n, is_complete=is_complete)
        inventory = absorb(inventory, listing, {str(id_): 0.0 for id_ in range(1, 5)})
        shown = {str(id_) for id_ in ids} if is_complete else shown
        assert not believed_absent(inventory) & shown
        assert is_complete or not inventory.is_known


@given(st.text(alphabet="0123456789abcdef", min_size=16, max_size=16), st.text(max_size=60))
def test_a_token_proves_itself_and_survives_any_group_name(random_hex: str, name: str) -> None:
    token = token_from(random_hex, lambda _purpose, _message: "AbC-_xyz0123")
    for group in (name.strip() or "g", random_hex + "01234567", f"{token}-x", "a - " + token[::-1]):
        assert token in split_label(label_for(group, token))
    assert not token_is_ours(token, _mac)

"""What stays believed while listings are doubted, and when a doubt ends: exact counts, moments."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.fleet.intents import LISTING_LAG_S, MAX_LABEL_NAME, label_name, split_label
from chalicelib.core.fleet.inventory import (
    Inventory,
    absorb,
    believed_absent,
    doubted,
    hiding,
    in_words,
    is_settled,
    with_hidden,
)
from chalicelib.core.model.market import InstanceListing, InstanceRecord

NOW = 1_800_000_000.0
TOKEN = "0123456789abcdef" + "AbC-_xyz"
OBJECT_ID = "64b7f0c2a1e4d5b6c7d8e9f0"  # of MongoDB: it has the shape of a token


def listing(*ids: int, at: float = NOW, problem: str = "", label: str = "") -> InstanceListing:
    records = tuple(
        InstanceRecord(
            instance_id=id_,
            label=label,
            actual_status="running",
            intended_status="running",
            cur_state="running",
        )
        for id_ in ids
    )
    return InstanceListing(
        started_at=at, ended_at=at, is_complete=not problem, instances=records, problem=problem
    )


def after(*listings: InstanceListing, expected: tuple[str, ...] = ("5",)) -> Inventory:
    inventory = Inventory()
    for one in listings:
        inventory = absorb(inventory, one, dict.fromkeys(expected, 0.0))
    return inventory


def test_a_good_listing_is_known_and_says_when_and_what_it_showed() -> None:
    inventory = after(listing(1, 2, at=NOW + 3))
    assert inventory.is_known
    assert (inventory.problem, inventory.unknown_since) == ("", None)
    assert (inventory.listed_at, inventory.n_instances, inventory.n_empty) == (NOW + 3, 2, 0)
    assert inventory.age_s(NOW + 10) == 7.0
    assert inventory.absences == {"5": 1}
    assert inventory.absent_since == {"5": NOW + 3}


def test_the_first_empty_listing_is_doubted_and_the_second_is_not() -> None:
    first = after(listing())
    assert (first.is_known, first.n_empty, first.unknown_since) == (False, 1, NOW)
    assert first.problem
    second = absorb(first, listing(at=NOW + 5), {})
    assert (second.is_known, second.n_empty, second.unknown_since) == (True, 2, None)
    assert absorb(second, listing(3, at=NOW + 9), {}).n_empty == 0


def test_a_doubt_keeps_when_it_began_and_when_the_last_good_listing_was() -> None:
    good = after(listing(1))
    doubt = absorb(good, listing(at=NOW + 60, problem="short"), {"5": 0.0})
    again = absorb(doubt, listing(at=NOW + 90, problem=""), {"5": 0.0})
    assert (doubt.problem, doubt.unknown_since, doubt.listed_at) == ("short", NOW + 60, NOW)
    assert (doubt.n_empty, doubt.absences, doubt.absent_since) == (0, {}, {})
    assert (again.is_known, again.unknown_since) == (False, NOW + 60)  # empty, and only once
    unnamed = absorb(good, replace(listing(at=NOW), is_complete=False), {})
    assert unnamed.problem == "incomplete"


@pytest.mark.parametrize(("after_s", "is_long"), [(599.0, False), (600.0, True), (601.0, True)])
def test_a_doubt_is_long_after_ten_minutes(after_s: float, is_long: bool) -> None:
    doubt = doubted(after(listing(1)), "short", NOW)
    assert doubt.is_long_doubted(NOW + after_s) is is_long
    assert not after(listing(1)).is_long_doubted(NOW + after_s)
    assert not Inventory().is_long_doubted(NOW + after_s)  # never listed: nothing to go on


def test_absence_is_counted_by_listings_that_can_show_it_alone() -> None:
    inventory = Inventory()
    for n, at in enumerate((LISTING_LAG_S - 1, LISTING_LAG_S, LISTING_LAG_S + 5)):
        inventory = absorb(inventory, listing(1, at=NOW + at), {TOKEN: NOW})
        assert inventory.absences.get(TOKEN, 0) == n
    assert believed_absent(inventory) == {TOKEN}
    assert believed_absent(inventory, n_listings=3) == frozenset()
    assert believed_absent(doubted(inventory, "short", NOW)) == frozenset()
    assert inventory.absent_since == {TOKEN: NOW + LISTING_LAG_S}


@pytest.mark.parametrize(
    ("moments", "now", "settled"),
    [
        ((0, 300, 599), 600.0, True),
        ((0, 300, 599), 599.0, False),  # not for ten minutes yet
        ((0, 600), 700.0, False),  # two listings only
        ((0, 1, 2), 700.0, True),
    ],
)
def test_three_listings_over_ten_minutes_settle_what_no_look_can(
    moments: tuple[float, ...], now: float, settled: bool
) -> None:
    inventory = after(*(listing(1, at=NOW + at) for at in moments))
    assert is_settled(inventory, 5, NOW + now) is settled
    assert not is_settled(doubted(inventory, "short", NOW), 5, NOW + now)
    assert not is_settled(inventory, 6, NOW + now)  # nobody misses that one


def test_a_hidden_machine_is_there_and_no_rental_is_given_up_by_such_a_listing() -> None:
    inventory = after(listing(1), listing(1, at=NOW + 5), expected=("5", "6", TOKEN))
    found = with_hidden(inventory, 5)
    assert found.is_known
    assert (found.absences, found.absent_since) == ({"6": 2}, {"6": NOW})


def test_a_listing_that_hides_what_a_look_found_is_doubted_until_it_shows_it() -> None:
    inventory = after(listing(1), listing(1, at=NOW + 5), expected=("5", "6", TOKEN))
    doubt = hiding(inventory, inventory, [5], "hides 5", NOW + 9)
    assert (doubt.is_known, doubt.problem, doubt.unknown_since) == (False, "hides 5", NOW + 9)
    assert doubt.absences == {"5": 2, "6": 2}
    assert doubt.absent_since == {"5": NOW + 9, "6": NOW}
    later = hiding(inventory, doubt, [5], "hides 5", NOW + 60)
    assert later.unknown_since == NOW + 9


def test_a_problem_is_told_without_the_name_of_an_error_class() -> None:
    assert in_words("VastError: 502 Bad Gateway") == "502 Bad Gateway"
    assert in_words("the listing hides instance 7") == "the listing hides instance 7"


@pytest.mark.parametrize(
    ("label", "names"),
    [
        (f"llm - {TOKEN}", {TOKEN: "llm"}),
        (f"llm · {TOKEN}", {TOKEN: "llm"}),
        (f"llm - {TOKEN} (keep!)", {TOKEN: "llm"}),
        (f"my-group - {TOKEN}", {TOKEN: "my-group"}),
        (TOKEN, {TOKEN: ""}),
        (f"{OBJECT_ID} - {TOKEN}", {OBJECT_ID: "", TOKEN: OBJECT_ID}),
        (f"llm - {TOKEN} {OBJECT_ID}", {TOKEN: "llm", OBJECT_ID: f"llm - {TOKEN}"}),
        (f"x{TOKEN}", {}),
        (f"{TOKEN}x", {}),
        (TOKEN[:-1], {}),
        (TOKEN.upper(), {}),
        ("", {}),
    ],
)
def test_a_token_is_found_wherever_it_stands_and_only_whole(
    label: str, names: dict[str, str]
) -> None:
    assert split_label(label) == names


def test_a_groups_name_in_a_label_is_short_printable_ascii() -> None:
    assert label_name("größe\n1 ") == "gr??e?1"
    assert label_name("a" * 100) == "a" * MAX_LABEL_NAME == "a" * 60

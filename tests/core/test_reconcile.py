"""Rentals without an answer are settled by listings that can tell, and by no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from chalicelib.core.fleet.intents import (
    KEPT_AFTER_SETTLED_S,
    LISTING_LAG_S,
    IntentState,
    RentIntent,
    label_for,
    listing_can_show,
)
from chalicelib.core.fleet.inventory import Inventory, absorb
from chalicelib.core.fleet.reconcile import (
    Books,
    NewRow,
    Reconciliation,
    as_destroying,
    expected_since,
    reconcile,
    row_for,
)
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.model.market import UNTOLD_USD_PER_GPU_HOUR, InstanceListing, InstanceRecord
from chalicelib.core.model.worker import WorkerState

NOW = 1_800_000_000.0
TOKEN = "0123456789abcdef" + "AbC-_xyz"
INTENT = RentIntent(
    token=TOKEN,
    endpoint_id=1,
    autogroup_id=2,
    state=IntentState.MAYBE_RENTED,
    planned_at=NOW,
    attempt_ended_at=NOW,
    offer_id=5,
    machine_id=6,
    gpu_name="RTX 4090",
    num_gpus=1,
    usd_per_hour=0.5,
    reserved_microusd_per_hour=500_000,
)
OURS = row_for(INTENT, 77, NOW + LISTING_LAG_S)  # too young to be missed in a listing


def _record(instance_id: int, label: str) -> InstanceRecord:
    return InstanceRecord(
        instance_id=instance_id,
        label=label,
        actual_status="running",
        intended_status="running",
        cur_state="running",
    )


def _settle(
    *records: InstanceRecord, has_row: bool = False, before: Sequence[RentIntent] = ()
) -> Reconciliation:
    """What two complete listings, both late enough, make of the open rental."""
    books = Books(
        groups=[EndpointGroup(endpoint_id=1, name="llm", created_at=NOW)],
        autogroups=[],
        workers=[OURS] if has_row else [],
        intents=[*before, INTENT],
        is_our_token=lambda _token: True,
    )
    inventory, found = Inventory(), Reconciliation()
    for at in (NOW + LISTING_LAG_S, NOW + LISTING_LAG_S + 5):
        listing = InstanceListing(started_at=at, ended_at=at, is_complete=True, instances=records)
        inventory = absorb(inventory, listing, expected_since(books.workers, books.intents))
        found = reconcile(books, listing, inventory, at)
    return found


@pytest.mark.parametrize(
    ("records", "has_row"), [((), False), ((_record(8, "somebody else's"),), False)]
)
def test_two_late_listings_without_it_void_a_rental(
    records: tuple[InstanceRecord, ...], has_row: bool
) -> None:
    (intent,) = _settle(*records, has_row=has_row).settled
    assert intent.state is IntentState.VOID


def test_a_listing_that_shows_nothing_while_we_have_machines_voids_no_rental() -> None:
    assert _settle(has_row=True).settled == ()


@pytest.mark.parametrize(
    ("ago_s", "by_listing", "records", "n_settled"),
    [
        ((119.0,), True, (), 0),
        ((120.0,), True, (), 1),
        ((360.0, 239.0), True, (), 0),
        ((360.0, 240.0), True, (), 1),
        ((360.0, 360.0, 120.0), False, (), 1),
        ((840.0, 720.0, 479.0), True, (), 0),
        ((840.0, 720.0, 480.0), True, (), 1),
        ((14400.0, 10800.0, 7200.0, 5400.0, 4500.0, 3600.0), True, (), 1),
        ((14400.0, 10800.0, 7200.0, 5400.0, 4500.0, 3599.0), True, (), 0),
        ((9300.0, 9180.0, 120.0), True, (), 1),
        ((7440.0, 7320.0, 120.0), True, (), 0),
        ((119.0,), True, (_record(8, "somebody else's"),), 1),
        ((119.0,), False, (), 1),
    ],
)
def test_each_time_that_listings_of_nothing_void_a_rental_the_next_takes_twice_as_long(
    ago_s: tuple[float, ...],
    by_listing: bool,
    records: tuple[InstanceRecord, ...],
    n_settled: int,
) -> None:
    """What they said of the last one may have been false too; Vast's own refusal was not."""
    now = NOW + LISTING_LAG_S + 5
    before = [
        replace(
            INTENT,
            token=f"{place:016x}{TOKEN[16:]}",
            state=IntentState.VOID,
            attempt_ended_at=now - ago - 70 if by_listing else now - ago,
            settled_at=now - ago,
        )
        for place, ago in enumerate(ago_s)
    ]
    assert len(_settle(*records, before=before).settled) == n_settled


@pytest.mark.parametrize(
    ("changes", "is_suspected"),
    [
        ({}, True),
        ({"started_at": NOW + 600.0}, True),
        ({"started_at": NOW - 601.0}, False),
        ({"started_at": NOW + 601.0}, False),
        ({"machine_id": INTENT.machine_id + 1}, False),
        ({"label": label_for("other", "0" * 16 + TOKEN[16:])}, False),
    ],
)
def test_an_unlabelled_instance_on_the_machine_of_a_lost_rental_may_be_it_and_it_counts_on(
    changes: dict[str, object], is_suspected: bool
) -> None:
    stranger = replace(_record(8, ""), machine_id=INTENT.machine_id, started_at=NOW)
    found = _settle(replace(stranger, **changes))  # type: ignore[arg-type]
    assert found.suspected == ({8: TOKEN} if is_suspected else {})
    settled = [intent.state for intent in found.settled]
    assert settled == ([] if is_suspected else [IntentState.VOID])
    assert found.new_rows == (), "it may be the owner's own: it is not touched"


def test_a_list_must_show_what_may_be_rented_and_nothing_that_is_settled_or_not_yet_tried() -> None:
    def expected(**changes: object) -> list[str]:
        return list(expected_since([], [replace(INTENT, **changes)]))  # type: ignore[arg-type]

    assert expected(attempt_ended_at=NOW) == [TOKEN]
    assert expected(attempt_ended_at=None) == []
    assert expected(attempt_ended_at=NOW, state=IntentState.VOID) == []


def _restored(
    *records: InstanceRecord, name: str = "llm", hashes: Sequence[str] = ("t",)
) -> list[NewRow]:
    """What one listing makes of machines with our labels and no books."""
    listing = InstanceListing(
        started_at=NOW, ended_at=NOW, is_complete=True, instances=tuple(records)
    )
    books = Books(
        groups=[EndpointGroup(endpoint_id=1, name=name, created_at=NOW)],
        autogroups=[
            Autogroup(autogroup_id=2 + n, endpoint_id=1, created_at=NOW, template_hash=one)
            for n, one in enumerate(hashes)
        ],
        workers=[],
        intents=[],
        is_our_token=lambda _token: True,
    )
    inventory = absorb(Inventory(), listing, expected_since([], []))
    return list(reconcile(books, listing, inventory, NOW).new_rows)


def test_a_restored_machine_without_a_price_counts_as_the_dearest_gpu_of_ours() -> None:
    def machine(n: int, num_gpus: int, usd: float) -> InstanceRecord:
        record = _record(n, label_for("llm", f"{n:016x}{TOKEN[16:]}"))
        return replace(record, num_gpus=num_gpus, usd_per_hour=usd)

    rows = _restored(machine(1, 1, 0.6), machine(2, 2, 1.0), machine(3, 4, 0.0))
    found = {row.worker.instance_id: row.worker for row in rows}
    assert [row.why for row in rows] == ["restored"] * 3
    assert (found[1].usd_per_hour, found[1].is_price_assumed) == (0.6, False)
    assert (found[2].usd_per_hour, found[2].is_price_assumed) == (1.0, False)
    assert (found[3].usd_per_hour, found[3].is_price_assumed) == (2.4, True)
    of_b = replace(machine(4, 1, 0.5), template_hash="b")
    (second,) = _restored(of_b, hashes=("a", "b"))
    assert second.worker.autogroup_id == 3, "its template says whose it is"
    (first,) = _restored(replace(of_b, template_hash="c"), hashes=("a", "b"))
    assert first.worker.autogroup_id == 2
    (alone,) = _restored(machine(3, 4, 0.0))
    assert alone.worker.usd_per_hour == 4 * UNTOLD_USD_PER_GPU_HOUR
    assert _restored(machine(1, 1, 0.6), name="another") == []


@pytest.mark.parametrize(
    ("intended", "ours_is_bid", "theirs_is_bid", "state"),
    [
        ("running", False, False, WorkerState.CREATING),
        ("running", True, True, WorkerState.CREATING),
        ("stopped", True, True, WorkerState.PAUSED),
        ("stopped", True, False, WorkerState.DESTROYING),
        ("stopped", False, True, WorkerState.DESTROYING),
        ("stopped", False, False, WorkerState.DESTROYING),
    ],
)
def test_a_lost_rental_that_was_made_stopped_is_returned_unless_it_is_outbid(
    intended: str, ours_is_bid: bool, theirs_is_bid: bool, state: WorkerState
) -> None:
    record = replace(
        _record(9, label_for("llm", TOKEN)), intended_status=intended, is_bid=theirs_is_bid
    )
    listing = InstanceListing(
        started_at=NOW + 90, ended_at=NOW + 90, is_complete=True, instances=(record,)
    )
    books = Books(
        groups=[EndpointGroup(endpoint_id=1, name="llm", created_at=NOW)],
        autogroups=[],
        workers=[],
        intents=[replace(INTENT, is_bid=ours_is_bid)],
        is_our_token=lambda _token: True,
    )
    inventory = absorb(Inventory(), listing, expected_since([], books.intents))
    (new,) = reconcile(books, listing, inventory, NOW + 90).new_rows
    assert new.worker.state is state


def test_a_suspicion_ends_after_a_day() -> None:
    old = replace(INTENT, planned_at=INTENT.planned_at - KEPT_AFTER_SETTLED_S)
    stranger = replace(_record(8, ""), machine_id=INTENT.machine_id, started_at=old.planned_at)
    listing = InstanceListing(
        started_at=NOW + 90, ended_at=NOW + 90, is_complete=True, instances=(stranger,)
    )
    books = Books(
        groups=[], autogroups=[], workers=[], intents=[old], is_our_token=lambda _token: True
    )
    known = absorb(Inventory(), listing, expected_since([], [old]))
    assert reconcile(books, listing, known, NOW + 90).suspected == {}
    young = replace(books, intents=[replace(old, planned_at=old.planned_at + 91)])
    assert reconcile(young, listing, known, NOW + 90).suspected == {8: TOKEN}


@pytest.mark.parametrize(("reported_at", "missed_at"), [(NOW + 12, NOW + 20), (0.0, NOW + 60)])
def test_a_destroyed_machine_that_reported_is_missed_at_once_a_young_one_later(
    reported_at: float, missed_at: float
) -> None:
    """Told to go 20 s after its creation; `missed_at`: the first listing whose silence counts."""
    row = as_destroying(row_for(INTENT, 77, NOW), NOW + 20, "")
    row = replace(row, created_at=NOW, reported_at=reported_at)
    books = Books(
        groups=[], autogroups=[], workers=[row], intents=[], is_our_token=lambda _token: True
    )
    since = expected_since(books.workers, books.intents)["77"]
    for at, counts in ((missed_at - 1, False), (missed_at, True)):
        listing = InstanceListing(started_at=at, ended_at=at, is_complete=True)
        assert listing_can_show(listing, since) is counts


def test_a_rental_that_a_listing_shows_is_adopted() -> None:
    found = _settle(_record(9, label_for("llm", TOKEN)))
    assert [intent.state for intent in found.settled] == [IntentState.CONFIRMED]
    assert [(new.worker.instance_id, new.why) for new in found.new_rows] == [(9, "adopted")]

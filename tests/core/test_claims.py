"""Which listed machines are ours: adopted, restored, returned, or left alone for their owner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from chalicelib.core.fleet.intents import (
    MAX_LABEL_NAME,
    IntentState,
    RentIntent,
    instances_by_token,
    label_for,
    token_from,
    token_is_ours,
)
from chalicelib.core.fleet.inventory import Inventory
from chalicelib.core.fleet.observation import observe
from chalicelib.core.fleet.reconcile import Books, Reconciliation, reconcile, row_for
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.model.market import (
    UNTOLD_USD_PER_GB_HOUR,
    UNTOLD_USD_PER_GPU_HOUR,
    InstanceListing,
    InstanceRecord,
)
from chalicelib.core.model.worker import WorkerState

NOW = 1_800_000_000.0


def mac(purpose: str, message: str) -> str:
    return f"{message}-{purpose}"[::-1]


TOKEN = token_from("0123456789abcdef00", mac)
INTENT = RentIntent(
    token=TOKEN,
    endpoint_id=1,
    autogroup_id=2,
    state=IntentState.MAYBE_RENTED,
    planned_at=NOW - 100,
    attempt_ended_at=NOW - 90,
    offer_id=5,
    machine_id=6,
    gpu_name="RTX 4090",
    num_gpus=1,
    usd_per_hour=0.5,
    reserved_microusd_per_hour=500_000,
)
GROUP = EndpointGroup(endpoint_id=1, name="llm", created_at=NOW)
KNOWN = Inventory(is_known=True, problem="", listed_at=NOW, n_instances=1)


def record(instance_id: int = 77, **changes: object) -> InstanceRecord:
    seen = InstanceRecord(
        instance_id=instance_id,
        label=label_for("llm", TOKEN),
        actual_status="running",
        intended_status="running",
        cur_state="running",
        started_at=NOW - 50,
        template_hash="second",
        geolocation="SE",
    )
    return replace(seen, **changes)  # type: ignore[arg-type]


def autogroup(autogroup_id: int, template_hash: str, endpoint_id: int = 1) -> Autogroup:
    return Autogroup(
        autogroup_id=autogroup_id,
        endpoint_id=endpoint_id,
        created_at=NOW,
        template_hash=template_hash,
        template_revision=autogroup_id,
    )


AUTOGROUPS = (autogroup(1, "other", 9), autogroup(2, "first"), autogroup(3, "second"))


def found(
    *records: InstanceRecord,
    intents: tuple[RentIntent, ...] = (),
    groups: tuple[EndpointGroup, ...] = (GROUP,),
    autogroups: tuple[Autogroup, ...] = AUTOGROUPS,
    inventory: Inventory = KNOWN,
    is_our_token: Callable[[str], bool] = lambda token: token_is_ours(token, mac),
) -> Reconciliation:
    books = Books(
        groups=groups,
        autogroups=autogroups,
        workers=[],
        intents=intents,
        is_our_token=is_our_token,
    )
    listing = InstanceListing(started_at=NOW, ended_at=NOW, is_complete=True, instances=records)
    return reconcile(books, listing, inventory, NOW)


def rows(seen: Reconciliation) -> list[tuple[int, str, WorkerState]]:
    return [(one.worker.instance_id, one.why, one.worker.state) for one in seen.new_rows]


def test_a_token_proves_itself() -> None:
    assert "0123456789abcdef" + mac("intent", "0123456789abcdef")[:8] == TOKEN
    assert token_is_ours(TOKEN, mac)
    assert not token_is_ours(TOKEN + "x", mac)
    assert not token_is_ours(TOKEN[:-1] + "~", mac)


def test_on_an_unknown_inventory_attempts_are_closed_and_nothing_is_claimed() -> None:
    planned = replace(INTENT, state=IntentState.PLANNED, attempt_ended_at=None)
    seen = found(record(), intents=(planned,), inventory=Inventory())
    (closed,) = seen.settled
    assert (closed.state, closed.attempt_ended_at) == (IntentState.MAYBE_RENTED, NOW)
    assert closed.problem == "interrupted"
    assert seen.new_rows == ()
    assert found(record(), intents=(INTENT,), inventory=Inventory()).settled == ()


def test_a_shown_rental_is_confirmed_with_its_machine() -> None:
    void = replace(INTENT, token=TOKEN[::-1], state=IntentState.VOID, settled_at=NOW)
    seen = found(record(), intents=(void, INTENT))
    (confirmed,) = seen.settled
    assert (confirmed.state, confirmed.instance_id) == (IntentState.CONFIRMED, 77)
    assert confirmed.settled_at == NOW
    assert rows(seen) == [(77, "adopted", WorkerState.CREATING)]
    planned = replace(INTENT, state=IntentState.PLANNED, attempt_ended_at=None)
    (closed,) = found(record(), intents=(planned,)).settled
    assert closed.state is IntentState.CONFIRMED


def test_a_machine_of_a_deleted_group_is_returned() -> None:
    seen = found(record(), intents=(INTENT,), groups=())
    assert rows(seen) == [(77, "stray", WorkerState.DESTROYING)]
    assert seen.new_rows[0].worker.error == "group deleted"


@pytest.mark.parametrize(
    ("is_bid", "seen_as_bid", "row"),
    [
        (False, False, ("failed_create", WorkerState.DESTROYING)),
        (True, False, ("failed_create", WorkerState.DESTROYING)),
        (False, True, ("failed_create", WorkerState.DESTROYING)),
        (True, True, ("adopted", WorkerState.PAUSED)),
    ],
)
def test_a_contract_that_stands_still_is_returned_unless_it_was_only_outbid(
    is_bid: bool, seen_as_bid: bool, row: tuple[str, WorkerState]
) -> None:
    stopped = record(intended_status="stopped", is_bid=seen_as_bid)
    assert rows(found(stopped, intents=(replace(INTENT, is_bid=is_bid),))) == [(77, *row)]


@pytest.mark.parametrize("known_as", [None, 77])
def test_a_machine_that_a_settled_rental_knows_is_returned(known_as: int | None) -> None:
    void = replace(INTENT, state=IntentState.VOID, settled_at=NOW - 10, instance_id=known_as)
    assert rows(found(record(), intents=(void,))) == [(77, "stray", WorkerState.DESTROYING)]


def test_a_copied_label_is_left_alone() -> None:
    ours = replace(INTENT, state=IntentState.CONFIRMED, instance_id=50)
    seen = found(record(), intents=(ours,))
    assert (rows(seen), seen.unclaimed) == ([], (77,))


def test_with_the_tables_lost_a_machine_is_restored_by_group_and_template() -> None:
    seen = found(record())
    assert rows(seen) == [(77, "restored", WorkerState.CREATING)]
    worker = seen.new_rows[0].worker
    assert (worker.autogroup_id, worker.template_revision, worker.endpoint_id) == (3, 3, 1)
    assert (worker.created_at, worker.state_since) == (NOW - 50, NOW)
    assert worker.is_unconfirmed
    assert worker.place == "SE"
    first = found(record(template_hash="none of them")).new_rows[0].worker
    assert first.autogroup_id == 2
    unnamed = (autogroup(2, ""), autogroup(3, ""))
    assert found(record(template_hash=""), autogroups=unnamed).new_rows[0].worker.autogroup_id == 2
    assert found(record(started_at=0.0)).new_rows[0].worker.created_at == NOW


def test_a_restored_machine_that_tells_no_price_is_not_free() -> None:
    """It was booked at 0, and ranked as the cheapest, until its row told a price."""
    pair = record(num_gpus=2)
    alone = found(pair).new_rows[0].worker
    assert (alone.usd_per_hour, alone.is_price_assumed) == (2 * UNTOLD_USD_PER_GPU_HOUR, True)
    other = token_from("fedcba9876543210", mac)
    priced = record(78, label=label_for("llm", other), num_gpus=4, usd_per_hour=1.2)
    beside = {row.worker.instance_id: row.worker for row in found(pair, priced).new_rows}
    assert beside[77].usd_per_hour == pytest.approx(0.6)  # as our dearest GPU that has a price
    assert (beside[78].usd_per_hour, beside[78].is_price_assumed) == (1.2, False)


def test_a_restored_disk_that_tells_no_price_is_not_free() -> None:
    """Stopped, it was booked at 0, so the caps let others have its money."""
    alone = found(record(disk_space_gb=90.0, intended_status="stopped")).new_rows[0].worker
    assert alone.storage_usd_per_hour == pytest.approx(90 * UNTOLD_USD_PER_GB_HOUR)
    assert alone.is_storage_assumed
    dear = record(78, label=label_for("llm", token_from("fedcba9876543210", mac)),
                  usd_per_hour=0.9, storage_usd_per_hour=0.08, disk_space_gb=40.0)  # fmt: skip
    told = record(disk_space_gb=90.0, usd_per_hour=0.5)
    beside = {row.worker.instance_id: row.worker for row in found(told, dear).new_rows}
    assert beside[77].storage_usd_per_hour == pytest.approx(90 * 0.002)  # as our dearest disk
    assert (beside[78].storage_usd_per_hour, beside[78].is_storage_assumed) == (0.08, False)
    small = replace(dear, disk_space_gb=0.5, storage_usd_per_hour=0.001)
    beside = {row.worker.instance_id: row.worker for row in found(told, small).new_rows}
    assert beside[77].storage_usd_per_hour == pytest.approx(90 * 0.002)
    sizeless = found(record(usd_per_hour=0.5)).new_rows[0].worker
    assert sizeless.storage_usd_per_hour == 0.5, "not even a size: at most what it costs running"
    of_an_other = {r.worker.instance_id: r.worker for r in found(record(), dear).new_rows}
    assert of_an_other[77].storage_usd_per_hour == pytest.approx(0.08)


def test_a_restored_machine_that_stands_still_may_tell_its_disk_alone() -> None:
    """As record show-abandoned-2026: its 0.017 made it the cheapest to start."""
    still = record(intended_status="stopped", usd_per_hour=0.017, disk_space_gb=10.0)
    worker = found(still).new_rows[0].worker
    assert (worker.usd_per_hour, worker.is_price_assumed) == (UNTOLD_USD_PER_GPU_HOUR, True)
    assert observe(worker, still, listed_at=NOW, now=NOW).changes.get("usd_per_hour") is None
    with_disk = replace(still, storage_usd_per_hour=0.017)
    assert found(with_disk).new_rows[0].worker.is_price_assumed
    priced = replace(with_disk, usd_per_hour=0.4)
    assert not found(priced).new_rows[0].worker.is_price_assumed


def test_the_first_disk_price_that_is_told_takes_the_place_of_an_assumed_one() -> None:
    worker = found(record(disk_space_gb=90.0, usd_per_hour=0.5)).new_rows[0].worker
    silent = observe(worker, record(), listed_at=NOW, now=NOW).changes
    assert "storage_usd_per_hour" not in silent
    changes = observe(worker, record(storage_usd_per_hour=0.01), listed_at=NOW, now=NOW).changes
    assert (changes["storage_usd_per_hour"], changes["is_storage_assumed"]) == (0.01, False)
    agreed = replace(worker, storage_usd_per_hour=0.01, is_storage_assumed=False)
    later = observe(agreed, record(storage_usd_per_hour=0.004), listed_at=NOW, now=NOW).changes
    assert "storage_usd_per_hour" not in later


def test_the_first_price_that_is_told_takes_the_place_of_an_assumed_one() -> None:
    worker = found(record()).new_rows[0].worker
    silent = observe(worker, record(), listed_at=NOW + 60, now=NOW + 60).changes
    assert "usd_per_hour" not in silent
    changes = observe(worker, record(usd_per_hour=0.3), listed_at=NOW, now=NOW).changes
    assert (changes["usd_per_hour"], changes["is_price_assumed"]) == (0.3, False)
    agreed = replace(worker, usd_per_hour=0.3, is_price_assumed=False)
    later = observe(agreed, record(usd_per_hour=0.1), listed_at=NOW, now=NOW).changes
    assert "usd_per_hour" not in later  # what was told only rises


def test_without_its_group_or_an_autogroup_a_machine_is_told_of_and_left_alone() -> None:
    for seen in (found(record(), groups=()), found(record(), autogroups=AUTOGROUPS[:1])):
        assert (rows(seen), seen.unclaimed) == ([], (77,))


def test_what_only_looks_like_ours_is_not_even_told_of() -> None:
    seen = found(record(), is_our_token=lambda _token: False)
    assert (rows(seen), seen.unclaimed) == ([], ())
    theirs = found(record(label="mine"), record(8, label=""))
    assert (rows(theirs), theirs.unclaimed) == ([], ())


def test_each_machine_that_is_ours_is_looked_at_whoever_comes_before_it() -> None:
    other = token_from("fedcba9876543210", mac)
    both = (record(5, label="mine"), record(), record(78, label=label_for("llm", other)))
    assert [id_ for id_, _, _ in rows(found(*both))] == [77, 78]
    by_token = instances_by_token(
        InstanceListing(started_at=NOW, ended_at=NOW, is_complete=True, instances=both)
    )
    assert {token: one.instance_id for token, one in by_token.items()} == {TOKEN: 77, other: 78}
    seen = found(*both, intents=(INTENT,))  # the first is claimed by its rental
    assert [(id_, why) for id_, why, _ in rows(seen)] == [(77, "adopted"), (78, "restored")]


OBJECT_ID = "64b7f0c2a1e4d5b6c7d8e9f0"  # of MongoDB: it has the shape of a token


@pytest.mark.parametrize("label", [f"{OBJECT_ID} - {TOKEN}", f"llm - {TOKEN} see {OBJECT_ID}"])
def test_what_else_in_a_label_looks_like_a_token_hides_none(label: str) -> None:
    """A group named by such an id lost each rental whose answer was lost: it billed unseen."""
    group = replace(GROUP, name=label.partition(" - ")[0])
    seen = found(record(label=label), intents=(INTENT,), groups=(group,))
    assert [(id_, why) for id_, why, _ in rows(seen)] == [(77, "adopted")]
    restored = found(record(label=label), groups=(group,))
    assert [(id_, why) for id_, why, _ in rows(restored)] == [(77, "restored")]


def test_of_groups_whose_names_a_label_cannot_tell_apart_the_template_tells() -> None:
    names = [f"{'n' * MAX_LABEL_NAME}-{which}" for which in "ab"]
    groups = tuple(
        replace(GROUP, endpoint_id=n, name=name) for n, name in enumerate(names, start=1)
    )
    seen = record(label=label_for(names[0], TOKEN))
    both = (autogroup(2, "second", 1), autogroup(3, "third", 2))
    first, last = (
        found(seen, groups=groups, autogroups=both),
        found(seen, groups=groups[::-1], autogroups=both),
    )
    assert [new.worker.endpoint_id for new in (*first.new_rows, *last.new_rows)] == [1, 1]
    unsure = (autogroup(2, "second", 1), autogroup(3, "second", 2))
    told = found(seen, groups=groups, autogroups=unsure)
    assert (told.new_rows, told.unclaimed) == ((), (77,))


def test_a_machine_whose_label_has_two_tokens_has_one_row() -> None:
    other = token_from("fedcba9876543210", mac)
    seen = found(record(label=f"{label_for('llm', TOKEN)}, {label_for('llm', other)}"))
    assert [id_ for id_, _, _ in rows(seen)] == [77]


def test_a_row_has_all_that_its_rental_knew() -> None:
    row = row_for(replace(INTENT, is_bid=True, bid_usd_per_hour=0.4, place="SE"), 77, NOW)
    assert (row.created_at, row.state_since, row.state) == (NOW - 100, NOW, WorkerState.CREATING)
    assert (row.usd_per_hour, row.is_bid, row.bid_usd_per_hour, row.place) == (0.5, True, 0.4, "SE")
    assert (row.token, row.machine_id, row.gpu_type) == (TOKEN, 6, "1x RTX 4090")


def test_a_rental_of_a_wrong_clock_is_re_dated() -> None:
    ahead = replace(INTENT, planned_at=NOW + 86_400, attempt_ended_at=NOW + 86_410)
    assert INTENT.as_of(NOW) == INTENT
    again = ahead.as_of(NOW)
    assert (again.planned_at, again.attempt_ended_at, again.settled_at) == (NOW, NOW, None)
    settled = replace(INTENT, settled_at=NOW + 86_400, attempt_ended_at=None).as_of(NOW)
    assert (settled.settled_at, settled.attempt_ended_at) == (NOW, None)
    assert settled.planned_at == NOW - 100

"""Reconciliation: our rows and intents against what the marketplace lists. Pure.

It says what to change so that every machine that is ours has a row, every row has a machine, and
every open intent is settled. It never touches what is not ours (reliability.md 2 and 5).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from chalicelib.core.fleet.intents import (
    KEPT_AFTER_SETTLED_S,
    LISTING_LAG_S,
    IntentState,
    RentIntent,
    instances_by_token,
    label_name,
    split_label,
)
from chalicelib.core.fleet.inventory import Inventory, believed_absent
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.model.market import (
    UNTOLD_USD_PER_GB_HOUR,
    UNTOLD_USD_PER_GPU_HOUR,
    InstanceListing,
    InstanceRecord,
)
from chalicelib.core.model.worker import Worker, WorkerState

SUSPECTED_WITHIN_S = 600.0  # of a lost rental's call, an instance on its machine may be it
EMPTY_BELIEVED_AGAIN_S = 120.0  # before a listing of nothing says again that a rental is void:
EMPTY_BELIEVED_EACH_S = 3600.0  # twice as long each time, up to this


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRow:
    """A row to add: an adopted rental, or (state DESTROYING) a machine to be returned."""

    worker: Worker
    why: str  # "adopted", "restored", "stray", "failed_create"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciliation:
    """What a round changes before it decides anything."""

    settled: tuple[RentIntent, ...] = ()
    new_rows: tuple[NewRow, ...] = ()
    suspected: Mapping[int, str] = field(default_factory=dict)
    """Instances that a rental of ours may have made, though their label says nothing: its token."""
    unclaimed: tuple[int, ...] = ()  # our label, but no group and no intent know it: left alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Books:
    """What our own tables say."""

    groups: Sequence[EndpointGroup]
    autogroups: Sequence[Autogroup]
    workers: Sequence[Worker]
    intents: Sequence[RentIntent]
    is_our_token: Callable[[str], bool] = field(repr=False)


def expected_since(workers: Iterable[Worker], intents: Iterable[RentIntent]) -> Mapping[str, float]:
    """From when on a listing must show each row's instance and each open intent's token."""
    expected = {str(worker.instance_id): _attempt_ended_at(worker) for worker in workers}
    for intent in intents:
        if intent.is_open and intent.attempt_ended_at is not None:
            expected[intent.token] = intent.attempt_ended_at
    return expected


def reconcile(
    books: Books, listing: InstanceListing, inventory: Inventory, now: float
) -> Reconciliation:
    """Compare the books with a listing. On an unknown inventory only attempts are closed."""
    intents = [_closed_attempt(intent, now) for intent in books.intents]
    changed = [new for new, old in zip(intents, books.intents, strict=True) if new != old]
    if not inventory.is_known:
        return Reconciliation(settled=tuple(changed))
    by_token = instances_by_token(listing)
    rows = {worker.instance_id for worker in books.workers}
    suspected = _suspected(intents, listing, rows, now)
    unsure = [one for one in intents if one.token not in suspected.values()]
    settled, new_rows = _settle(unsure, by_token, rows, inventory, books, now)
    claimed = rows | {row.worker.instance_id for row in new_rows}
    strays, unclaimed = _strays(books, by_token, claimed, now)
    closed = {intent.token: intent for intent in changed}
    return Reconciliation(
        settled=tuple({**closed, **{intent.token: intent for intent in settled}}.values()),
        new_rows=(*new_rows, *strays),
        suspected=suspected,
        unclaimed=tuple(unclaimed),
    )


def row_for(intent: RentIntent, instance_id: int, now: float) -> Worker:
    """The worker row of a rental."""
    return Worker(
        endpoint_id=intent.endpoint_id,
        instance_id=instance_id,
        autogroup_id=intent.autogroup_id,
        created_at=intent.planned_at,
        token=intent.token,
        key_id=intent.key_id,
        machine_id=intent.machine_id,
        host_id=intent.host_id,
        gpu_name=intent.gpu_name,
        num_gpus=intent.num_gpus,
        dlperf=intent.dlperf,
        load_s=intent.load_s,
        usd_per_hour=intent.usd_per_hour,
        agreed_usd_per_hour=intent.usd_per_hour,
        storage_usd_per_hour=intent.storage_usd_per_hour,
        is_bid=intent.is_bid,
        bid_usd_per_hour=intent.bid_usd_per_hour,
        bid_margin=intent.bid_margin,
        on_demand_usd_per_hour=intent.on_demand_usd_per_hour,
        place=intent.place,
        template_revision=intent.template_revision,
        uses_ssl=intent.uses_ssl,
        worker_port=intent.worker_port,
        state=WorkerState.CREATING,
        state_since=now,
    )


def as_destroying(worker: Worker, now: float, error: str) -> Worker:
    """The row of a machine that must go."""
    return replace(worker, state=WorkerState.DESTROYING, state_since=now, error=error)


def _attempt_ended_at(worker: Worker) -> float:
    """A machine that was just created, or just told to go, may be listed or not for a while.

    One that reported to us has run, so a listing has had to show it long since.
    """
    if worker.state is not WorkerState.DESTROYING:
        return worker.created_at
    known_at = worker.created_at - (LISTING_LAG_S if worker.reported_at else 0.0)
    return max(known_at, worker.state_since - LISTING_LAG_S)


def _closed_attempt(intent: RentIntent, now: float) -> RentIntent:
    """An attempt that nobody closed was killed: it may have rented until this very moment."""
    if intent.state is IntentState.PLANNED:
        return replace(
            intent, state=IntentState.MAYBE_RENTED, attempt_ended_at=now, problem="interrupted"
        )
    return intent


def _suspected(
    intents: Iterable[RentIntent], listing: InstanceListing, rows: set[int], now: float
) -> dict[int, str]:
    """What was begun on the machine of a rental without an answer, about then, unlabelled.

    That rental counts on for a day: a machine that bills unseen would pass the caps.
    """
    lost = {
        intent.machine_id: intent
        for intent in intents
        if intent.state is IntentState.MAYBE_RENTED
        and intent.machine_id
        and now - intent.planned_at < KEPT_AFTER_SETTLED_S
    }
    return {
        record.instance_id: intent.token
        for record in listing.instances
        if record.instance_id not in rows
        and not split_label(record.label)
        and (intent := lost.get(record.machine_id)) is not None
        and abs(record.started_at - intent.planned_at) <= SUSPECTED_WITHIN_S
    }


def _settle(
    intents: Sequence[RentIntent],
    by_token: Mapping[str, InstanceRecord],
    rows: set[int],
    inventory: Inventory,
    books: Books,
    now: float,
) -> tuple[list[RentIntent], list[NewRow]]:
    settled: list[RentIntent] = []
    new_rows: list[NewRow] = []
    absent = believed_absent(inventory)
    alive = {group.endpoint_id for group in books.groups}
    # A listing that shows nothing while we have rows says nothing about a rental without an id; nor
    # does it soon after one like it was believed: a false one would cost a machine each minute.
    is_conclusive = not inventory.n_empty or (not rows and now >= _empty_believed_at(intents))
    for intent in intents:
        if intent.state is not IntentState.MAYBE_RENTED:
            continue
        record = by_token.get(intent.token)
        if record is not None:
            confirmed = replace(
                intent,
                state=IntentState.CONFIRMED,
                instance_id=record.instance_id,
                settled_at=now,
            )
            settled.append(confirmed)
            if record.instance_id not in rows:
                new_rows.append(_adopted(confirmed, record, alive, now))
        elif intent.token in absent and is_conclusive:
            settled.append(replace(intent, state=IntentState.VOID, settled_at=now))
    return settled, new_rows


def _empty_believed_at(intents: Iterable[RentIntent]) -> float:
    """From when a listing of nothing may say again that rentals do not exist.

    Each time it does makes the next twice as late: one lost answer after the other costs minutes,
    and a lie that lasts a machine an hour. Two hours without one, and all is forgotten.
    """
    said_at = sorted(
        {
            intent.settled_at
            for intent in intents
            if intent.state is IntentState.VOID
            and intent.settled_at is not None
            and intent.settled_at != intent.attempt_ended_at  # by listings, not by Vast's answer
        }
    )
    wait_s, last_at = 0.0, -inf
    for at in said_at:
        is_first = at - last_at > 2.0 * EMPTY_BELIEVED_EACH_S
        wait_s = EMPTY_BELIEVED_AGAIN_S if is_first else min(2.0 * wait_s, EMPTY_BELIEVED_EACH_S)
        last_at = at
    return last_at + wait_s


def _adopted(
    intent: RentIntent, record: InstanceRecord, alive: Iterable[int], now: float
) -> NewRow:
    worker = row_for(intent, record.instance_id, now)
    if intent.endpoint_id not in alive:
        return NewRow(worker=as_destroying(worker, now, "group deleted"), why="stray")
    if record.intended_status == "stopped" and intent.is_bid and record.is_bid:
        return NewRow(worker=replace(worker, state=WorkerState.PAUSED), why="adopted")
    if record.intended_status == "stopped":
        # Vast made the contract but could not start it: only its disk would be paid.
        return NewRow(worker=as_destroying(worker, now, "created stopped"), why="failed_create")
    return NewRow(worker=worker, why="adopted")


def _strays(
    books: Books, by_token: Mapping[str, InstanceRecord], claimed: set[int], now: float
) -> tuple[list[NewRow], list[int]]:
    """Machines with a token of ours and no row: returned if an intent of that token knows them.

    Table and label must both say so: a label alone may have been copied by the owner.

    Without an intent our tables were lost: the machine is adopted again by its group's name, and
    left alone, with an alarm, if there is no such group. An adopted one serves and is billed; what
    would destroy it waits until the owner has confirmed it.
    """
    intents = {intent.token: intent for intent in books.intents}
    groups: dict[str, set[int]] = {}  # a label holds the beginning of a name, two may share it
    for group in books.groups:
        groups.setdefault(label_name(group.name), set()).add(group.endpoint_id)
    strays: list[NewRow] = []
    unclaimed: list[int] = []
    for token, record in by_token.items():
        if record.instance_id in claimed:
            continue
        intent = intents.get(token)
        if intent is not None and intent.instance_id in (None, record.instance_id):
            worker = row_for(intent, record.instance_id, now)
            strays.append(NewRow(worker=as_destroying(worker, now, "stray"), why="stray"))
        elif intent is not None:
            unclaimed.append(record.instance_id)  # a copied label: its rental is another machine
        elif books.is_our_token(token):
            restored = _restored(token, record, groups, books.autogroups, now)
            if restored:
                claimed = claimed | {record.instance_id}  # its label may have two tokens
                strays.append(_with_assumed_prices(restored, record, by_token.values()))
            else:
                unclaimed.append(record.instance_id)
    return strays, unclaimed


def _restored(
    token: str,
    record: InstanceRecord,
    groups: Mapping[str, Collection[int]],
    autogroups: Sequence[Autogroup],
    now: float,
) -> NewRow | None:
    ids = groups.get(split_label(record.label)[token], ())
    own = [a for a in autogroups if a.endpoint_id in ids]
    same = [a for a in own if a.template_hash and a.template_hash == record.template_hash]
    may_be = same or own
    if len({a.endpoint_id for a in may_be}) != 1:  # nobody's, or it could be either's
        return None
    autogroup = may_be[0]
    worker = Worker(
        endpoint_id=autogroup.endpoint_id,
        instance_id=record.instance_id,
        autogroup_id=autogroup.autogroup_id,
        created_at=min(record.started_at, now) or now,
        token=token,
        machine_id=record.machine_id,
        host_id=record.host_id,
        gpu_name=record.gpu_name,
        num_gpus=record.num_gpus or 1,
        dlperf=record.dlperf,
        usd_per_hour=record.usd_per_hour,
        storage_usd_per_hour=record.storage_usd_per_hour,
        is_bid=record.is_bid,
        bid_usd_per_hour=record.bid_usd_per_hour,
        place=record.geolocation,
        template_revision=autogroup.template_revision,
        state=WorkerState.CREATING,
        state_since=now,
        is_unconfirmed=True,
    )
    return NewRow(worker=worker, why="restored")


def _with_assumed_prices(
    new: NewRow, record: InstanceRecord, ours: Collection[InstanceRecord]
) -> NewRow:
    """No price is not a free machine: it counts as our dearest GPU, and disk, that have one."""
    worker = new.worker
    if not record.tells_price:
        told = [r.usd_per_hour / max(r.num_gpus, 1) for r in ours if r.tells_price]
        usd = max(told, default=UNTOLD_USD_PER_GPU_HOUR) * worker.num_gpus
        usd = max(usd, record.usd_per_hour)
        worker = replace(worker, usd_per_hour=usd, is_price_assumed=True)
    if record.storage_usd_per_hour <= 0:
        # What it costs while it runs has the disk in it, so no disk is dearer than that.
        usd = min(_assumed_storage(record, ours) or worker.usd_per_hour, worker.usd_per_hour)
        worker = replace(worker, storage_usd_per_hour=usd, is_storage_assumed=True)
    return replace(new, worker=worker)


def _assumed_storage(record: InstanceRecord, ours: Collection[InstanceRecord]) -> float:
    """$ per hour of a disk whose price is untold; 0 if nobody tells even a size."""
    told = [
        r.storage_usd_per_hour / r.disk_space_gb
        for r in ours
        if r.storage_usd_per_hour > 0 and r.disk_space_gb > 0
    ]
    size_gb = record.disk_space_gb or max((r.disk_space_gb for r in ours), default=0.0)
    return size_gb * max(told, default=UNTOLD_USD_PER_GB_HOUR)

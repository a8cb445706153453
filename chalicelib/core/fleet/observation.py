"""What the marketplace's record of an instance says about its worker row. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from chalicelib.core.fleet.intents import LISTING_LAG_S
from chalicelib.core.fleet.safe_url import UnsafeUrlError, check_address
from chalicelib.core.model.lifecycle import WorkerEvent, is_unheard, market_event, transition
from chalicelib.core.model.market import InstanceRecord
from chalicelib.core.model.worker import Worker, WorkerState

REPEAT_AFTER_S = 20.0  # a start or stop that the listing does not show by then was lost
OVERBILLED_FACTOR, OVERBILLED_USD = 1.5, 0.02
"""Chosen. Vast keeps a contract's price, and a search's has the disk in it: a row differs from its
offer by rounding, and by a move of the price between search and create. Half as much again, and two
cents an hour for machines that cost as little, is neither."""
OVERBILLED_LISTINGS = 2  # one row may be false; of two in a row the machine's own word is taken
_IDENTITY = ("machine_id", "host_id", "gpu_name", "num_gpus", "dlperf")


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What one record changes in a row, and which of our calls must be repeated."""

    changes: dict[str, object]
    repeats_start: bool = False
    repeats_stop: bool = False


def observe(
    worker: Worker,
    record: InstanceRecord,
    *,
    listed_at: float,
    now: float,
    allows_loopback: bool = False,
) -> Observation:
    """Compare a row with the record of its instance in a listing that began at `listed_at`."""
    changes = _identity_changes(worker, record)
    changes |= _price_changes(worker, record)
    changes |= _storage_changes(worker, record)
    if worker.is_bid and record.bid_usd_per_hour not in (0.0, worker.bid_usd_per_hour):
        changes["bid_usd_per_hour"] = record.bid_usd_per_hour
    if lacks_token(worker, record) != worker.is_mislabelled:
        changes["is_mislabelled"] = not worker.is_mislabelled
    if record.ends_at != worker.contract_ends_at:
        changes["contract_ends_at"] = record.ends_at
    url = compose_url(worker, record, allows_loopback=allows_loopback)
    if url and url != worker.url and not _shows_old_address(worker, record):
        changes["url"] = url
    is_settled = listed_at > worker.state_since + REPEAT_AFTER_S
    wants_stop = worker.state is WorkerState.STOPPING and record.intended_status == "running"
    wants_start = worker.state is WorkerState.STARTING and record.intended_status == "stopped"
    changes |= _state_changes(worker, record, listed_at, now)
    return Observation(
        changes=changes,
        repeats_start=wants_start and is_settled,
        repeats_stop=wants_stop and is_settled,
    )


def is_overbilling(worker: Worker) -> bool:
    """Whether listings in a row, not one that may be false, bill it far above what was agreed."""
    return worker.n_overbilled >= OVERBILLED_LISTINGS


def _price_changes(worker: Worker, record: InstanceRecord) -> dict[str, object]:
    """What is booked does not fall below what was agreed, whatever Vast's rows say.

    What a bid pays is our own word, and an outbid machine, whose row may tell its disk alone, comes
    back. Only two things give way: what we assumed ourselves, for want of a price, to the first
    that is told; and what one row billed far above the offer, to the next that does not.
    """
    changes: dict[str, object] = {}
    least = 0.0 if worker.is_price_assumed else worker.usd_per_hour
    if _is_far_above(worker, record):
        changes["n_overbilled"] = min(worker.n_overbilled + 1, OVERBILLED_LISTINGS)
    elif worker.n_overbilled and record.usd_per_hour > record.storage_usd_per_hour:
        changes["n_overbilled"] = 0
        changes["usd_per_hour"] = least = worker.agreed_usd_per_hour
    if record.usd_per_hour > least and (record.tells_price or not worker.is_price_assumed):
        changes["usd_per_hour"] = record.usd_per_hour
        if worker.is_price_assumed:
            changes["is_price_assumed"] = False
    return changes


def _storage_changes(worker: Worker, record: InstanceRecord) -> dict[str, object]:
    """The same for the disk: one that the row does not tell is not 0, what was known counts on."""
    least = 0.0 if worker.is_storage_assumed else worker.storage_usd_per_hour
    if record.storage_usd_per_hour <= least:
        return {}
    changes: dict[str, object] = {"storage_usd_per_hour": record.storage_usd_per_hour}
    return changes | ({"is_storage_assumed": False} if worker.is_storage_assumed else {})


def _is_far_above(worker: Worker, record: InstanceRecord) -> bool:
    """Whether a row bills far more than its offer said; of a bid, than what it says was bid."""
    agreed = worker.agreed_usd_per_hour
    if not agreed:
        return False
    if worker.is_bid:
        bid = max(worker.bid_usd_per_hour, record.bid_usd_per_hour)
        agreed = max(agreed, bid + record.storage_usd_per_hour)
    return record.usd_per_hour > OVERBILLED_FACTOR * agreed + OVERBILLED_USD


def lacks_token(worker: Worker, record: InstanceRecord) -> bool:
    """Whether the label that Vast shows does not say that the row's machine is ours.

    It may be another's machine that an answer named by mistake, or its owner took it over.
    """
    return bool(worker.token) and worker.token not in record.label


def compose_url(worker: Worker, record: InstanceRecord, *, allows_loopback: bool) -> str:
    """Where the worker is reached, "" while it has no port or no address that may be handed out.

    It must be global (security.md T11): never one that a host could point into our network.
    """
    address = record.public_ipaddr.strip()
    port = record.ports.get(f"{worker.worker_port}/tcp")
    if not address or port is None or not 0 < port < 65_536:
        return ""
    try:
        check_address(address)
    except UnsafeUrlError:
        if not (allows_loopback and address == "127.0.0.1"):
            return ""
    host = f"[{address}]" if ":" in address else address
    return f"{'https' if worker.uses_ssl else 'http'}://{host}:{port}"


def _shows_old_address(worker: Worker, record: InstanceRecord) -> bool:
    """Whether an address may be from before the machine was outbid: until the row says it runs."""
    return (
        worker.is_bid
        and not worker.url
        and worker.loaded_at > 0
        and (worker.state is WorkerState.PAUSED or record.actual_status != "running")
    )


def _identity_changes(worker: Worker, record: InstanceRecord) -> dict[str, object]:
    return {
        name: getattr(record, name)
        for name in _IDENTITY
        if getattr(record, name) and getattr(record, name) != getattr(worker, name)
    }


def _state_changes(
    worker: Worker, record: InstanceRecord, listed_at: float, now: float
) -> dict[str, object]:
    """Listings may lag: one that began just after a change of state says nothing about it."""
    if _is_outbid(worker, record, now):
        # It was up before the listing began: only a start may be newer than what is listed.
        is_serving = worker.state.has_served
        known_since = worker.started_at if is_serving else worker.state_since
        is_news = listed_at > known_since + LISTING_LAG_S
        return transition(worker, WorkerEvent.OUTBID, now) if is_news else {}
    event = market_event(record.intended_status, record.actual_status)
    if record.cur_state == "stopped" and record.actual_status in ("exited", "stopped"):
        event = WorkerEvent.MARKET_STOPPED  # interrupted: stopped though we meant it to run
    settles_after_s = 0.0
    if event is WorkerEvent.MARKET_STOPPED and worker.state is not WorkerState.STOPPING:
        settles_after_s = LISTING_LAG_S
    since = max(worker.state_since, worker.started_at)
    if event is None or listed_at <= since + settles_after_s:
        return {}
    return transition(worker, event, now)


_SILENT = frozenset({WorkerState.SUSPECT, WorkerState.UNREACHABLE})
_OURS_TO_STOP = frozenset(
    {WorkerState.STOPPING, WorkerState.STOPPED, WorkerState.PAUSED, WorkerState.DESTROYING}
)


def _is_outbid(worker: Worker, record: InstanceRecord, now: float) -> bool:
    """Whether an interruptible machine that should run has lost its GPU.

    `intended_status` tells first, within seconds, and no member says who stopped it: what we did
    not ask for was a higher bid (tests/evidence/vast/README.md). Some rows tell only that it stands
    still: of a machine that served, that is the same.
    """
    if not worker.is_bid or worker.state in _OURS_TO_STOP:
        return False
    if record.intended_status == "stopped" or record.actual_status == "offline":
        return True
    # Where most are silent at once nobody is suspected (decisions/0032); its own row still tells.
    is_silent = worker.state in _SILENT or is_unheard(worker, now)
    if is_silent and record.actual_status not in (None, "", "running"):
        return True  # which word an outbid machine may show is not documented
    return worker.state.has_served and record.actual_status in ("exited", "stopped")


# Progress of first loads: while a host's status text changes, patience with it is extended.


def follow_progress(
    before: Mapping[str, tuple[str, float]],
    workers: Iterable[Worker],
    records: Mapping[int, InstanceRecord],
    now: float,
) -> dict[str, tuple[str, float]]:
    """For each loading worker: a digest of what its record says, and when that last changed."""
    followed = {}
    for worker in workers:
        if not worker.state.is_first_load:
            continue
        key = str(worker.instance_id)
        seen, changed_at = before.get(key, ("", worker.created_at))
        record = records.get(worker.instance_id)
        text = f"{record.actual_status}|{record.status_msg}" if record else seen
        digest = blake2b(text.encode(), digest_size=6).hexdigest() if record else seen
        followed[key] = (digest, changed_at if digest == seen or not record else now)
    return followed

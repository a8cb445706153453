"""Reading a round's view: the listing, then our own tables, in the order that excludes races."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from chalicelib.core.fleet.intents import KEPT_AFTER_SETTLED_S, token_is_ours
from chalicelib.core.fleet.inventory import (
    absorb,
    believed_absent,
    hiding,
    is_settled,
    with_hidden,
)
from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.fleet.reconcile import Books, expected_since
from chalicelib.core.model.load import WAITING_ENDS_S, WaitingRequest
from chalicelib.core.model.market import InstanceListing, InstanceRecord, plausible_record
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.money.account import Account
from chalicelib.core.scaling.round_memory import BLOB_NAME, RoundMemory
from chalicelib.ports.bundles import ScalerPorts
from chalicelib.ports.ledger import RentIntent
from chalicelib.ports.marketplace import MarketplaceError
from chalicelib.services.market.paced_market import PacedMarket, TooEarlyError
from chalicelib.services.rounds.turns import MANY_GROUPS
from chalicelib.services.rounds.values import RoundView

MAX_DIRECT_LOOKS = 3  # in one round, at machines that are not listed; each costs 2 s
LOOKS_AFTER_S = 60.0
"""Chosen: a listing that fails once is asked again within seconds. In a doubt that lasts longer,
whoever waits for Vast's word, as for an address, is looked at itself."""
MAX_HIDDEN = 1  # machines that a listing may hide before it is doubted as a whole


def read_view(ports: ScalerPorts, market: PacedMarket, account: Account, now: float) -> RoundView:
    """Read everything. The listing comes before rows and intents: what it shows was written."""
    memory = RoundMemory.from_bytes(ports.ledger.read_blob(BLOB_NAME)).as_of(now)
    listing = _list_instances(market, memory.listing_so_far, now)
    groups = tuple(ports.groups.list_groups())
    stored = [intent for intent in ports.ledger.intents() if not _is_old(intent, now)]
    intents = tuple(intent.as_of(now) for intent in stored)
    view = RoundView(
        now=now,
        account=account,
        memory=memory,
        groups=groups,
        autogroups=tuple(ports.groups.list_autogroups()),
        workers=_read_workers(ports, [g.endpoint_id for g in groups], intents),
        intents=intents,
        redated=frozenset(a.token for a, b in zip(intents, stored, strict=True) if a != b),
        listing=listing,
        inventory=memory.inventory,
        waiting=_read_waiting(ports, [g.endpoint_id for g in groups], now),
    )
    view = _with_inventory(ports, market, view)
    return replace(view, looked=_look_at_those_who_wait(market, view))


def build_books(ports: ScalerPorts, view: RoundView) -> Books:
    """What our own tables say, for reconciliation."""
    return Books(
        groups=view.groups,
        autogroups=view.autogroups,
        workers=view.workers,
        intents=view.intents,
        is_our_token=lambda token: token_is_ours(token, ports.secrets.mac),
    )


def by_endpoint(workers: Sequence[Worker]) -> Mapping[int, list[Worker]]:
    """Rows by their group."""
    found: defaultdict[int, list[Worker]] = defaultdict(list)
    for worker in workers:
        found[worker.endpoint_id].append(worker)
    return found


def _list_instances(
    market: PacedMarket, so_far: Mapping[str, object], now: float
) -> InstanceListing:
    try:
        listing = market.call(
            Verb.LIST, lambda vast: vast.list_instances(so_far, ends_at=market.lists_until)
        )
        told = tuple(plausible_record(record, now) for record in listing.instances)
        return replace(listing, instances=told)
    except MarketplaceError as error:
        return InstanceListing(started_at=now, ended_at=now, is_complete=False, problem=str(error))


def _is_old(intent: RentIntent, now: float) -> bool:
    """Whether DynamoDB's TTL has been due for it, though it may not be gone yet."""
    return intent.settled_at is not None and now - intent.settled_at > KEPT_AFTER_SETTLED_S


def _read_workers(
    ports: ScalerPorts, endpoint_ids: Sequence[int], intents: Sequence[RentIntent]
) -> tuple[Worker, ...]:
    """The rows of all groups, and of deleted ones that rented lately: a late machine may show."""
    ids = {*endpoint_ids, *(intent.endpoint_id for intent in intents)}
    if len(ids) > MANY_GROUPS:  # a question for each would take longer than the round has
        return tuple(worker for worker in ports.workers.list_all() if worker.endpoint_id in ids)
    return tuple(
        worker for endpoint_id in sorted(ids) for worker in ports.workers.list(endpoint_id)
    )


def _read_waiting(
    ports: ScalerPorts, endpoint_ids: Sequence[int], now: float
) -> Mapping[int, Sequence[WaitingRequest]]:
    since, found = now - WAITING_ENDS_S, defaultdict[int, list[WaitingRequest]](list)
    requests: Iterable[WaitingRequest]
    if len(endpoint_ids) > MANY_GROUPS:
        requests = ports.waiting.list_all(polled_since=since)
    else:
        requests = [r for id_ in endpoint_ids for r in ports.waiting.list(id_, polled_since=since)]
    for request in requests:
        found[request.endpoint_id].append(request)
    return {endpoint_id: found[endpoint_id] for endpoint_id in endpoint_ids}


def _with_inventory(ports: ScalerPorts, market: PacedMarket, view: RoundView) -> RoundView:
    """Absorb the listing; what it does not show any more is looked at directly before we believe.

    A doubt about one machine is that machine's: it counts against the caps and serves nobody until
    a look finds it gone, or enough listings say so. A look that finds one of several which are not
    listed proves that the listing is not to be believed.
    """
    expected = expected_since(view.workers, view.intents)
    inventory = absorb(view.memory.inventory, view.listing, expected)
    absent = believed_absent(inventory)
    absent_once = believed_absent(inventory, n_listings=1)
    missing = [
        worker
        for worker in view.workers
        # The direct look is the second witness for what we have told to go.
        if str(worker.instance_id)
        in (absent_once if worker.state is WorkerState.DESTROYING else absent)
    ]
    gone: set[int] = set()
    unsettled: set[int] = set()
    unasked: set[int] = set()
    hidden: list[int] = []
    for n_looks, worker in enumerate(_in_turn(missing, view.now)):
        id_ = worker.instance_id
        look = look_at(market, id_) if n_looks < MAX_DIRECT_LOOKS else "later"
        if look == "there":
            hidden.append(id_)
            if len(missing) - len(gone) > MAX_HIDDEN:
                problem = f"the listing hides instance {', '.join(map(str, hidden))}"
                before = view.memory.inventory
                doubt = hiding(inventory, before, hidden, problem, view.now)
                return replace(view, inventory=doubt)
        elif look == "gone" or is_settled(inventory, id_, view.now):
            gone.add(id_)
        else:
            unsettled.add(id_)
            if look == "later":
                unasked.add(id_)
    for id_ in hidden:
        inventory = with_hidden(inventory, id_)
    return replace(
        view,
        inventory=inventory,
        gone=frozenset(gone),
        unsettled=frozenset(unsettled),
        unasked=frozenset(unasked),
    )


def _look_at_those_who_wait(market: PacedMarket, view: RoundView) -> Mapping[int, InstanceRecord]:
    """In a doubt: what Vast says of single machines whose next step only its word can tell."""
    since = view.inventory.unknown_since
    if view.inventory.is_trusted or since is None or view.now - since < LOOKS_AFTER_S:
        return {}
    waiting = [worker for worker in view.workers if _waits_for_vast(worker)]
    found = {}
    for worker in _in_turn(waiting, view.now)[:MAX_DIRECT_LOOKS]:
        try:
            record = _record_of(market, worker.instance_id)
        except MarketplaceError:
            break  # it answers nothing now: more questions would only take the round's time
        if record is not None:  # what is gone is settled by listings, once they can be believed
            found[worker.instance_id] = plausible_record(record, view.now)
    return found


def _waits_for_vast(worker: Worker) -> bool:
    lacks_address = worker.state.is_coming_up or worker.state is WorkerState.READY
    is_ordered = worker.state in (WorkerState.STARTING, WorkerState.STOPPING)
    return is_ordered or (lacks_address and not worker.url)


def _in_turn(missing: Sequence[Worker], now: float) -> list[Worker]:
    """Those that serve or may come to first; each round begins with another, as looks are few."""
    by_id = sorted(missing, key=lambda w: w.instance_id)
    start = int(now // 4.0) % max(1, len(by_id))
    turned = [*by_id[start:], *by_id[:start]]
    return sorted(turned, key=lambda worker: worker.state is WorkerState.DESTROYING)


def look_at(market: PacedMarket, instance_id: int) -> str | None:
    """Whether a machine is "there" or "gone"; "later": it was not asked; None: nobody can say."""
    try:
        record = _record_of(market, instance_id)
    except TooEarlyError:
        return "later"
    except MarketplaceError:
        return None
    return "gone" if record is None else "there"


def _record_of(market: PacedMarket, instance_id: int) -> InstanceRecord | None:
    return market.call(Verb.SHOW, lambda vast: vast.find_instance(instance_id))

"""Panic: return every machine of ours and verify that none is left.

Runs in the scaler's rounds through the flag, and from the owner's machine with the owner's keys
(`ballast panic --direct --stage …`) when the deployment itself does not answer: it needs the tables
and Vast, no lease and no round.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from chalicelib.core.fleet.intents import LISTING_LAG_S, split_label, token_is_ours
from chalicelib.core.fleet.observation import lacks_token
from chalicelib.core.fleet.pacing import Pacing, Verb
from chalicelib.core.model.market import InstanceRecord
from chalicelib.core.model.worker import Worker
from chalicelib.core.words import count
from chalicelib.ports.bundles import ScalerPorts
from chalicelib.ports.errors import KeysUnavailableError, StorageUnavailableError
from chalicelib.ports.ledger import Ledger
from chalicelib.ports.marketplace import MarketplaceError
from chalicelib.services.market.paced_market import PacedMarket

Choose = Callable[[Sequence[InstanceRecord]], Collection[int]]
"""The owner: shown machines of which nobody else can say whose they are, gives the ids to go."""

RETRY_S = 5.0
GIVE_UP_S = 900.0
UNJUDGED_TRIES = 3  # then nothing but what cannot be judged is left, and it is told


@dataclass(frozen=True, kw_only=True, slots=True)
class PanicReport:
    """What a panic came to. `is_verified`: two complete listings, a minute apart, show none."""

    is_verified: bool
    n_returned: int  # machines of ours that were seen and are gone
    left: tuple[int, ...] = ()  # machines of ours that still exist, as far as known
    verified_at: float | None = None
    unjudged: tuple[int, ...] = ()  # listed machines of which nobody can say whose they are
    others: tuple[int, ...] = ()  # labelled by another deployment: untouched, and they bill
    problems: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class _Found:
    """What a complete listing shows, by whose it is."""

    ours: frozenset[int]
    unjudged: frozenset[int]
    mislabelled: Sequence[InstanceRecord]  # ours by their row alone
    others: frozenset[int]


def panic(
    ports: ScalerPorts,
    *,
    gives_up_s: float = GIVE_UP_S,
    tell: Callable[[str], None] | None = None,
    choose: Choose = lambda _records: (),
) -> PanicReport:
    """Stop all rentals, destroy all machines of ours, verify; blocks until it is done.

    Ours is what has a row and its label, or a label with a token that only this deployment can
    have made. If the tables or the keys are down, what of both can be read still counts. For a
    machine that has a row and another label, the owner is asked, once.
    """
    ends_at = ports.clock.now() + gives_up_s
    say = tell or (lambda _text: None)
    problems: list[str] = []
    _brake(ports.ledger, problems)
    market = PacedMarket(ports.marketplace, ports.clock, Pacing(), waits_until=ends_at)
    seen: set[int] = set()
    empty_since: float | None = None
    ours: frozenset[int] = frozenset()
    unjudged: frozenset[int] = frozenset()
    others: frozenset[int] = frozenset()
    asked: dict[int, bool] = {}
    so_far: dict[str, object] = {}
    tries = 0
    while ports.clock.now() < ends_at:
        found = _find_ours(ports, market, so_far, problems)
        if found is None:
            say(f"no whole list from Vast yet; trying again. {problems[-1]}")
        else:
            ours, unjudged, others = found.ours, found.unjudged, found.others
            new = [record for record in found.mislabelled if record.instance_id not in asked]
            if new and not ours:  # first what is surely ours: no answer is waited for
                chosen = frozenset(choose(new))
                asked |= {r.instance_id: r.instance_id in chosen for r in new}
                ends_at = ports.clock.now() + gives_up_s  # the owner took their time
                market = PacedMarket(
                    ports.marketplace, ports.clock, market.pacing, waits_until=ends_at
                )
            ours |= {r.instance_id for r in found.mislabelled if asked.get(r.instance_id)}
            unjudged |= {r.instance_id for r in found.mislabelled if not asked.get(r.instance_id)}
            seen |= ours
            unknown = f", and {len(unjudged)} that nobody can judge" if unjudged else ""
            say(f"{count(len(ours), 'machine')} known to be ours left{unknown}")
            empty_since = None if ours or unjudged else (empty_since or ports.clock.now())
        if ours:
            destroy_all(market, ours, problems)
        elif empty_since and ports.clock.now() - empty_since >= LISTING_LAG_S:
            return PanicReport(
                is_verified=True,
                n_returned=len(seen),
                verified_at=ports.clock.now(),
                others=tuple(sorted(others)),
                problems=tuple(dict.fromkeys(problems)),
            )
        elif unjudged and tries >= UNJUDGED_TRIES:
            break
        tries += 1
        ports.clock.sleep(RETRY_S)
    return PanicReport(
        is_verified=False,
        n_returned=len(seen - ours),
        left=tuple(sorted(ours)),
        unjudged=tuple(sorted(unjudged)),
        others=tuple(sorted(others)),
        problems=tuple(dict.fromkeys(problems)),
    )


def _brake(ledger: Ledger, problems: list[str]) -> None:
    try:
        ledger.set_flags(is_panicking=True)
    except StorageUnavailableError as error:
        problems.append(f"the panic flag could not be set: {error}")


def _find_ours(
    ports: ScalerPorts, market: PacedMarket, so_far: dict[str, object], problems: list[str]
) -> _Found | None:
    """Whose the machines of a complete listing are; None without one."""
    records = list_all(market, so_far, problems)
    if records is None:
        return None
    rows = _rows(ports, problems)
    found, unjudged, others, mislabelled = set(), set(), set(), []
    for record in records:
        row = rows.get(record.instance_id) if rows is not None else None
        if row is not None:
            if lacks_token(row, record) and not row.is_confirmed:
                mislabelled.append(record)
            else:
                found.add(record.instance_id)
            continue
        judged = {_is_ours(ports, token, problems) for token in split_label(record.label)}
        if True in judged:
            found.add(record.instance_id)
        elif None in judged or rows is None:
            unjudged.add(record.instance_id)
        elif judged:
            others.add(record.instance_id)
    return _Found(frozenset(found), frozenset(unjudged), mislabelled, frozenset(others))


def list_all(
    market: PacedMarket, so_far: dict[str, object], problems: list[str]
) -> Sequence[InstanceRecord] | None:
    """What a complete listing shows; None if none is to be had (now), and why in `problems`.

    `so_far` is what the next call goes on from; it is filled and emptied here.
    """
    try:
        listing = market.call(Verb.LIST, lambda vast: vast.list_instances(dict(so_far)))
    except MarketplaceError as error:
        problems.append(f"list: {error}")
        return None
    so_far.clear()
    so_far.update(listing.so_far)
    if not listing.is_complete:
        problems.append(f"list: {listing.problem}")
        return None
    return listing.instances


def _rows(ports: ScalerPorts, problems: list[str]) -> Mapping[int, Worker] | None:
    """Our rows, by instance; None if they cannot be read."""
    try:
        groups = {group.endpoint_id for group in ports.groups.list_groups()}
        groups |= {intent.endpoint_id for intent in ports.ledger.intents()}
        return {w.instance_id: w for group in groups for w in ports.workers.list(group)}
    except StorageUnavailableError as error:
        problems.append(f"tables: {error}")
        return None


def _is_ours(ports: ScalerPorts, token: str, problems: list[str]) -> bool | None:
    """Whether only we can have made the token; None if the key to tell cannot be read."""
    try:
        return token_is_ours(token, ports.secrets.mac)
    except KeysUnavailableError as error:
        problems.append(f"keys: {error}")
        return None


def destroy_all(market: PacedMarket, ids: frozenset[int], problems: list[str]) -> None:
    """Destroy these machines; what went wrong is added to `problems`."""
    try:
        outcomes = market.call(Verb.DESTROY, lambda vast: vast.destroy_instances(sorted(ids)))
    except MarketplaceError as error:
        problems.append(f"destroy: {error}")
        return
    problems += [f"destroy {key}: {problem}" for key, problem in outcomes.items() if problem]

"""What an owner is asked before a change is made: one judgement, for the command and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TypeGuard

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup, Interruptible
from chalicelib.core.money.account import Account
from chalicelib.core.money.budget import MICRO

Row = Mapping[str, object]

MANY_WORKERS = 50
GROUP_CAPS = ("max_usd_per_hour", "max_usd_per_day", "max_usd_per_month")
COUNTS = ("max_workers", "cold_workers", "test_workers")
ROOM_FOR_BIDS = 4  # workers; fewer hold hardly a pool on demand and bids beside it
FREE = frozenset({"endpoint_name", "queue_order", "gpu_ram", "ticket"})
"""What changes nothing of what is rented, started or stopped."""


def moves_machines(before: Row, after: Row) -> bool:
    """Whether anything differs that could rent, start or stop a machine."""
    return any(after[name] != before.get(name) for name in after if name not in FREE)


def risks(before: Row, after: Row) -> list[str]:
    """Sentences about what in a change could cost much money; none for an ordinary one.

    The rows hold an owner's values by name; `before` is empty for what is new.
    """
    found = []
    for name in COUNTS:
        wanted, had = after.get(name), before.get(name) or 0
        if _is_number(wanted) and _is_number(had) and wanted > max(MANY_WORKERS, had):
            found.append(f"{name} {wanted:g}: that many machines may be rented")
    for name in GROUP_CAPS:
        wanted, had = after.get(name), before.get(name)
        if not _is_number(had):
            continue
        if _is_number(wanted) and wanted > 4 * had > 0:
            found.append(f"{name} {wanted:g}: more than four times the present {had:g}")
        elif wanted is None and name in after:
            found.append(f"{name} is removed: only the account's caps remain")
    return found


def account_risks(before: Row, after: Row) -> list[str]:
    """Every cap of the account that is raised: nothing stands above it."""
    return [
        f"{name} ${had:g} → ${wanted:g}: more may be spent"
        for name, wanted in after.items()
        if _is_number(wanted) and _is_number(had := before.get(name)) and wanted > had
    ]


def new_name(name: str, names: Sequence[str]) -> str:
    """That a name makes a group (promise 28), perhaps by a slip of the owner's."""
    near = get_close_matches(name, names, n=1, cutoff=0.8)
    but = f", but {near[0]!r}" if near else ""
    return f"there is no endpoint group {name!r}{but}; a new one would be made, with defaults"


def must_ask(answer: Row) -> bool:
    """Whether a change waits for a yes, by what its preview found.

    A machine that would be rented, started or stopped, or that only a cap refuses; a risk; or
    something in vain: a template that does not exist, a search without offers.
    """
    plan, offers = answer.get("plan"), answer.get("offers")
    found = [answer.get("risks")]
    if isinstance(plan, Mapping):
        found += [plan.get(name) for name in ("actions", "refused", "problems")]
    return any(found) or (isinstance(offers, Mapping) and not offers.get("n"))


def overruled(
    group: EndpointGroup, account: Account, autogroups: Sequence[Autogroup] = ()
) -> list[str]:
    """What the owner asks that a stricter limit does not let happen, in words.

    `autogroups`: those of the group that are made or changed.
    """
    params = group.params
    caps = (
        ("max_usd_per_hour", "an hour", account.caps_microusd_per_hour),
        ("max_usd_per_day", "a day", account.caps_microusd_per_day),
        ("max_usd_per_month", "a month", account.caps_microusd_per_month),
    )
    said = [
        f"{name}: the account's cap of ${cap / MICRO:g} {period} is lower"
        for name, period, cap in caps
        if (getattr(params, name) or 0.0) * MICRO > cap
    ]
    if "cold_workers" in group.given and params.cold_workers > params.max_workers:
        said.append(
            f"cold_workers: no more than max_workers ({params.max_workers}) are kept, "
            f"not {params.cold_workers}"
        )
    said += [
        f"test_workers: no more than max_workers ({params.max_workers}) are rented, "
        f"not {autogroup.test_workers}"
        for autogroup in autogroups
        if autogroup.test_workers > params.max_workers
    ]
    return said


def warnings_of(
    group: EndpointGroup,
    account: Account,
    others: Sequence[EndpointGroup],
    wanted: Autogroup | None,
) -> list[str]:
    """What an owner should know of a group as it would be; `others`: all that the key sees."""
    warnings = []
    if group.params.min_load > 0:
        warnings.append("min_load: at least one worker always runs; how many, a measured one tells")
    elif any(one.min_load > 0 for one in group.schedules):
        warnings.append("schedules: while one holds, at least one worker runs, idle or not")
    if any(one.name == group.name and one.endpoint_id != group.endpoint_id for one in others):
        warnings.append(f"an endpoint group named {group.name!r} exists already")
    warnings += overruled(group, account, [wanted] if wanted else ())
    if group.params.interruptible is not Interruptible.NEVER:
        warnings.append(
            "interruptible: prices here are those on demand, the worst case; bids often cost half, "
            "and are taken away without notice"
        )
        if group.params.max_workers < ROOM_FOR_BIDS:
            warnings.append(
                f"max_workers: {group.params.max_workers} leaves interruptible machines little "
                "room beside those on demand that stand in for them"
            )
    return warnings


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""The owner's levers: freeze, panic, caps."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from chalicelib.core.model.endpoint_group import ParameterError, check_number
from chalicelib.core.model.scopes import ACCOUNT_SCOPE
from chalicelib.core.money.budget import MICRO
from chalicelib.core.words import count
from chalicelib.ports.bundles import ApiPorts
from chalicelib.services.keys import Caller
from chalicelib.services.owner.audit import Change, record_change

Row = dict[str, object]

CAPS: Mapping[str, tuple[str, float]] = {
    "max_usd_per_hour": ("caps_microusd_per_hour", 1e6),
    "max_usd_per_day": ("caps_microusd_per_day", 1e7),
    "max_usd_per_month": ("caps_microusd_per_month", 1e8),
    "max_idle_usd_per_day": ("caps_idle_microusd_per_day", 1e7),
}
"""Caps of the account: the field of the account item, and the highest that is believed."""


def freeze_account(ports: ApiPorts, caller: Caller, *, frozen: bool) -> None:
    """Stop or resume renting, starting, stopping and destroying everywhere; routing goes on."""
    before = ports.ledger.account().is_frozen
    ports.ledger.set_flags(is_frozen=frozen)
    message = "account frozen" if frozen else "account no longer frozen"
    _record(ports, caller, message, {"frozen": before}, {"frozen": frozen})


def panic(ports: ApiPorts, caller: Caller) -> int:
    """Have every instance of ours destroyed; gives how many rows there are."""
    ports.ledger.set_flags(is_panicking=True)
    groups = ports.groups.list_groups()
    n_instances = sum(len(ports.workers.list(group.endpoint_id)) for group in groups)
    _record(ports, caller, "panic: destroy everything", {"panic": False}, {"panic": True})
    ports.poke.poke(0, "panic")
    return n_instances


def clear_panic(ports: ApiPorts, caller: Caller) -> None:
    """End the panic: rounds rent again."""
    ports.ledger.set_flags(is_panicking=False)
    _record(ports, caller, "panic cleared", {"panic": True}, {"panic": False})


def unconfirmed(ports: ApiPorts) -> list[Row]:
    """The machines of which table and label do not both say that they are ours."""
    return [
        {
            "instance_id": worker.instance_id,
            "endpoint_id": group.endpoint_id,
            "endpoint_name": group.name,
            "state": worker.state.value,
            "gpu": f"{worker.num_gpus}x {worker.gpu_name}",
            "usd_per_hour": worker.usd_per_hour,
            "why": "label" if worker.is_mislabelled else "table",
        }
        for group in ports.groups.list_groups()
        for worker in ports.workers.list(group.endpoint_id)
        if worker.awaits_owner
    ]


def settle_unconfirmed(
    ports: ApiPorts, caller: Caller, instance_ids: Collection[int], *, are_ours: bool
) -> int:
    """The owner says whose these are; gives how many were waiting for it.

    What is not ours leaves the books, untouched.

    Raises:
        ParameterError: one of them does not wait to be confirmed, or would be adopted again.
    """
    waiting = {int(str(row["instance_id"])): row for row in unconfirmed(ports)}
    ids = sorted(set(instance_ids))
    unknown = [one for one in ids if one not in waiting]
    if unknown:
        raise ParameterError(f"instance_ids: {unknown[0]} does not wait to be confirmed")
    labelled = [one for one in ids if waiting[one]["why"] != "label"]
    if labelled and not are_ours:
        raise ParameterError(
            f"instance_ids: the label of {labelled[0]} carries a token of this deployment, which "
            "adopts it; change the label on Vast's page first"
        )
    for one in ids:
        endpoint_id = int(str(waiting[one]["endpoint_id"]))
        if are_ours:
            ports.workers.update(endpoint_id, one, {"is_confirmed": True})
        else:
            ports.workers.remove(endpoint_id, one)
    said = "confirmed" if are_ours else "not ours: out of the books"
    _record(ports, caller, f"{count(len(ids), 'instance')} {said}", {}, {"ids": ids})
    return len(ids)


def set_caps(
    ports: ApiPorts, caller: Caller, caps: Mapping[str, object], expected: Mapping[str, object]
) -> None:
    """Change the account's caps, given in dollars; absent and None stay.

    `expected`: caps as they were read; if one is another by now, nothing is changed.

    Raises:
        ParameterError: a cap is no usable number, or none is given.
        CapsChangedError: a cap is not what was expected.
    """
    account, changes = ports.ledger.account(), checked_caps(caps)
    seen = checked_caps(expected) if expected else None
    before: dict[str, object] = {}
    after: dict[str, object] = {}
    for name, (field, _) in CAPS.items():
        if field in changes:
            before[name], after[name] = getattr(account, field) / MICRO, caps[name]
    ports.ledger.set_caps(changes, seen)
    _record(ports, caller, "caps of the account changed", before, after)


def checked_caps(caps: Mapping[str, object]) -> dict[str, int]:
    """The caps given in dollars, by field of the account item in micro-dollars.

    Raises:
        ParameterError: a cap is no usable number, or none is given.
    """
    changes = {}
    for name, (field, highest) in CAPS.items():
        value = caps.get(name)
        if value is not None:
            check_number(name, value, 0, highest)
            changes[field] = round(float(str(value)) * MICRO)
    if not changes:
        raise ParameterError(f"give at least one of {', '.join(CAPS)}")
    return changes


def _record(ports: ApiPorts, caller: Caller, message: str, before: Row, after: Row) -> None:
    change = Change(
        kind="changed_account",
        scopes=(ACCOUNT_SCOPE,),
        message=message,
        before=before,
        after=after,
    )
    record_change(ports.events, change, actor=caller.key_id, at=ports.clock.now())

"""What the scaler remembers from round to round, besides rows and the account: one JSON value.

Losing it loses no machine and no money: rounds then learn anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from chalicelib.core.fleet.breakers import HostRecord, Reputation, TemplateRecord
from chalicelib.core.fleet.canary import Watch
from chalicelib.core.fleet.failing import Outcomes
from chalicelib.core.fleet.inventory import Inventory
from chalicelib.core.fleet.searching import SearchDay, SearchPace
from chalicelib.core.fleet.set_aside import Failure
from chalicelib.core.fleet.troubles import LastingTrouble

BLOB_NAME = "round"
WRITTEN_BY = "0.2.0"
"""The newest change of a stored form; tests/golden records each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundMemory:
    """Keys of mappings are texts, since JSON has no others."""

    at: float = 0.0  # of the last round
    written_by: str = ""  # whose forms the last round wrote
    inventory: Inventory = field(default_factory=Inventory)
    listing_so_far: Mapping[str, object] = field(
        default_factory=dict
    )  # of one that was cut short: the next round goes on, in whichever process
    groups: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # of the law
    traffic: Mapping[str, Mapping[str, object]] = field(
        default_factory=dict
    )  # see core/scaling/facts.py
    reputation: Reputation = field(default_factory=Reputation)
    progress: Mapping[str, tuple[str, float]] = field(
        default_factory=dict
    )  # see core/fleet/observation.py
    outcomes: Mapping[str, Outcomes] = field(
        default_factory=dict
    )  # of requests, by worker: see core/fleet/failing.py
    search_paces: Mapping[str, SearchPace] = field(default_factory=dict)  # by autogroup
    search_day: SearchDay = field(default_factory=SearchDay)
    failures: Mapping[str, Failure] = field(
        default_factory=dict
    )  # of offers, machines, autogroups: see core/fleet/set_aside.py
    searched: Mapping[str, float] = field(default_factory=dict)  # when, by autogroup
    troubles: Mapping[str, LastingTrouble] = field(
        default_factory=dict
    )  # by key, see core/fleet/troubles.py
    n_strays: int = 0  # machines with a label of ours that nobody knows
    canaries: Mapping[str, Watch] = field(
        default_factory=dict
    )  # by group, see core/fleet/canary.py
    guarded: Mapping[str, tuple[str, float]] = field(
        default_factory=dict
    )  # which cap refused a group's last rental or start, and when; by group
    denied: Mapping[str, str] = field(default_factory=dict)  # what Vast's key may not do, by verb
    credit_retry_at: float = 0.0  # no rental before: the account has no credit
    minutes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by scope
    spend: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict
    )  # see core/money/spend.py

    unknown: Mapping[str, object] = field(default_factory=dict)  # another version's fields, kept

    def to_bytes(self) -> bytes:
        """JSON with sorted keys: equal memories are equal bytes."""
        own = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        plain = {**own.pop("unknown"), **own}
        text = json.dumps(plain, default=_by_name, sort_keys=True, separators=(",", ":"))
        return text.encode()

    @staticmethod
    def from_bytes(blob: bytes | None) -> RoundMemory:
        """The memory in a blob; a fresh one for None.

        What another version wrote in another shape starts anew, each field by itself; fields
        unknown to this code are kept as they are.
        """
        try:
            raw = json.loads(blob) if blob is not None else {}
        except ValueError:
            return RoundMemory()
        if not isinstance(raw, dict):
            return RoundMemory()
        names = {spec.name for spec in fields(RoundMemory)}
        known: dict[str, Any] = {}
        for name, value in raw.items():
            if name in names:
                try:
                    known[name] = _READERS.get(name, _same_shape)(value)
                except (KeyError, TypeError, ValueError, AttributeError):
                    continue
        memory = RoundMemory(**known)
        default = RoundMemory()
        wrong = {
            name: getattr(default, name)
            for name in known
            if not _fits(getattr(default, name), getattr(memory, name))
        }
        unknown = {name: value for name, value in raw.items() if name not in names}
        return replace(memory, **wrong, unknown=unknown)


def _same_shape(value: object) -> object:
    return value


def _fits(default: object, value: object) -> bool:
    """Whether a value is of the kind that the field is for."""
    if isinstance(default, Mapping):
        return isinstance(value, Mapping)
    if isinstance(default, int | float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, type(default))


def _by_name(value: Any) -> dict[str, object]:
    """A dataclass by the names of its fields; JSON knows everything else in a memory."""
    return {spec.name: getattr(value, spec.name) for spec in fields(value)}


def _reputation(raw: Mapping[str, Any]) -> Reputation:
    hosts, templates = raw.get("hosts", {}), raw.get("templates", {})
    return Reputation(
        hosts={key: HostRecord(**_only(HostRecord, value)) for key, value in hosts.items()},
        templates={
            key: TemplateRecord(**_only(TemplateRecord, value)) for key, value in templates.items()
        },
    )


def _only(kind: type, raw: Mapping[str, Any]) -> dict[str, Any]:
    return {spec.name: raw[spec.name] for spec in fields(kind) if spec.name in raw}


_READERS: Mapping[str, Callable[[Any], object]] = {
    "inventory": lambda raw: Inventory(**_only(Inventory, raw)),
    "reputation": _reputation,
    "troubles": lambda raw: {
        key: LastingTrouble(**_only(LastingTrouble, value)) for key, value in raw.items()
    },
    "outcomes": lambda raw: {key: Outcomes(**_only(Outcomes, v)) for key, v in raw.items()},
    "failures": lambda raw: {key: Failure(**_only(Failure, v)) for key, v in raw.items()},
    "guarded": lambda raw: {key: (str(cap), float(at)) for key, (cap, at) in raw.items()},
    "progress": lambda raw: {key: (str(seen), float(at)) for key, (seen, at) in raw.items()},
    "search_paces": lambda raw: {
        key: SearchPace(**_only(SearchPace, value)) for key, value in raw.items()
    },
    "search_day": lambda raw: SearchDay(**_only(SearchDay, raw)),
    "canaries": lambda raw: {key: Watch(**_only(Watch, value)) for key, value in raw.items()},
}
"""How the fields that are not plain JSON are read."""

"""What the scaler remembers from round to round, besides rows and the account: one JSON value.

Losing it loses no machine and no money: rounds then learn anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from chalicelib.core.fleet.breakers import HostRecord, Reputation, TemplateRecord
from chalicelib.core.fleet.canary import Watch
from chalicelib.core.fleet.inventory import Inventory
from chalicelib.core.fleet.troubles import LastingTrouble

BLOB_NAME = "round"


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundMemory:
    """Keys of mappings are texts, since JSON has no others."""

    at: float = 0.0  # of the last round
    inventory: Inventory = field(default_factory=Inventory)
    groups: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # the brain's own
    traffic: Mapping[str, Mapping[str, object]] = field(
        default_factory=dict
    )  # see core/scaling/facts.py
    reputation: Reputation = field(default_factory=Reputation)
    progress: Mapping[str, tuple[str, float]] = field(
        default_factory=dict
    )  # see core/fleet/observation.py
    searched: Mapping[str, float] = field(default_factory=dict)  # when, by autogroup
    troubles: Mapping[str, LastingTrouble] = field(
        default_factory=dict
    )  # by key, see core/fleet/troubles.py
    n_strays: int = 0  # machines with a label of ours that nobody knows
    canaries: Mapping[str, Watch] = field(
        default_factory=dict
    )  # by group, see core/fleet/canary.py
    credit_retry_at: float = 0.0  # no rental before: the account has no credit
    minutes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by scope
    spend: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict
    )  # see core/money/spend.py

    def to_bytes(self) -> bytes:
        """JSON with sorted keys: equal memories are equal bytes."""
        text = json.dumps(self, default=_by_name, sort_keys=True, separators=(",", ":"))
        return text.encode()

    @staticmethod
    def from_bytes(blob: bytes | None) -> RoundMemory:
        """The memory in a blob; a fresh one for None. Fields unknown to this code are dropped."""
        if blob is None:
            return RoundMemory()
        raw = json.loads(blob)
        known = _only(RoundMemory, raw)
        known["inventory"] = Inventory(**_only(Inventory, known.get("inventory", {})))
        known["reputation"] = _reputation(known.get("reputation", {}))
        known["progress"] = {
            key: (str(seen), float(at)) for key, (seen, at) in known.get("progress", {}).items()
        }
        known["troubles"] = {
            key: LastingTrouble(**_only(LastingTrouble, value))
            for key, value in known.get("troubles", {}).items()
        }
        known["canaries"] = {
            key: Watch(**_only(Watch, value)) for key, value in known.get("canaries", {}).items()
        }
        return RoundMemory(**known)


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

"""The audit trail: who changed what, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.ports.event_log import Event, EventLog


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A change of an owner's thing. An empty `before` is a creation, an empty `after` a removal."""

    kind: str  # "changed_" + endpoint, autogroup, key or account
    scopes: tuple[str, ...]  # of everything that it concerns
    message: str
    before: Mapping[str, object]
    after: Mapping[str, object]
    facts: Mapping[str, object] = field(default_factory=dict)  # of the thing itself


def record_change(events: EventLog, change: Change, *, actor: str, at: float) -> None:
    """Append a change under every scope that it concerns, with the values that differ."""
    before, after = change.before, change.after
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    facts = {
        **change.facts,
        "before": {name: before[name] for name in names if name in before},
        "after": {name: after[name] for name in names if name in after},
    }
    events.append(
        [
            Event(
                at=at,
                scope=scope,
                level="info0",
                kind=change.kind,
                message=change.message,
                facts=facts,
                actor=actor,
            )
            for scope in change.scopes
        ]
    )

"""Notifiers: tell the owner, away from the screen, that something needs a human."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from chalicelib.ports.errors import PortError


class NotifierError(PortError):
    """The notice could not be delivered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """One thing worth waking somebody for; `facts` are plain JSON values, never secrets."""

    at: float
    kind: str  # "cap_reached", "breaker_open", …
    scope: str  # as Event.scope
    title: str
    text: str
    runbook: str  # anchor in docs/runbook.md
    facts: Mapping[str, object] = field(default_factory=dict)


class Notifier(Protocol):
    """One way to reach the owner."""

    @property
    def name(self) -> str:
        """What it is called in events: "sns", "webhook"."""
        ...

    def send(self, notice: Notice) -> None:
        """Deliver, within a few seconds.

        Raises:
            NotifierError: it was not delivered.
        """
        ...

"""Notifications: of what happened, tell the owner what needs a human, and not twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from chalicelib.core.fleet.troubles import MEANINGS
from chalicelib.core.words import count
from chalicelib.ports.clock import Clock
from chalicelib.ports.errors import StorageUnavailableError
from chalicelib.ports.event_log import Event, EventLog
from chalicelib.ports.notifier import Notice, Notifier, NotifierError

REPEAT_AFTER_S: Final = 1_800.0
"""The same kind of trouble in the same scope is told once in this time."""

NOTICES_S: Final = 4.0
"""Of a round's time. One that hangs takes 3 s (aws/clients.py): so the last ends within the 8 s
that the loop keeps of its function's time (api/routes/scaler.py)."""

TITLES: Final[Mapping[str, str]] = {
    **{kind: meaning.title for kind, meaning in MEANINGS.items()},
    "rollout_rolled_back": "A rollout was rolled back",
}
"""Kinds of events that are worth waking somebody for; docs/runbook.md has a section for each."""


class NotifyPorts(Protocol):
    """What this service needs of a bundle."""

    @property
    def clock(self) -> Clock:
        """The time."""
        ...

    @property
    def events(self) -> EventLog:
        """Where it remembers what was told."""
        ...

    @property
    def notifiers(self) -> Sequence[Notifier]:
        """Ways to reach the owner; none is fine."""
        ...


@dataclass(frozen=True, slots=True)
class Deliveries:
    """How many notices went out, and why the last one reached nobody.

    `problem`: "" if it reached somebody; None if there was none, or no way to tell anybody.
    """

    n_sent: int = 0
    problem: str | None = None


def deliver_notices(ports: NotifyPorts, happened: Sequence[Event]) -> Deliveries:
    """Tell the owner of the events that need a human.

    A failed delivery becomes an event and is tried again when the trouble is next handed in; so is
    what was not begun within `NOTICES_S`, since a round has an end whoever hangs.
    Never raises: a round must not fail because a webhook is down.
    """
    now = ports.clock.now()
    if not ports.notifiers:
        return Deliveries()
    sent, notices = Deliveries(), notices_from(happened)
    for n_before, notice in enumerate(notices):
        if ports.clock.now() - now > NOTICES_S:
            left = count(len(notices) - n_before, "notice")
            return Deliveries(sent.n_sent, sent.problem or f"it takes too long: {left} left")
        try:
            if not _was_told(ports.events, notice, now):
                sent = _send_everywhere(ports, notice, now, sent.n_sent)
        except StorageUnavailableError:
            # Not knowing whether it was told: telling twice is better than never.
            sent = _send_everywhere(ports, notice, now, sent.n_sent, remember=False)
    return sent


def notices_from(happened: Sequence[Event]) -> Sequence[Notice]:
    """One notice for each kind and scope worth a notice, from its newest event."""
    newest = {(event.kind, event.scope): event for event in happened if event.kind in TITLES}
    return [
        Notice(
            at=event.at,
            kind=event.kind,
            scope=event.scope,
            title=TITLES[event.kind],
            text=event.message,
            runbook=f"docs/runbook.md#{event.kind.replace('_', '-')}",
            facts=event.facts,
        )
        for event in newest.values()
    ]


def _was_told(events: EventLog, notice: Notice, now: float) -> bool:
    told = events.tail(
        notice.scope, limit=50, since=now - REPEAT_AFTER_S, kinds=frozenset({"notified"})
    )
    return any(event.facts.get("kind") == notice.kind for event in told)


def _send_everywhere(
    ports: NotifyPorts, notice: Notice, now: float, n_before: int, *, remember: bool = True
) -> Deliveries:
    n_sent, problem = 0, ""
    outcome: list[Event] = []
    for notifier in ports.notifiers:
        try:
            notifier.send(notice)
            n_sent += 1
            outcome.append(_outcome("notified", "Told the owner", notifier, notice, now))
        except NotifierError as error:
            problem = str(error)
            message = f"Could not tell the owner: {error}"
            outcome.append(_outcome("notification_failed", message, notifier, notice, now))
    if remember:
        ports.events.append(outcome)
    return Deliveries(n_before + n_sent, "" if n_sent else problem)


def _outcome(kind: str, message: str, notifier: Notifier, notice: Notice, now: float) -> Event:
    return Event(
        at=now,
        scope=notice.scope,
        level="info1",
        kind=kind,
        message=f"{message} ({notifier.name}: {notice.kind})",
        facts={"kind": notice.kind, "by": notifier.name},
        actor="scaler",
    )

"""Notifiers: tell the owner, away from the screen, that something needs a human."""

from collections.abc import Mapping, Sequence
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


CHANNELS = ("email", "slack", "discord", "webhook")


@dataclass(frozen=True, kw_only=True, slots=True)
class Receiver:
    """Who is told. `address`: an e-mail address, or a URL, which is a secret of its channel."""

    name: str
    channel: str  # one of CHANNELS
    address: str
    is_confirmed: bool = True  # an e-mail address counts from its owner's click on


class Receivers(Protocol):
    """The owner's receivers, kept in the tables so that no deployment of code loses them.

    Methods may raise StorageUnavailableError.
    """

    def receivers(self) -> Sequence[Receiver]:
        """All, by name."""
        ...

    def add(self, receiver: Receiver) -> None:
        """One more, or another address under a known name.

        Raises:
            NotifierError: this deployment cannot reach such an address.
        """
        ...

    def remove(self, name: str) -> bool:
        """Whether there was one that can be removed."""
        ...

    def topic(self) -> str:
        """The deployment's alert topic (ARN); "" without one."""
        ...

    def remember_topic(self, arn: str) -> None:
        """Set the topic."""
        ...

    def publish(self, notice: Notice) -> None:
        """Hand a notice to the topic, which mails it and calls the notifier function.

        Raises:
            NotifierError: there is no topic, or it did not take the notice.
        """
        ...

    def deliver(
        self, receivers: Sequence[Receiver], notices: Sequence[Notice]
    ) -> Mapping[str, Sequence[str]]:
        """Post notices to receivers that are no e-mail addresses, to all of them at once.

        Gives what became of each notice by receiver: "" if it was delivered, else why not.
        """
        ...

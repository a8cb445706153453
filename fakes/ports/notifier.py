"""A notifier and receivers that remember what they were given, and fail when told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from chalicelib.ports.notifier import Notice, NotifierError, Receiver


class FakeNotifier:
    """Keeps notices in `sent`; while `problem` is set, every send fails with it."""

    name = "fake"

    def __init__(self) -> None:
        self.sent: list[Notice] = []
        self.problem = ""

    def send(self, notice: Notice) -> None:
        """Remember the notice.

        Raises:
            NotifierError: while `problem` is set.
        """
        if self.problem:
            raise NotifierError(self.problem)
        self.sent.append(notice)


class FakeReceivers:
    """Receivers in memory: `confirm` is the click in the e-mail, `broken` cannot be reached."""

    def __init__(self, topic: str = "") -> None:
        self.rows: dict[str, Receiver] = {}
        self.sent: list[tuple[str, Notice]] = []
        self.published: list[Notice] = []
        self.broken: set[str] = set()
        self._topic = topic

    def receivers(self) -> Sequence[Receiver]:
        """All, by name."""
        return [self.rows[name] for name in sorted(self.rows)]

    def add(self, receiver: Receiver) -> None:
        """One more; an e-mail address waits for its confirmation."""
        if receiver.channel == "email" and not self._topic:
            raise NotifierError("this deployment has no alert topic to mail from; use a webhook")
        is_confirmed = receiver.channel != "email"
        self.rows[receiver.name] = replace(receiver, is_confirmed=is_confirmed)

    def confirm(self, name: str) -> None:
        """The owner of an address follows AWS's link."""
        self.rows[name] = replace(self.rows[name], is_confirmed=True)

    def remove(self, name: str) -> bool:
        """Whether there was one that can be removed."""
        known = self.rows.get(name)
        if known is None or not known.is_confirmed:
            return False
        del self.rows[name]
        return True

    def topic(self) -> str:
        """The alert topic."""
        return self._topic

    def remember_topic(self, arn: str) -> None:
        """Set the topic."""
        self._topic = arn

    def publish(self, notice: Notice) -> None:
        """Remember the notice."""
        if not self._topic:
            raise NotifierError("this deployment has no alert topic")
        self.published.append(notice)

    def deliver(
        self, receivers: Sequence[Receiver], notices: Sequence[Notice]
    ) -> Mapping[str, Sequence[str]]:
        """Remember the notices of each receiver that is not broken."""
        broken = {name: f"webhook {name} answered HTTP 500" for name in self.broken}
        names = [receiver.name for receiver in receivers]
        self.sent += [(name, one) for name in names if name not in broken for one in notices]
        return {name: [broken.get(name, "")] * len(notices) for name in names}

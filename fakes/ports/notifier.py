"""A notifier that remembers what it was given, and fails when told to."""

from __future__ import annotations

from chalicelib.ports.notifier import Notice, NotifierError


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

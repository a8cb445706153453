"""Poking the scaler: ask for a round now, without waiting for it."""

from collections.abc import Mapping
from typing import Protocol


class ScalerPoke(Protocol):
    """Starts the scaler function."""

    def poke(self, endpoint_id: int, reason: str) -> None:
        """Ask for a round; never raises, never waits, debounced by the caller."""
        ...

    def ask(self, question: Mapping[str, object]) -> Mapping[str, object]:
        """Management's questions that need the Vast key (plan, offers, template, balance).

        The question has a key `ask`; the answer is plain JSON.

        Raises:
            MarketplaceError: Vast could not answer.
            PortError: the scaler could not be reached.
        """
        ...

"""The ledger: everything the single writer of an account needs to be trusted with money.

One account item holds lease, fence, caps, committed money and pacing, so that one conditional write
can check them all; intents and the scaler's memory stand beside it. All reads are strongly
consistent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chalicelib.core.fleet.intents import IntentState as IntentState
from chalicelib.core.fleet.intents import RentIntent as RentIntent
from chalicelib.core.money.account import Account as Account
from chalicelib.core.money.account import RoundBooking
from chalicelib.core.money.budget import GroupCaps
from chalicelib.core.money.budget import GuardRefusedError as GuardRefusedError


class FencedError(Exception):
    """Another writer holds a newer lease: stop at once, write nothing more."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write, and the account as it was when the lease was taken."""

    fence: int
    account: Account


class Ledger(Protocol):
    """May raise StorageUnavailableError. Methods that take a fence raise FencedError."""

    def account(self) -> Account:
        """The account item; a fresh one with default caps if there is none."""
        ...

    def take_lease(self, owner: str, now: float, duration_s: float) -> Lease | None:
        """A new fencing token; None while another holds the lease, or wrote a newer schema."""
        ...

    def renew_lease(self, fence: int, now: float, duration_s: float) -> Account:
        """Hold on; gives the account as it is now."""
        ...

    def release_lease(self, fence: int) -> None:
        """Let go; nothing if another holds it already."""
        ...

    def set_flags(self, *, is_frozen: bool | None = None, is_panicking: bool | None = None) -> None:
        """Owner's brakes: need no lease."""
        ...

    def set_caps(self, caps: Mapping[str, int], expected: Mapping[str, int] | None = None) -> None:
        """Owner's caps, by field name of Account; with `expected` only if those are its caps.

        Raises:
            ValueError: for a name that is no cap, or a negative amount.
            CapsChangedError: a cap is not what was expected.
        """
        ...

    def set_public_url(self, url: str, n_lanes: int = 0) -> None:
        """What workers report to, once the deployment knows it, and how many lanes it has."""
        ...

    def reserve(self, fence: int, intent: RentIntent, caps: GroupCaps, now: float) -> None:
        """One transaction: the intent is written and its worst case committed, if all caps hold.

        Raises:
            GuardRefusedError: a cap would be exceeded.
        """
        ...

    def reserve_start(
        self, fence: int, endpoint_id: int, microusd_per_hour: int, caps: GroupCaps, now: float
    ) -> None:
        """Commit what starting a stopped worker adds, if all caps hold.

        Raises:
            GuardRefusedError: a cap would be exceeded.
        """
        ...

    def put_intent(self, fence: int, intent: RentIntent) -> None:
        """Change an intent; one that becomes VOID releases what it reserved, once."""
        ...

    def intents(self) -> Sequence[RentIntent]:
        """All open ones, and those settled lately (they expire)."""
        ...

    def settle_round(
        self, fence: int, booking: RoundBooking, next_call_at: Mapping[str, float] | None = None
    ) -> Account:
        """One write for a round's books and the marketplace's pacing; gives the new account."""
        ...

    def claim_turn(self, key: str, now: float, until: float) -> float:
        """Take the turn of a verb of the marketplace (`core.fleet.pacing.pacing_key`).

        Gives when its turn is: not later than now if it was taken, until then nobody else has it.
        """
        ...

    def book_turn(self, key: str, until: float) -> None:
        """No call of the verb before then, whoever asks."""
        ...

    def read_blob(self, name: str) -> bytes | None:
        """A stored value by name."""
        ...

    def write_blob(self, fence: int, name: str, blob: bytes) -> None:
        """Store a value of up to some megabytes under a name."""
        ...

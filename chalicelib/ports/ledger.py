"""The ledger: everything the single writer of an account needs to be trusted with money.

One account item holds lease, fence, caps, committed money and pacing, so that one conditional write
can check them all; intents and inventory stand beside it. All reads are strongly consistent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class IntentState(StrEnum):
    """planned → maybe_rented → confirmed | void."""

    PLANNED = "planned"
    MAYBE_RENTED = "maybe_rented"
    CONFIRMED = "confirmed"
    VOID = "void"


@dataclass(frozen=True, kw_only=True, slots=True)
class RentIntent:
    """A rental that we may have made, from before the call until it is settled."""

    token: str
    endpoint_id: int
    autogroup_id: int
    state: IntentState
    planned_at: float
    offer_id: int
    machine_id: int
    gpu_type: str
    usd_per_hour: float
    reserved_microusd_per_hour: int
    dlperf: float = 0.0
    attempted_at: float | None = None
    attempt_ended_at: float | None = None
    instance_id: int | None = None
    n_absent_listings: int = 0  # complete ones that began ≥ 60 s after the attempt ended
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """The account item. Money in micro-dollars."""

    caps_microusd_per_hour: int = 5_000_000
    caps_microusd_per_day: int = 50_000_000
    caps_microusd_per_month: int = 500_000_000
    caps_idle_microusd_per_day: int = 10_000_000  # spend that serves nobody
    committed_microusd_per_hour: int = 0  # sum over living instances and open intents
    committed_by_group: Mapping[int, int] = field(default_factory=dict)
    day: str = ""  # UTC, "2026-11-21"
    month: str = ""
    spent_today_microusd: int = 0
    spent_month_microusd: int = 0
    spent_today_by_group: Mapping[int, int] = field(default_factory=dict)
    spent_month_by_group: Mapping[int, int] = field(default_factory=dict)
    idle_today_microusd: int = 0
    is_frozen: bool = False
    is_panicking: bool = False
    lease_owner: str = ""
    lease_until: float = 0.0
    fence: int = 0
    next_call_at: Mapping[str, float] = field(default_factory=dict)  # pacing, by verb
    schema_version: int = 1


class FencedError(Exception):
    """Another writer holds a newer lease: stop at once, write nothing more."""


class GuardRefusedError(Exception):
    """The money guard refuses; `cap` names the cap that is reached."""

    def __init__(self, cap: str) -> None:
        super().__init__(f"cap reached: {cap}")
        self.cap = cap


class Ledger(Protocol):
    """May raise StorageUnavailableError. Methods that take a fence raise FencedError."""

    def account(self) -> Account:
        """The account item; a fresh one with default caps if there is none."""
        ...

    def take_lease(self, owner: str, now: float, duration_s: float) -> int | None:
        """The new fencing token, or None while somebody else holds the lease."""
        ...

    def renew_lease(self, fence: int, now: float, duration_s: float) -> None:
        """Hold on."""
        ...

    def release_lease(self, fence: int) -> None:
        """Let go."""
        ...

    def set_flags(self, *, is_frozen: bool | None = None, is_panicking: bool | None = None) -> None:
        """Owner's brakes: need no lease."""
        ...

    def set_caps(self, caps: Mapping[str, int]) -> None:
        """Owner's caps, by field name of Account."""
        ...

    def reserve(
        self, fence: int, intent: RentIntent, *, group_caps: Mapping[str, int], now: float
    ) -> None:
        """One transaction: the intent is written and its worst case committed, if all caps hold.

        Raises:
            GuardRefusedError: a cap would be exceeded.
        """
        ...

    def put_intent(self, fence: int, intent: RentIntent) -> None:
        """Change an intent; a VOID one releases what it reserved, once."""
        ...

    def intents(self) -> Sequence[RentIntent]:
        """All that are not void, and voids of the last hour."""
        ...

    def set_committed(self, fence: int, by_group: Mapping[int, int]) -> None:
        """What living instances and open intents may cost per hour, computed anew."""
        ...

    def book_spend(
        self, fence: int, now: float, by_group: Mapping[int, int], idle_microusd: int
    ) -> None:
        """Add what was spent since the last booking; days and months roll over in UTC."""
        ...

    def set_pacing(self, fence: int, next_call_at: Mapping[str, float]) -> None:
        """When each verb of the marketplace may be called again."""
        ...

    def read_blob(self, name: str) -> bytes | None:
        """A stored value by name: 'inventory', 'memory/ID', 'hosts', 'traffic/ID'."""
        ...

    def write_blob(self, fence: int, name: str, blob: bytes) -> None:
        """Store a value under a name."""
        ...

"""The ledger in memory: the same rules as the adapter, without the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from chalicelib.core.fleet.pacing import turn_at
from chalicelib.core.money.account import (
    Account,
    RoundBooking,
    with_booking,
    with_caps,
    with_lease,
    with_turns,
)
from chalicelib.core.money.budget import Ask, GroupCaps, ask_of, with_release, with_reservation
from chalicelib.ports.ledger import FencedError, IntentState, Lease, RentIntent


class FakeLedger:
    """Implements the ledger port; `account_now` and `by_token` may be looked at by tests."""

    def __init__(self, account: Account | None = None) -> None:
        self.account_now = account or Account()
        self.by_token: dict[str, RentIntent] = {}
        self._blobs: dict[str, bytes] = {}

    def account(self) -> Account:
        """The account item."""
        return self.account_now

    def take_lease(self, owner: str, now: float, duration_s: float) -> Lease | None:
        """A new fencing token, unless another holds the lease."""
        wanted = with_lease(self.account_now, owner, now, duration_s)
        if wanted is None:
            return None
        self._store(wanted)
        return Lease(fence=wanted.fence, account=self.account_now)

    def renew_lease(self, fence: int, now: float, duration_s: float) -> Account:
        """Hold on."""
        return self._change(fence, lambda old: replace(old, lease_until=now + duration_s))

    def release_lease(self, fence: int) -> None:
        """Let go; nothing if another holds it already."""
        if self.account_now.fence == fence:
            self._store(replace(self.account_now, lease_until=0.0, lease_owner=""))

    def set_flags(self, *, is_frozen: bool | None = None, is_panicking: bool | None = None) -> None:
        """Owner's brakes."""
        old = self.account_now
        self._store(
            replace(
                old,
                is_frozen=old.is_frozen if is_frozen is None else is_frozen,
                is_panicking=old.is_panicking if is_panicking is None else is_panicking,
            )
        )

    def set_caps(self, caps: Mapping[str, int], expected: Mapping[str, int] | None = None) -> None:
        """Owner's caps."""
        self._store(with_caps(self.account_now, caps, expected))

    def set_public_url(self, url: str, n_lanes: int = 0) -> None:
        """What workers report to."""
        self._store(replace(self.account_now, public_url=url, n_lanes=n_lanes))

    def reserve(self, fence: int, intent: RentIntent, caps: GroupCaps, now: float) -> None:
        """Write the intent and commit its worst case, if all caps hold."""
        ask = ask_of(intent)
        self._change(fence, lambda old: with_reservation(old, ask, caps, now))
        self.by_token[intent.token] = intent

    def reserve_start(
        self, fence: int, endpoint_id: int, microusd_per_hour: int, caps: GroupCaps, now: float
    ) -> None:
        """Commit what starting a stopped worker adds, if all caps hold."""
        ask = Ask(endpoint_id=endpoint_id, microusd_per_hour=microusd_per_hour, n_workers=0)
        self._change(fence, lambda old: with_reservation(old, ask, caps, now))

    def put_intent(self, fence: int, intent: RentIntent) -> None:
        """Change an intent; one that becomes VOID releases what it reserved, once."""
        known = self.by_token.get(intent.token)
        releases = known is not None and known.is_open and intent.state is IntentState.VOID
        self._change(fence, lambda old: with_release(old, ask_of(intent)) if releases else old)
        self.by_token[intent.token] = intent

    def intents(self) -> Sequence[RentIntent]:
        """All of them."""
        return [self.by_token[token] for token in sorted(self.by_token)]

    def settle_round(
        self, fence: int, booking: RoundBooking, next_call_at: Mapping[str, float] | None = None
    ) -> Account:
        """A round's books and the marketplace's pacing."""

        def booked(old: Account) -> Account:
            new = with_booking(old, booking)
            return new if next_call_at is None else with_turns(new, next_call_at)

        return self._change(fence, booked)

    def claim_turn(self, key: str, now: float, until: float) -> float:
        """Take a verb's turn until then, if it is free."""
        free_at = turn_at(self.account_now.next_call_at, key, now)
        if free_at <= now:
            self.book_turn(key, until)
        return free_at

    def book_turn(self, key: str, until: float) -> None:
        """No call of a verb before then."""
        self._store(with_turns(self.account_now, {key: until}))

    def read_blob(self, name: str) -> bytes | None:
        """A stored value."""
        return self._blobs.get(name)

    def write_blob(self, fence: int, name: str, blob: bytes) -> None:
        """Store a value."""
        self._check_fence(fence)
        self._blobs[name] = blob

    def _change(self, fence: int, next_account: Callable[[Account], Account]) -> Account:
        self._check_fence(fence)
        return self._store(next_account(self.account_now))

    def _check_fence(self, fence: int) -> None:
        if self.account_now.fence != fence:
            raise FencedError(f"fence {fence} is behind {self.account_now.fence}")

    def _store(self, account: Account) -> Account:
        self.account_now = replace(account, version=self.account_now.version + 1)
        return self.account_now

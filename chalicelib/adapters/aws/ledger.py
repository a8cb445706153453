"""The ledger in DynamoDB: compare-and-set on the account item, by `core/money/budget.py`.

Every change reads the item, computes the next one, and writes it if its version is still the one
that was read; so caps, fence and flags are checked by the very write that commits money.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.ledger_store import (
    Item,
    LedgerTable,
    account_from_item,
    account_to_item,
    intent_from_item,
    intent_to_item,
    key_of,
)
from chalicelib.adapters.aws.tables import CHUNK_BYTES, LEDGER
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
from chalicelib.ports.errors import StorageUnavailableError
from chalicelib.ports.ledger import (
    FencedError,
    IntentState,
    Lease,
    RentIntent,
)

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_MAX_ATTEMPTS = 8  # of compare-and-set; only the owner's flags and caps ever compete


class DynamoLedger:
    """The ledger port on the table PREFIX-ledger."""

    def __init__(self, client: DynamoDBClient, prefix: str) -> None:
        self._table = LedgerTable(client, LEDGER.full_name(prefix))
        self._seen = Account()  # last read or written: a guess that saves a read

    def account(self) -> Account:
        """The account item; a fresh one with default caps if there is none."""
        item = self._table.get("account")
        self._seen = account_from_item(item) if item else Account()
        return self._seen

    def take_lease(self, owner: str, now: float, duration_s: float) -> Lease | None:
        """A new fencing token; None while another holds the lease, or wrote a newer schema."""
        account = self._seen
        if not account.version or with_lease(account, owner, now, duration_s) is None:
            account = self.account()  # else: a lease on what is not current any more fails below
        for _ in range(_MAX_ATTEMPTS):
            wanted = with_lease(account, owner, now, duration_s)
            if wanted is None:
                return None
            stored = self._put_account(account, wanted)
            if stored is None:
                return Lease(fence=wanted.fence, account=self._seen)
            account = stored
        raise StorageUnavailableError("the account item changes too fast")

    def renew_lease(self, fence: int, now: float, duration_s: float) -> Account:
        """Hold on; gives the account as it is now."""
        return self._change(fence, lambda old: replace(old, lease_until=now + duration_s))

    def release_lease(self, fence: int) -> None:
        """Let go; nothing if another holds it already."""
        try:
            self._change(fence, lambda old: replace(old, lease_until=0.0, lease_owner=""))
        except FencedError:
            return

    def set_flags(self, *, is_frozen: bool | None = None, is_panicking: bool | None = None) -> None:
        """Owner's brakes: need no lease."""
        self._change(
            None,
            lambda old: replace(
                old,
                is_frozen=old.is_frozen if is_frozen is None else is_frozen,
                is_panicking=old.is_panicking if is_panicking is None else is_panicking,
            ),
        )

    def set_caps(self, caps: Mapping[str, int], expected: Mapping[str, int] | None = None) -> None:
        """Owner's caps, by field name of Account."""
        self._change(None, lambda old: with_caps(old, caps, expected))

    def set_public_url(self, url: str, n_lanes: int = 0) -> None:
        """What workers report to, once the deployment knows it, and how many lanes it has."""
        self._change(None, lambda old: replace(old, public_url=url, n_lanes=n_lanes))

    def reserve(self, fence: int, intent: RentIntent, caps: GroupCaps, now: float) -> None:
        """One transaction: the intent is written and its worst case committed, if all caps hold."""
        ask = ask_of(intent)
        self._change(
            fence, lambda old: with_reservation(old, ask, caps, now), intent=intent, is_new=True
        )

    def reserve_start(
        self, fence: int, endpoint_id: int, microusd_per_hour: int, caps: GroupCaps, now: float
    ) -> None:
        """Commit what starting a stopped worker adds, if all caps hold."""
        ask = Ask(endpoint_id=endpoint_id, microusd_per_hour=microusd_per_hour, n_workers=0)
        self._change(fence, lambda old: with_reservation(old, ask, caps, now))

    def put_intent(self, fence: int, intent: RentIntent) -> None:
        """Change an intent; one that becomes VOID releases what it reserved, once."""
        item = self._table.get(f"intent#{intent.token}")
        was_open = item is not None and intent_from_item(item).is_open
        releases = was_open and intent.state is IntentState.VOID
        self._change(
            fence,
            lambda old: with_release(old, ask_of(intent)) if releases else old,
            intent=intent,
        )

    def intents(self) -> Sequence[RentIntent]:
        """All open ones, and those settled lately (they expire)."""
        return [intent_from_item(item) for item in self._table.query("intent#")]

    def settle_round(
        self, fence: int, booking: RoundBooking, next_call_at: Mapping[str, float] | None = None
    ) -> Account:
        """One write for a round's books and the marketplace's pacing; gives the new account."""

        def booked(old: Account) -> Account:
            new = with_booking(old, booking)
            return new if next_call_at is None else with_turns(new, next_call_at)

        return self._change(fence, booked)

    def claim_turn(self, key: str, now: float, until: float) -> float:
        """Take a verb's turn until then, if it is free."""
        free_at = turn_at(self.account().next_call_at, key, now)
        if free_at > now:
            return free_at

        def claimed(old: Account) -> Account:
            nonlocal free_at
            free_at = turn_at(old.next_call_at, key, now)
            return with_turns(old, {key: until}) if free_at <= now else old

        self._change(None, claimed)
        return free_at

    def book_turn(self, key: str, until: float) -> None:
        """No call of a verb before then."""
        self._change(None, lambda old: with_turns(old, {key: until}))

    def read_blob(self, name: str) -> bytes | None:
        """A stored value by name."""
        chunks = self._table.query(f"blob#{name}#")
        if not chunks:
            return None
        n_chunks = int(chunks[0]["n"]["N"])  # a longer, older value may have left more
        return zlib.decompress(b"".join(bytes(chunk["data"]["B"]) for chunk in chunks[:n_chunks]))

    def write_blob(self, fence: int, name: str, blob: bytes) -> None:
        """Store a value under a name: all chunks in one transaction, which checks the fence."""
        packed = zlib.compress(blob)
        chunks = [packed[i : i + CHUNK_BYTES] for i in range(0, len(packed), CHUNK_BYTES)]
        puts = [
            {
                "Put": {
                    "TableName": self._table.name,
                    "Item": {
                        **key_of(f"blob#{name}#{index:03d}"),
                        "data": {"B": chunk},
                        "n": {"N": str(len(chunks))},
                    },
                }
            }
            for index, chunk in enumerate(chunks)
        ]
        check = {
            "ConditionCheck": {
                "TableName": self._table.name,
                "Key": key_of("account"),
                "ConditionExpression": "fence = :fence",
                "ExpressionAttributeValues": {":fence": {"N": str(fence)}},
            }
        }
        if not self._table.transact([check, *puts]):
            raise FencedError(f"fence {fence} is no longer valid")

    # ------------------------------------------------------------------------------- storage

    def _change(
        self,
        fence: int | None,
        next_account: Callable[[Account], Account],
        *,
        intent: RentIntent | None = None,
        is_new: bool = False,
    ) -> Account:
        """Compare-and-set of the account, together with an intent if one is given."""
        account = self._seen if self._seen.fence == fence else self.account()
        for _ in range(_MAX_ATTEMPTS):
            if account.why_not_ours:
                raise StorageUnavailableError(f"{account.why_not_ours}; nothing was changed")
            if fence is not None and account.fence != fence:
                raise FencedError(f"fence {fence} is behind {account.fence}")
            wanted = next_account(account)
            if intent is None:
                stored = self._put_account(account, wanted)
            else:
                stored = self._put_account_and_intent(account, wanted, intent, is_new=is_new)
            if stored is None:
                return self._seen
            account = stored
        raise StorageUnavailableError("the account item changes too fast")

    def _put_account(self, old: Account, new: Account) -> Account | None:
        """None when written, else the account as somebody else left it."""
        if not self._table.put_if(self._account_put(old, new)):
            # botocore repeats a write whose answer was lost: then the item is already ours.
            stored = self.account()
            return None if stored == replace(new, version=old.version + 1) else stored
        self._seen = replace(new, version=old.version + 1)
        return None

    def _put_account_and_intent(
        self, old: Account, new: Account, intent: RentIntent, *, is_new: bool
    ) -> Account | None:
        put_intent: Item = {
            "TableName": self._table.name,
            "Item": {**key_of(f"intent#{intent.token}"), **intent_to_item(intent)},
        }
        if is_new:
            put_intent["ConditionExpression"] = "attribute_not_exists(#item)"
            put_intent["ExpressionAttributeNames"] = {"#item": "item"}
        if self._table.transact([{"Put": self._account_put(old, new)}, {"Put": put_intent}]):
            self._seen = replace(new, version=old.version + 1)
            return None
        return self.account()

    def _account_put(self, old: Account, new: Account) -> Any:
        item = {**key_of("account"), **account_to_item(replace(new, version=old.version + 1))}
        return {
            "TableName": self._table.name,
            "Item": item,
            "ConditionExpression": "#version = :old"
            if old.version
            else "attribute_not_exists(#version)",
            "ExpressionAttributeNames": {"#version": "version"},
            **(
                {"ExpressionAttributeValues": {":old": {"N": str(old.version)}}}
                if old.version
                else {}
            ),
        }

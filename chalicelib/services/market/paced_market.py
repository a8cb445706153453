"""The marketplace, never called faster than Vast allows: minimum intervals per verb.

The intervals are part of the account item (`Account.next_call_at`), so all functions share them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import inf
from typing import TypeVar

from chalicelib.core.fleet.pacing import Pacing, Verb, pacing_key
from chalicelib.core.model.market import InstanceListing
from chalicelib.ports.clock import Clock
from chalicelib.ports.ledger import Ledger
from chalicelib.ports.marketplace import (
    KEY_REFUSED,
    FoundOffers,
    Marketplace,
    RateLimitedError,
    RefusedError,
    Template,
)

Answer = TypeVar("Answer")

KEY_CODES = frozenset({KEY_REFUSED, "not_allowed", "http_403"})
"""Refusals that mean the key: it is wrong, or lacks a right (adapters/vast/errors.py)."""


RIGHTS: Mapping[str, frozenset[Verb]] = {
    "instance_read": frozenset({Verb.LIST, Verb.SHOW}),
    "instance_write": frozenset(
        {Verb.CREATE, Verb.START, Verb.STOP, Verb.DESTROY, Verb.REBOOT, Verb.BID}
    ),
    "misc": frozenset({Verb.SEARCH}),
    "user_read": frozenset({Verb.TEMPLATE, Verb.CREDIT}),
}
"""What one right of a key is for (Vast's table of scopes, docs/internals/marketplace.md)."""


class TooEarlyError(RateLimitedError):
    """Vast was not asked: the verb's turn comes after the round's time."""


class PacedMarket:
    """Waits for each verb's turn as long as the round has time, then defers to the next round.

    `pacing` is what must be persisted after the round. `lists_until`: when a listing of many pages
    is cut short, for the next round to go on with.
    """

    def __init__(
        self,
        marketplace: Marketplace,
        clock: Clock,
        pacing: Pacing,
        *,
        waits_until: float,
        lists_until: float = inf,
    ) -> None:
        self.pacing = pacing
        self._marketplace = marketplace
        self._clock = clock
        self._waits_until = waits_until
        self.lists_until = lists_until
        self.denied: dict[str, str] = {}  # what the key may not do, by verb, in Vast's words
        self.allowed: set[Verb] = set()  # what it did
        self._templates: dict[str, Template | None] = {}
        self._offers: dict[str, FoundOffers] = {}

    def has_time_for(self, verb: Verb) -> bool:
        """Whether the verb's turn comes within the round's time."""
        now = self._clock.now()
        wait_s = self.pacing.wait_s(verb, now)
        return wait_s <= 0 or now + wait_s <= self._waits_until

    def is_turn(self, verb: Verb) -> bool:
        """Whether the verb may be called at once."""
        return self.pacing.wait_s(verb, self._clock.now()) <= 0

    def search_once(
        self,
        query: Mapping[str, Mapping[str, object]],
        *,
        disk_gb: float,
        limit: int,
        is_bid: bool = False,
    ) -> FoundOffers:
        """Offers; equal searches of a round share one answer.

        Raises:
            MarketplaceError: Vast could not answer.
        """
        key = f"{disk_gb} {limit} {is_bid} {json.dumps(query, sort_keys=True)}"
        if key not in self._offers:
            self._offers[key] = self.call(
                Verb.SEARCH,
                lambda vast: vast.search_offers(query, disk_gb=disk_gb, limit=limit, is_bid=is_bid),
            )
        return self._offers[key]

    def find_template(self, hash_id: str) -> Template | None:
        """A template by its hash, asked once a round: an edit gives a new hash.

        Raises:
            MarketplaceError: Vast could not answer.
        """
        if hash_id not in self._templates:
            found = self.call(Verb.TEMPLATE, lambda vast: vast.find_template(hash_id))
            self._templates[hash_id] = found
        return self._templates[hash_id]

    def denied_now(
        self, before: Mapping[str, str], listing: InstanceListing | None = None
    ) -> dict[str, str]:
        """What the key may not do, until it does it, or anything else that takes the same right.

        A start that was refused once may not be wanted again for days.
        """
        shown = self.allowed - {Verb.LIST}  # a listing tells of its problem, and raises nothing
        done = shown.union(*(verbs for verbs in RIGHTS.values() if verbs & shown))
        after = {**{v: said for v, said in before.items() if v not in done}, **self.denied}
        if listing is not None:
            was_refused = after.pop(Verb.LIST.value, "")
            if was_refused and listing.is_complete:  # a new key: what was said of the old is over
                after = {verb: said for verb, said in after.items() if KEY_REFUSED not in said}
            if not listing.is_complete and any(code in listing.problem for code in KEY_CODES):
                after[Verb.LIST.value] = listing.problem[:200]
        return after

    def call(self, verb: Verb, ask: Callable[[Marketplace], Answer]) -> Answer:
        """Ask once, at the verb's turn.

        Raises:
            TooEarlyError: the turn comes after the round's time.
            RateLimitedError: Vast said so.
            MarketplaceError: whatever the marketplace raises.
        """
        now = self._clock.now()
        wait_s = self.pacing.wait_s(verb, now)
        if not self.has_time_for(verb):
            raise TooEarlyError(f"{verb}: next turn in {wait_s:.1f} s", wait_s)
        if wait_s > 0:
            self._clock.sleep(wait_s)
            now = self._clock.now()
        self.pacing = self.pacing.called(verb, now)
        try:
            answer = ask(self._marketplace)
        except RateLimitedError as error:
            self.pacing = self.pacing.limited(verb, self._clock.now(), error.retry_after_s)
            raise
        except RefusedError as error:
            if error.code in KEY_CODES:
                self.denied[verb.value] = str(error)[:200]
            raise
        self.allowed.add(verb)
        # A listing of many pages, or a long bulk call, made its last request only now.
        self.pacing = self.pacing.called(verb, self._clock.now())
        return answer


class AskedMarket(PacedMarket):
    """The marketplace for a question: each turn is claimed in the account item before the call.

    Questions run beside each other and beside the rounds, so none may count on what it read first.
    A round claims none of its turns (that would be three more writes a round), so Vast may refuse
    a question that comes between two calls of one: it is asked again in its time.
    """

    def __init__(
        self,
        marketplace: Marketplace,
        clock: Clock,
        ledger: Ledger,
        *,
        scale: float,
        waits_until: float,
    ) -> None:
        pacing = Pacing(ledger.account().next_call_at, scale)
        super().__init__(marketplace, clock, pacing, waits_until=waits_until)
        self._ledger = ledger

    def call(self, verb: Verb, ask: Callable[[Marketplace], Answer]) -> Answer:
        """Ask at the verb's turn, and where Vast says that it was too early, at the next one.

        Raises:
            TooEarlyError: the turn comes too late for the question.
            RateLimitedError: Vast said so, and the next turn comes too late.
            MarketplaceError: whatever the marketplace raises.
        """
        while True:
            self._claim(verb)
            try:
                answer = ask(self._marketplace)
            except RateLimitedError as error:
                now = self._clock.now()
                limited = self.pacing.limited(verb, now, error.retry_after_s)
                self._book(limited)
                if now + limited.wait_s(verb, now) > self._waits_until:
                    raise
                continue
            # Of a listing of many pages, the last request was made only now.
            self._book(self.pacing.called(verb, self._clock.now()))
            return answer

    def _claim(self, verb: Verb) -> None:
        key = pacing_key(verb)
        while True:
            now = self._clock.now()
            until = Pacing({}, self.pacing.scale).called(verb, now).next_call_at[key]
            turn_at = self._ledger.claim_turn(key, now, until)
            if turn_at <= now:
                return
            if turn_at > self._waits_until:
                raise TooEarlyError(f"{verb}: next turn in {turn_at - now:.1f} s", turn_at - now)
            self._clock.sleep(turn_at - now)

    def _book(self, pacing: Pacing) -> None:
        for key, at in pacing.next_call_at.items():
            if at != self.pacing.next_call_at.get(key):
                self._ledger.book_turn(key, at)

"""The marketplace port on a pretend market, in process: no HTTP, virtual time, faults by name.

`fail_next` and the market's named faults make it go wrong; `market.bill(now)` is the bill that the
market integrates by itself; `market.calls` is what was asked. One contract suite
(tests/contracts/test_marketplace.py) holds it to the real adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal, TypeVar

from chalicelib.adapters.vast.errors import refusal
from chalicelib.adapters.vast.listing import DoubtError, ListingBuilder
from chalicelib.adapters.vast.requests import (
    body_of_bid,
    body_of_create,
    destroy_in_batches,
    params_of_template,
)
from chalicelib.adapters.vast.row_check import usable_offers
from chalicelib.adapters.vast.rows import parse_instance, parse_template
from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.market import NO_PAGES, InstanceListing, InstanceRecord
from chalicelib.ports.clock import Clock
from chalicelib.ports.marketplace import (
    CreateRequest,
    FoundOffers,
    MarketplaceError,
    Template,
)
from chalicelib.wire import vast as wire
from fakes.market.market import Market
from fakes.market.market_pages import PageQuery, listing_page
from fakes.market.market_refusal import MarketRefusal

Result = TypeVar("Result")
When = Literal["before", "after"]


@dataclass(slots=True)
class _Failure:
    verb: Verb
    error: BaseException
    when: When
    times: int


class FakeMarketplace:
    """Implements `ports.marketplace.Marketplace` on a Market."""

    def __init__(self, market: Market, clock: Clock) -> None:
        self.market = market
        self._clock = clock
        self._failures: list[_Failure] = []

    def fail_next(
        self, verb: Verb | str, error: BaseException, *, when: When = "before", times: int = 1
    ) -> None:
        """The next calls of this verb raise: before they have an effect, or after it."""
        self._failures.append(_Failure(Verb(verb), error, when, times))

    def search_offers(
        self, query: wire.SearchQuery, *, disk_gb: float, limit: int, is_bid: bool = False
    ) -> FoundOffers:
        """Offers rentable now."""

        def act(now: float) -> FoundOffers:
            body = wire.search_body(query, disk_gb=disk_gb, limit=limit, is_bid=is_bid)
            rows = self.market.offers.search(body, now)
            return usable_offers(rows, body, disk_gb, now)

        return self._perform(Verb.SEARCH, "", act)

    def create_instance(self, request: CreateRequest) -> int:
        """Rent."""
        body = body_of_create(request)
        return self._perform(
            Verb.CREATE,
            f"{request.offer_id} {request.label}",
            lambda now: self.market.create(request.offer_id, body, now).instance_id,
        )

    def list_instances(
        self, so_far: Mapping[str, object] = NO_PAGES, *, ends_at: float = inf
    ) -> InstanceListing:
        """All instances, from the same pages that Vast's API would give."""
        listing = ListingBuilder(self._clock.now())
        try:
            self._perform(Verb.LIST, "", lambda now: self._read_pages(listing, now))
            return listing.complete(self._clock.now())
        except DoubtError as doubt:
            return listing.incomplete(self._clock.now(), str(doubt))
        except MarketplaceError as error:
            return listing.incomplete(self._clock.now(), f"{type(error).__name__}: {error}")

    def find_instance(self, instance_id: int) -> InstanceRecord | None:
        """One instance by its id."""

        def act(_now: float) -> InstanceRecord | None:
            found = self.market.instances.get(instance_id)
            return parse_instance(found.row()) if found else None

        return self._perform(Verb.SHOW, str(instance_id), act)

    def start_instance(self, instance_id: int) -> None:
        """Start a stopped instance."""
        self._perform(Verb.START, str(instance_id), lambda now: self.market.start(instance_id, now))

    def stop_instance(self, instance_id: int) -> None:
        """Stop."""
        self._perform(Verb.STOP, str(instance_id), lambda now: self.market.stop(instance_id, now))

    def change_bid(self, instance_id: int, usd_per_hour: float) -> None:
        """Bid anew."""
        price = body_of_bid(usd_per_hour)["price"]
        self._perform(
            Verb.BID, str(instance_id), lambda now: self.market.change_bid(instance_id, price, now)
        )

    def destroy_instances(self, instance_ids: Sequence[int]) -> Mapping[int, str]:
        """Destroy; gives for each id "" or why not."""
        return destroy_in_batches(instance_ids, self._destroy, lambda: None)

    def reboot_instance(self, instance_id: int) -> None:
        """Reboot the container."""
        self._perform(
            Verb.REBOOT, str(instance_id), lambda now: self.market.reboot(instance_id, now)
        )

    def find_template(self, hash_id: str) -> Template | None:
        """A template by its hash."""
        params_of_template(hash_id)

        def act(_now: float) -> Template | None:
            row = self.market.templates.rows.get(hash_id)
            return parse_template(row) if row else None

        return self._perform(Verb.TEMPLATE, hash_id, act)

    def account_credit_usd(self) -> float:
        """Money left."""
        return self._perform(Verb.CREDIT, "", self.market.credit_usd)

    def instance_logs(self, instance_id: int, *, n_lines: int = 1_000) -> str:
        """What the market says about the container; nothing runs in it here."""

        def act(_now: float) -> str:
            return self.market.instance(instance_id).status_msg

        return self._perform(Verb.LOGS, str(instance_id), act)

    def _destroy(self, batch: Sequence[int]) -> dict[int, str]:
        return self._perform(
            Verb.DESTROY,
            " ".join(map(str, batch)),
            lambda now: self.market.destroy(batch, now),
        )

    def _read_pages(self, listing: ListingBuilder, now: float) -> None:
        while True:
            query = PageQuery(after_token=listing.next_token or "")
            listing.add_page(listing_page(self.market, query, now))
            if listing.next_token is None:
                return

    def _perform(self, verb: Verb, detail: str, act: Callable[[float], Result]) -> Result:
        now = self._clock.now()
        self._fail_if_planned(verb, "before")
        try:
            self.market.begin_call(verb, now, detail)
            result = act(now)
        except MarketRefusal as answer:
            error = refusal(verb, answer.status, answer.text, now, answer.headers)
            if error is None:
                raise
            raise error from answer
        self._fail_if_planned(verb, "after")
        return result

    def _fail_if_planned(self, verb: Verb, when: When) -> None:
        for failure in self._failures:
            if failure.verb is verb and failure.when == when:
                failure.times -= 1
                if failure.times == 0:
                    self._failures.remove(failure)
                raise failure.error

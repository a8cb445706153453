"""The marketplace over Vast's HTTP API (protocol.md F). Nothing is ever retried here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from math import inf

from chalicelib.adapters.vast.errors import no_answer, parse_object, refusal
from chalicelib.adapters.vast.http import NoAnswerError, Send, VastRequest, send_over_http
from chalicelib.adapters.vast.listing import DoubtError, ListingBuilder
from chalicelib.adapters.vast.redaction import HIDDEN
from chalicelib.adapters.vast.requests import (
    body_of_bid,
    body_of_create,
    destroy_in_batches,
    params_of_template,
)
from chalicelib.adapters.vast.row_check import usable_offers
from chalicelib.adapters.vast.rows import (
    Row,
    RowError,
    dict_rows,
    parse_instance,
    parse_template,
)
from chalicelib.adapters.vast.values import finite, whole
from chalicelib.core.fleet.pacing import MARGIN_S, MIN_INTERVAL_S, Verb
from chalicelib.core.model.market import NO_PAGES, InstanceListing, InstanceRecord
from chalicelib.core.words import count
from chalicelib.ports.clock import Clock
from chalicelib.ports.marketplace import (
    NOT_THERE,
    AmbiguousCreateError,
    CreateRequest,
    FoundOffers,
    MarketplaceError,
    MarketplaceUnavailableError,
    RateLimitedError,
    RefusedError,
    Template,
)
from chalicelib.wire import vast as wire

_URL = re.compile(r"https://[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?")
_LOOPBACK_URL = re.compile(r"http://127\.0\.0\.1:[0-9]{1,5}")
LOG_POLL_S = 0.3
MAX_LOG_POLLS = 30
MAX_CREDIT_USD = 1e9  # a thousand times what an account ever holds
MAX_LISTING_AGE_S = 180.0  # a listing that took longer shows an account that is no more
MAX_LISTING_S = 40.0  # the function lives 60 s, and the round has more to do


class VastMarketplace:
    """Implements `ports.marketplace.Marketplace`.

    `api_key` is called when a request is made, never before, and its value is kept nowhere.
    """

    def __init__(
        self,
        *,
        url: str,
        api_key: Callable[[], str],
        clock: Clock,
        send: Send = send_over_http,
        page_interval_s: float = MIN_INTERVAL_S[Verb.LIST] + MARGIN_S,
    ) -> None:
        """Refuse a URL to which the key must not be sent.

        Raises:
            ValueError: neither https nor this machine.
        """
        if not (_URL.fullmatch(url) or _LOOPBACK_URL.fullmatch(url)):
            raise ValueError(f"marketplace URL {url!r}; allowed: https://HOST, no path")
        self._url = url
        self._api_key = api_key
        self._clock = clock
        self._send = send
        self._page_interval_s = page_interval_s

    def search_offers(
        self, query: wire.SearchQuery, *, disk_gb: float, limit: int, is_bid: bool = False
    ) -> FoundOffers:
        """Offers rentable now for a parsed query.

        Rows that cannot be used, or that are not what was asked for, are left out and counted.
        """
        body = wire.search_body(query, disk_gb=disk_gb, limit=limit, is_bid=is_bid)
        answer = self._call(Verb.SEARCH, "POST", "/api/v0/bundles/", body=body)
        return usable_offers(_offer_rows(answer), body, disk_gb, self._clock.now())

    def create_instance(self, request: CreateRequest) -> int:
        """Rent; gives the contract id. An answer that cannot be understood may have rented."""
        body = body_of_create(request)
        answer = self._call(Verb.CREATE, "PUT", f"/api/v0/asks/{request.offer_id:d}/", body=body)
        contract = whole(answer.get("new_contract"), 1)
        if contract is None:
            told = str(answer.get("new_contract"))[:40]
            raise AmbiguousCreateError(f"create: new_contract is {told}")
        return contract

    def list_instances(
        self, so_far: Mapping[str, object] = NO_PAGES, *, ends_at: float = inf
    ) -> InstanceListing:
        """All instances of the account, page by page. Doubt is told by `is_complete`.

        A listing that was cut short, by its deadline or an answer that did not come, says how to
        go on with its next page: the next call takes it as `so_far`, in whichever process.
        """
        called_at, n_pages = self._clock.now(), 0
        ends_at = min(ends_at, called_at + MAX_LISTING_S)
        listing = ListingBuilder.going_on(so_far)
        if listing is None or not 0 <= called_at - listing.started_at <= MAX_LISTING_AGE_S:
            listing = ListingBuilder(called_at)
        try:
            while True:
                now = self._clock.now()
                if n_pages and now > ends_at:
                    took = f"{now - called_at:.0f} s for {count(n_pages, 'page')}"
                    problem = f"deadline: {took}, the next call goes on"
                    return listing.cut_short(now, problem, is_under_way=True)
                params = wire.listing_params(listing.next_token)
                page = self._call(Verb.LIST, "GET", "/api/v1/instances/", params=params)
                listing.add_page(page)
                n_pages += 1
                if listing.next_token is None:
                    return listing.complete(self._clock.now())
                self._clock.sleep(self._page_interval_s)
        except DoubtError as doubt:
            return listing.incomplete(self._clock.now(), str(doubt))
        except (RateLimitedError, MarketplaceUnavailableError) as error:
            return listing.cut_short(self._clock.now(), f"{type(error).__name__}: {error}")
        except MarketplaceError as error:
            return listing.incomplete(self._clock.now(), f"{type(error).__name__}: {error}")

    def find_instance(self, instance_id: int) -> InstanceRecord | None:
        """One instance by its id, or None if Vast says that there is none."""
        path, params = f"/api/v0/instances/{instance_id:d}/", {"owner": "me"}
        try:
            answer = self._call(Verb.SHOW, "GET", path, params=params)
        except RefusedError as error:
            if error.code == NOT_THERE:
                return None
            raise
        row = answer.get("instances", "")
        if row is None:
            return None
        try:
            return parse_instance(dict_rows([row])[0])
        except RowError as error:
            raise MarketplaceUnavailableError(f"show: malformed: {error}") from error

    def start_instance(self, instance_id: int) -> None:
        """Start; RefusedError `resources_unavailable` when its GPU is let to somebody else."""
        self._set_state(Verb.START, instance_id, "running")

    def stop_instance(self, instance_id: int) -> None:
        """Stop."""
        self._set_state(Verb.STOP, instance_id, "stopped")

    def change_bid(self, instance_id: int, usd_per_hour: float) -> None:
        """Bid anew for an interruptible instance."""
        path = f"/api/v0/instances/bid_price/{instance_id:d}/"
        self._call(Verb.BID, "PUT", path, body=body_of_bid(usd_per_hour))

    def destroy_instances(self, instance_ids: Sequence[int]) -> Mapping[int, str]:
        """Destroy, in bulk if more than one; gives for each id "" or why not.

        What Vast accepted is not yet gone: only a complete listing without it shows that.
        """
        pause_s = MIN_INTERVAL_S[Verb.DESTROY] + MARGIN_S
        return destroy_in_batches(instance_ids, self._destroy, lambda: self._clock.sleep(pause_s))

    def reboot_instance(self, instance_id: int) -> None:
        """Reboot the container."""
        self._call(Verb.REBOOT, "PUT", f"/api/v0/instances/reboot/{instance_id:d}/", body={})

    def find_template(self, hash_id: str) -> Template | None:
        """A template by its hash."""
        params = params_of_template(hash_id)
        answer = self._call(Verb.TEMPLATE, "GET", "/api/v0/template/", params=params)
        for row in _rows(Verb.TEMPLATE, answer, "templates"):
            if row.get("hash_id") == hash_id:
                try:
                    return parse_template(row)
                except RowError as error:
                    raise RefusedError("bad_template", f"template {hash_id}: {error}") from error
        return None

    def account_credit_usd(self) -> float:
        """Money left."""
        answer = self._call(Verb.CREDIT, "GET", "/api/v0/users/current/")
        credit = finite(answer.get("credit"))
        if credit is None or abs(credit) > MAX_CREDIT_USD:
            told = str(answer.get("credit"))[:40]
            raise MarketplaceUnavailableError(f"credit: {told} is no amount of money")
        return credit

    def instance_logs(self, instance_id: int, *, n_lines: int = 1_000) -> str:
        """The newest lines of the container's log; Vast fetches them, so this takes seconds."""
        path = f"/api/v0/instances/request_logs/{instance_id:d}/"
        answer = self._call(Verb.LOGS, "PUT", path, body={"tail": str(n_lines)})
        url = answer.get("result_url")
        if not isinstance(url, str) or not url.startswith(("https://", f"{self._url}/")):
            raise MarketplaceUnavailableError("logs: no usable result_url")
        request = VastRequest(method="GET", url=url, api_key="")  # not Vast's API: never the key
        for _ in range(MAX_LOG_POLLS):
            self._clock.sleep(LOG_POLL_S)
            try:
                found = self._send(request)
            except NoAnswerError as error:
                raise no_answer(Verb.LOGS, str(error)) from error
            if found.status == 200:
                return found.text
        raise MarketplaceUnavailableError("logs: not ready in time")

    def _set_state(self, verb: Verb, instance_id: int, state: str) -> None:
        self._call(verb, "PUT", f"/api/v0/instances/{instance_id:d}/", body={"state": state})

    def _destroy(self, batch: Sequence[int]) -> dict[int, str]:
        if len(batch) == 1:
            self._call(Verb.DESTROY, "DELETE", f"/api/v0/instances/{batch[0]:d}/", body={})
            return {batch[0]: ""}
        body = {"instance_ids": list(batch)}
        answer = self._call(Verb.DESTROY, "DELETE", "/api/v0/instances/", body=body)
        failed = answer.get("failed")
        reasons = failed if isinstance(failed, dict) else {}
        return {i: str(reasons.get(str(i), "")) for i in batch}

    def _call(
        self,
        verb: Verb,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Mapping[str, object]:
        request = VastRequest(
            method=method,
            url=self._url + path,
            params=params or {},
            body=body,
            api_key=self._api_key(),
        )
        try:
            answer = self._send(request)
        except NoAnswerError as error:
            raise no_answer(verb, str(error)) from error
        said = answer.text
        for secret in request.secrets():
            said = said.replace(secret, HIDDEN)
        error_found = refusal(verb, answer.status, said, self._clock.now(), answer.headers)
        if error_found is not None:
            raise error_found
        return parse_object(answer.text) or {}


def _rows(verb: Verb, answer: Mapping[str, object], name: str) -> list[Row]:
    try:
        return dict_rows(answer.get(name))
    except RowError as error:
        raise MarketplaceUnavailableError(f"{verb}: malformed: {name}: {error}") from error


def _offer_rows(answer: Mapping[str, object]) -> list[Row]:
    """The offers of an answer: a list, or one alone as in the vendor's documents."""
    offers = answer.get("offers")
    return [offers] if isinstance(offers, dict) else _rows(Verb.SEARCH, answer, "offers")

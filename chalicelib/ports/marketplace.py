"""The marketplace: Vast's API as the scaler needs it (protocol.md F).

MarketplaceError
├── MarketplaceUnavailableError  time-out, 5xx, not JSON, malformed: nothing is known
├── RateLimitedError             429: ask again later
├── OfferGoneError               no_such_ask, wherever it stands: a normal race, try the next offer
├── RefusedError                 Vast said no for a stated reason (credit, invalid args, no start)
└── AmbiguousCreateError         a create that may have rented (time-out, 5xx, success:false + id)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from chalicelib.core.model.market import NO_PAGES, Offer
from chalicelib.core.model.market import InstanceListing as InstanceListing
from chalicelib.core.model.market import InstanceRecord as InstanceRecord
from chalicelib.ports.errors import PortError

NOT_THERE = "no_such_instance"
"""The code of a refusal: to a destroy what was asked for, though a look must say so too."""

KEY_REFUSED = "auth_error"
"""The code of a refusal: Vast does not know the key (some calls say so of a lacking right)."""


class MarketplaceError(PortError):
    """Vast did not do what was asked."""


class MarketplaceUnavailableError(MarketplaceError):
    """No answer, or none that can be understood: nothing is known."""


class RateLimitedError(MarketplaceError):
    """429; `retry_after_s` is what Vast told, or else an estimate."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OfferGoneError(MarketplaceError):
    """The offer was taken in the meantime."""


class RefusedError(MarketplaceError):
    """Vast refused for a stated reason; `code` is Vast's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class AmbiguousCreateError(MarketplaceError):
    """The create may have rented. `contract_id` is set if Vast named one."""

    def __init__(self, message: str, contract_id: int | None = None) -> None:
        super().__init__(message)
        self.contract_id = contract_id


@dataclass(frozen=True, kw_only=True, slots=True)
class CreateRequest:
    """What to rent. `env` holds variables, and port flags as `"-p 3000:3000": "1"`."""

    offer_id: int
    label: str
    template_hash: str | None
    disk_gb: float
    env: Mapping[str, str] = field(repr=False)  # with the machine's own token
    image: str | None = None
    onstart: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict)  # from launch_args, validated
    bid_usd_per_hour: float | None = None  # of the whole machine: interruptible; None: on demand


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """A Vast template."""

    template_id: int
    hash_id: str
    name: str
    image: str
    env: str = field(repr=False)  # docker flags, with the owner's tokens
    onstart: str
    extra_filters: Mapping[str, Mapping[str, object]]
    disk_gb: float


class FoundOffers(tuple[Offer, ...]):
    """The offers of a search that can be used, and how many rows were left out, by the reason."""

    left_out: Mapping[str, int]

    def __new__(
        cls, offers: Iterable[Offer] = (), left_out: Mapping[str, int] | None = None
    ) -> FoundOffers:
        """Offers with the reasons why others are not among them."""
        found = super().__new__(cls, offers)
        found.left_out = dict(left_out or {})
        return found


class Marketplace(Protocol):
    """Vast's API. Every method may raise MarketplaceError and its children."""

    def search_offers(
        self,
        query: Mapping[str, Mapping[str, object]],
        *,
        disk_gb: float,
        limit: int,
        is_bid: bool = False,
    ) -> FoundOffers:
        """Offers rentable now for a parsed query, on demand or interruptible."""
        ...

    def create_instance(self, request: CreateRequest) -> int:
        """Rent; gives the contract id. Never retried by itself.

        Raises:
            OfferGoneError, RefusedError, RateLimitedError: surely not rented.
            AmbiguousCreateError: may be rented.
        """
        ...

    def list_instances(
        self, so_far: Mapping[str, object] = NO_PAGES, *, ends_at: float = inf
    ) -> InstanceListing:
        """All instances of the account. Doubt is told by `is_complete`, not raised.

        `so_far`: of the listing before, if it was cut short; nothing by default. `ends_at`: no
        second page is asked for after it.
        """
        ...

    def find_instance(self, instance_id: int) -> InstanceRecord | None:
        """One instance asked for by its id: a second witness before a listing's gap is believed."""
        ...

    def start_instance(self, instance_id: int) -> None:
        """Start a stopped instance.

        Raises:
            RefusedError: `resources_unavailable` when its GPU is let to somebody else.
        """
        ...

    def stop_instance(self, instance_id: int) -> None:
        """Stop."""
        ...

    def change_bid(self, instance_id: int, usd_per_hour: float) -> None:
        """Bid this much for the whole machine; an outbid one is not started by it."""
        ...

    def destroy_instances(self, instance_ids: Sequence[int]) -> Mapping[int, str]:
        """Destroy; gives for each id "" or why not."""
        ...

    def reboot_instance(self, instance_id: int) -> None:
        """Reboot the container."""
        ...

    def find_template(self, hash_id: str) -> Template | None:
        """A template by its hash."""
        ...

    def account_credit_usd(self) -> float:
        """Money left."""
        ...

    def instance_logs(self, instance_id: int, *, n_lines: int = 1_000) -> str:
        """The newest lines of a container's log; takes seconds."""
        ...

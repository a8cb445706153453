"""Intents: rentals that we may have made, from before the call until they are settled.

planned → maybe_rented → confirmed | void (reliability.md 2). The token in an instance's label says
that the instance is ours; it verifies by itself, so that a machine can be claimed without a table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from chalicelib.core.model.market import InstanceListing, InstanceRecord
from chalicelib.core.moments import is_ahead, passed

LABEL_SEPARATOR = " - "  # plain ASCII: nothing on the way may mangle it
MAX_LABEL_NAME = 60  # of a group's name in a label
LISTING_LAG_S = 60.0  # a listing that starts earlier than this after an attempt may not show it
ABSENT_LISTINGS = 2  # complete listings that must agree before absence is believed
KEPT_AFTER_SETTLED_S = 86_400.0  # a settled intent still tells whose a late machine is
_TOKEN = re.compile(r"(?<![A-Za-z0-9_])[0-9a-f]{16}[A-Za-z0-9_-]{8}(?![A-Za-z0-9_-])")
_N_RANDOM = 16  # hex digits: 64 bits, so that no two tokens agree


class IntentState(StrEnum):
    """planned → maybe_rented → confirmed | void."""

    PLANNED = "planned"  # the create call may be under way
    MAYBE_RENTED = "maybe_rented"  # it ended without a clear answer
    CONFIRMED = "confirmed"  # a worker row stands for it
    VOID = "void"  # surely not rented
    FOREIGN = "foreign"  # another version's: counted like one that may be rented, and left alone


OPEN_STATES = frozenset({IntentState.PLANNED, IntentState.MAYBE_RENTED, IntentState.FOREIGN})


@dataclass(frozen=True, kw_only=True, slots=True)
class RentIntent:
    """A rental that we may have made. Everything that its worker row will need is in it."""

    token: str
    endpoint_id: int
    autogroup_id: int
    state: IntentState
    planned_at: float
    offer_id: int
    machine_id: int
    gpu_name: str
    num_gpus: int
    usd_per_hour: float
    reserved_microusd_per_hour: int
    reserved_once_microusd: int = 0  # pessimistic download of image and model
    storage_usd_per_hour: float = 0.0
    host_id: int = 0
    dlperf: float = 0.0
    load_s: float = 0.0  # from create to ready, as the offer's line and its group let expect
    is_bid: bool = False  # interruptible: what stands below was bid
    bid_usd_per_hour: float = 0.0
    bid_margin: float = 1.0
    on_demand_usd_per_hour: float = 0.0
    place: str = ""
    key_id: str = ""  # signing key of the instance, fixed for its life
    template_revision: int = 1
    uses_ssl: bool = True
    worker_port: int = 3000
    attempt_ended_at: float | None = None
    settled_at: float | None = None
    instance_id: int | None = None
    problem: str = ""
    unknown: Mapping[str, object] = field(default_factory=dict, compare=False)  # another version's

    def as_of(self, now: float) -> RentIntent:
        """The intent as if the clock that wrote it had been right: itself, where it was."""
        ended, settled = self.attempt_ended_at, self.settled_at
        moments = (self.planned_at, ended or 0.0, settled or 0.0)
        if not any(is_ahead(at, now) for at in moments):
            return self
        return replace(
            self,
            planned_at=passed(self.planned_at, now),
            attempt_ended_at=None if ended is None else passed(ended, now),
            settled_at=None if settled is None else passed(settled, now),
        )

    @property
    def gpu_type(self) -> str:
        """'2x RTX 4090'."""
        return f"{self.num_gpus}x {self.gpu_name}"

    @property
    def is_open(self) -> bool:
        """Whether it counts against the caps by itself."""
        return self.state in OPEN_STATES


def token_from(random_hex: str, mac: Callable[[str, str], str]) -> str:
    """A token of 16 random hex digits and 8 characters that prove it is ours."""
    return random_hex[:_N_RANDOM] + mac("intent", random_hex[:_N_RANDOM])[:8]


def token_is_ours(token: str, mac: Callable[[str, str], str]) -> bool:
    """Whether the token was made by `token_from` under this deployment's pepper."""
    return bool(_TOKEN.fullmatch(token)) and token_from(token, mac) == token


def label_for(group_name: str, token: str) -> str:
    """An instance's label: the group's name first, as the owner expects it; ASCII only."""
    return f"{label_name(group_name)}{LABEL_SEPARATOR}{token}"


def label_name(group_name: str) -> str:
    """A group's name as a label carries it: printable ASCII, and short."""
    plain = group_name.encode("ascii", "replace").decode()
    name = "".join(letter if letter.isprintable() else "?" for letter in plain)
    return name[:MAX_LABEL_NAME].strip()


def split_label(label: str) -> Mapping[str, str]:
    """Group names by token, of each token of our shape that stands in a label, wherever.

    Seldom more than one: but a group may be named by an id of that shape, or the owner write one.
    """
    return {
        found[0]: label[: found.start()].strip().removesuffix("-").removesuffix("·").strip()
        for found in _TOKEN.finditer(label)
    }


def instances_by_token(listing: InstanceListing) -> Mapping[str, InstanceRecord]:
    """The listed instances whose label has the shape of ours, by token."""
    return {token: record for record in listing.instances for token in split_label(record.label)}


def listing_can_show(listing: InstanceListing, ended_at: float) -> bool:
    """Whether absence from this listing says anything about an attempt that ended then."""
    return listing.is_complete and listing.started_at >= ended_at + LISTING_LAG_S

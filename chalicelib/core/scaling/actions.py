"""Actions: what a scaling round wants done, each with its reason. Frozen values; others execute."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.core.model.market import Offer
from chalicelib.core.model.worker import AfterDrain
from chalicelib.core.scaling.reasons import Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class RentOffer:
    """Rent an offer for an autogroup. `alternatives` are tried in order if the offer is gone."""

    autogroup_id: int
    offer: Offer
    reason: Reason
    alternatives: tuple[Offer, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class StartWorker:
    """Start a stopped worker."""

    instance_id: int
    reason: Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class DrainWorker:
    """Give a worker nothing new; once it is empty, or at the deadline, do `then`."""

    instance_id: int
    then: AfterDrain
    deadline_s: float
    reason: Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class RecallWorker:
    """Give a draining worker work again."""

    instance_id: int
    reason: Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class StopWorker:
    """Stop an empty worker: its model stays on disk, its GPU is no longer paid."""

    instance_id: int
    reason: Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class RebootWorker:
    """Reboot a worker in error."""

    instance_id: int
    reason: Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class DestroyWorker:
    """Return an instance for good."""

    instance_id: int
    reason: Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeBid:
    """Bid this much for an outbid machine, and start it."""

    instance_id: int
    bid_usd_per_hour: float  # for the whole machine
    reason: Reason


Action = (
    RentOffer
    | StartWorker
    | DrainWorker
    | RecallWorker
    | StopWorker
    | RebootWorker
    | DestroyWorker
    | ChangeBid
)

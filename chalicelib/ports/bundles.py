"""Ports in bundles: what each function of the deployment may touch, checked by mypy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

# Names of fields' types only: the hot function never loads what the others' ports need.
if TYPE_CHECKING:
    from chalicelib.ports.clock import Clock, Randomness
    from chalicelib.ports.event_log import EventLog, SeriesLog
    from chalicelib.ports.group_repository import GroupRepository
    from chalicelib.ports.keys import KeyRepository, QuotaRepository
    from chalicelib.ports.ledger import Ledger
    from chalicelib.ports.marketplace import Marketplace
    from chalicelib.ports.notifier import Notifier, Receivers
    from chalicelib.ports.routing_view import RoutingViewRepository, WaitingRepository
    from chalicelib.ports.scaler_poke import ScalerPoke
    from chalicelib.ports.signer import SecretBox, Signer
    from chalicelib.ports.worker_repository import WorkerRepository


@dataclass(frozen=True, kw_only=True, slots=True)
class HotPorts:
    """For `/route/`, `/pubkey/` and reports."""

    clock: Clock
    randomness: Randomness
    workers: WorkerRepository
    views: RoutingViewRepository
    waiting: WaitingRepository
    keys: KeyRepository
    quotas: QuotaRepository
    signer: Signer
    secrets: SecretBox
    poke: ScalerPoke
    events: EventLog


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiPorts(HotPorts):
    """For management: configuration, keys, logs, stats. Never the marketplace."""

    groups: GroupRepository
    ledger: Ledger
    series: SeriesLog
    receivers: Receivers


@dataclass(frozen=True, kw_only=True, slots=True)
class NotifierPorts:
    """For the function on the alerts' topic: it works when all others are dead."""

    clock: Clock
    events: EventLog
    receivers: Receivers


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalerPorts(ApiPorts):
    """For the scaler, the only one with the Vast key."""

    marketplace: Marketplace
    public_url: str = ""  # what workers report to; empty: as the ledger's account has it
    allows_loopback: bool = False  # workers on 127.0.0.1: the local system only
    round_interval_s: float = 5.0
    pacing_scale: float = 1.0  # of Vast's call intervals: the local system's market runs faster
    notifiers: tuple[Notifier, ...] = ()  # none is fine: notices then stay in the event log

"""All ports of the scaler in memory, around one clock and one marketplace."""

from __future__ import annotations

from typing import Any

from chalicelib.ports.bundles import ScalerPorts
from chalicelib.ports.marketplace import Marketplace
from fakes.ports.clock import FakeRandomness, ManualClock
from fakes.ports.event_log import FakeEventLog, FakeSeriesLog
from fakes.ports.group_repository import FakeGroupRepository
from fakes.ports.key_repository import FakeKeyRepository
from fakes.ports.ledger import FakeLedger
from fakes.ports.notifier import FakeNotifier, FakeReceivers
from fakes.ports.quotas import FakeQuotaRepository
from fakes.ports.routing_view import FakeRoutingViewRepository
from fakes.ports.scaler_poke import FakeScalerPoke
from fakes.ports.secret_box import FakeSecretBox
from fakes.ports.signer import UncheckedSigner
from fakes.ports.waiting import FakeWaitingRepository
from fakes.ports.worker_repository import FakeWorkerRepository


def fake_scaler_ports(
    clock: ManualClock, marketplace: Marketplace, *, seed: int = 0, **given: Any
) -> ScalerPorts:
    """New fakes, but for the ports that are `given` by name."""
    ports: dict[str, Any] = {
        "randomness": FakeRandomness(seed),
        "workers": FakeWorkerRepository(),
        "views": FakeRoutingViewRepository(),
        "waiting": FakeWaitingRepository(),
        "keys": FakeKeyRepository(),
        "quotas": FakeQuotaRepository(),
        "signer": UncheckedSigner(),
        "secrets": FakeSecretBox(),
        "poke": FakeScalerPoke(),
        "events": FakeEventLog(),
        "groups": FakeGroupRepository(),
        "ledger": FakeLedger(),
        "series": FakeSeriesLog(),
        "receivers": FakeReceivers(),
        "notifiers": (FakeNotifier(),),
    }
    return ScalerPorts(clock=clock, marketplace=marketplace, **(ports | given))

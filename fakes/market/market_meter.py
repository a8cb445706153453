"""The market's own bill: what every contract costs, integrated over time, apart from our books.

As Vast bills (marketplace.md): storage from the create to the destroy; the GPU while loading,
starting, running, rebooting and stopping; nothing for the GPU while its host is offline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

SECONDS_PER_HOUR = 3_600.0


@dataclass(frozen=True, slots=True)
class Rate:
    """What a contract costs per hour now."""

    gpu_usd_per_hour: float = 0.0
    storage_usd_per_hour: float = 0.0

    @property
    def total(self) -> float:
        """Both."""
        return self.gpu_usd_per_hour + self.storage_usd_per_hour


@dataclass(frozen=True, kw_only=True, slots=True)
class ContractBill:
    """What one contract has cost so far."""

    label: str
    gpu_usd: float
    storage_usd: float
    gpu_s: float  # market seconds for which the GPU was billed

    @property
    def total_usd(self) -> float:
        """Both."""
        return self.gpu_usd + self.storage_usd


@dataclass(frozen=True, kw_only=True, slots=True)
class Bill:
    """Everything so far, contracts that are gone included."""

    total_usd: float
    by_instance: Mapping[int, ContractBill]
    by_label: Mapping[str, float]
    usd_per_hour: float
    peak_usd_per_hour: float  # the most that ever was owed per hour at one moment


@dataclass(slots=True)
class _Account:
    label: str
    since: float
    rate: Rate = field(default_factory=Rate)
    gpu_usd: float = 0.0
    storage_usd: float = 0.0
    gpu_s: float = 0.0


class Meter:
    """Integrates rates; `time_scale` seconds of market time pass in one of ours."""

    def __init__(self, time_scale: float = 1.0) -> None:
        self._time_scale = time_scale
        self._accounts: dict[int, _Account] = {}
        self._running: dict[int, float] = {}  # $ per hour of the contracts that cost anything
        self._usd_per_hour = 0.0
        self._peak = 0.0
        self._total_usd = 0.0
        self._total_at = 0.0

    def set_rate(self, instance_id: int, label: str, rate: Rate, now: float) -> None:
        """From now on this contract costs this much."""
        self._total_usd, self._total_at = self.total_usd(now), max(now, self._total_at)
        account = self._accounts.setdefault(instance_id, _Account(label, now))
        self._accrue(account, now)
        account.rate, account.label = rate, label
        if rate.total > 0:
            self._running[instance_id] = rate.total
        else:
            self._running.pop(instance_id, None)
        # A fresh sum instead of a running difference: no drift, so a cap may be compared exactly.
        self._usd_per_hour = math.fsum(self._running.values())
        self._peak = max(self._peak, self._usd_per_hour)

    def set_time_scale(self, time_scale: float, now: float) -> None:
        """Change how fast market time passes, from now on."""
        self._total_usd, self._total_at = self.total_usd(now), max(now, self._total_at)
        for account in self._accounts.values():
            self._accrue(account, now)
        self._time_scale = time_scale

    def total_usd(self, now: float) -> float:
        """What everything has cost up to now, without a look at every contract."""
        market_s = max(0.0, now - self._total_at) * self._time_scale
        return self._total_usd + self._usd_per_hour * market_s / SECONDS_PER_HOUR

    def bill(self, now: float) -> Bill:
        """Everything up to now."""
        by_instance: dict[int, ContractBill] = {}
        by_label: dict[str, float] = {}
        for instance_id, account in self._accounts.items():
            self._accrue(account, now)
            contract = ContractBill(
                label=account.label,
                gpu_usd=account.gpu_usd,
                storage_usd=account.storage_usd,
                gpu_s=account.gpu_s,
            )
            by_instance[instance_id] = contract
            by_label[account.label] = by_label.get(account.label, 0.0) + contract.total_usd
        return Bill(
            total_usd=sum(contract.total_usd for contract in by_instance.values()),
            by_instance=by_instance,
            by_label=by_label,
            usd_per_hour=self._usd_per_hour,
            peak_usd_per_hour=self._peak,
        )

    def _accrue(self, account: _Account, now: float) -> None:
        market_s = max(0.0, now - account.since) * self._time_scale
        account.gpu_usd += account.rate.gpu_usd_per_hour * market_s / SECONDS_PER_HOUR
        account.storage_usd += account.rate.storage_usd_per_hour * market_s / SECONDS_PER_HOUR
        account.gpu_s += market_s if account.rate.gpu_usd_per_hour > 0 else 0.0
        account.since = max(account.since, now)

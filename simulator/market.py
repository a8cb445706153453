"""The simulated market: machine types, offers, times and failures, from a documented file."""

from __future__ import annotations

import math
import random
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

from chalicelib.core.offer import Offer

DEFAULT_MARKET = Path(__file__).parent / "markets" / "default.toml"
DLPERF_OF_REFERENCE = 100.0  # the market's own benchmark for a worker of perf 1.0


class MarketError(ValueError):
    """A market file is unusable; the message names the key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineType:
    """A GPU type; perf in reference workers."""

    name: str
    usd_per_hour: float
    perf: float

    @property
    def usd_per_perf(self) -> float:
        """List price per perf."""
        return self.usd_per_hour / self.perf


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketConfig:
    """Everything a market file says; see markets/default.toml for meanings and sources."""

    types: tuple[MachineType, ...]
    slots: int = 8
    storage_usd_per_hour: float = 0.0103
    max_workers: int = 200
    offers_per_type: int = 1
    offer_life_h: float = 1.0
    price_sigma: float = 0.08
    perf_sigma: float = 0.08
    price_move_interval_h: float = 0.0
    price_move_sigma: float = 0.0
    load_median_s: float = 300.0
    load_sigma: float = 0.6
    load_free_s: float = 60.0
    start_median_s: float = 20.0
    start_sigma: float = 0.5
    boot_failure: float = 0.08
    boot_death_s: tuple[float, float] = (60.0, 600.0)
    start_stuck: float = 0.03
    start_refused: float = 0.0
    mean_life_h: float = 300.0

    @property
    def best_type(self) -> MachineType:
        """The cheapest list price per perf."""
        return min(self.types, key=lambda kind: (kind.usd_per_perf, kind.name))


_SECTIONS = {
    "offers": {"per_type": "offers_per_type", "life_h": "offer_life_h"},
    "price_moves": {"mean_interval_h": "price_move_interval_h", "sigma": "price_move_sigma"},
    "times": {},
    "failures": {},
}


def read_market(path: Path = DEFAULT_MARKET, **changes: object) -> MarketConfig:
    """The market in a TOML file, with `changes` to single parameters.

    Raises:
        MarketError: for an unknown or missing key, or no types.
    """
    raw = tomllib.loads(path.read_text())
    values: dict[str, object] = {}
    for key, value in raw.items():
        if key in _SECTIONS:
            names = _SECTIONS[key]
            values |= {names.get(name, name): item for name, item in value.items()}
        elif key != "types":
            values[key] = value
    unknown = set(values) - set(MarketConfig.__dataclass_fields__)
    if unknown or not raw.get("types"):
        raise MarketError(f"{path}: unknown keys {sorted(unknown)}" if unknown else "no [[types]]")
    if "boot_death_s" in values:
        low, high = raw["failures"]["boot_death_s"]
        values["boot_death_s"] = (float(low), float(high))
    types = tuple(MachineType(**item) for item in raw["types"])
    config = MarketConfig(types=types, **values)  # type: ignore[arg-type]
    return replace(config, **changes) if changes else config  # type: ignore[arg-type]


@dataclass(slots=True)
class _Shown:
    offer: Offer
    perf: float  # hidden until benchmarked
    gone_at: float


@dataclass(slots=True)
class Market:
    """Offers as a renter sees them over time; what a machine can do shows only after its load."""

    config: MarketConfig
    rng: random.Random
    _next_id: int = 1
    _shown: list[_Shown] = field(default_factory=list)

    def offers(self, now: float) -> list[Offer]:
        """Offers shown now; those that expired are replaced."""
        if not self._shown:
            for kind in self.config.types:
                self._shown += [self._draw(kind, now) for _ in range(self.config.offers_per_type)]
        for index, shown in enumerate(self._shown):
            if shown.gone_at <= now:
                self._shown[index] = self._redraw(shown, now)
        return [shown.offer for shown in self._shown]

    def take(self, offer_id: int, now: float) -> tuple[Offer, float] | None:
        """Rent an offer: the offer and the machine's true perf, or None if it is gone."""
        for index, shown in enumerate(self._shown):
            if shown.offer.offer_id == offer_id:
                self._shown[index] = self._redraw(shown, now)
                return shown.offer, shown.perf
        return None

    def _redraw(self, shown: _Shown, now: float) -> _Shown:
        kind = next(kind for kind in self.config.types if kind.name == shown.offer.gpu_name)
        return self._draw(kind, now)

    def _draw(self, kind: MachineType, now: float) -> _Shown:
        config, rng = self.config, self.rng
        number = self._next_id
        self._next_id += 1
        price = kind.usd_per_hour * math.exp(config.price_sigma * rng.gauss(0, 1))
        perf = kind.perf * math.exp(config.perf_sigma * rng.gauss(0, 1))
        offer = Offer(
            offer_id=number,
            machine_id=number,
            host_id=number,
            gpu_name=kind.name,
            num_gpus=1,
            gpu_ram_gb=24.0,
            usd_per_hour=price,
            storage_usd_per_hour=config.storage_usd_per_hour,
            dlperf=kind.perf * DLPERF_OF_REFERENCE,
        )
        life_s = config.offer_life_h * 3600.0 * rng.expovariate(1.0)
        return _Shown(offer=offer, perf=perf, gone_at=now + life_s)

"""The simulated market: machine types, offers, times and failures, from a documented file."""

from __future__ import annotations

import math
import random
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

from ballast.simulator.world.losses import Losses
from chalicelib.core.model.market import Offer
from chalicelib.core.model.vouching import lower_median

DEFAULT_MARKET = Path(__file__).parents[1] / "markets" / "default.toml"
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
    download_gb: float = 0.0  # of the load; 0 = loads do not follow the offer's line
    line_mbps: tuple[float, ...] = ()  # of hosts, one drawn for each
    n_hosts: int = 0  # whose machines are offered; 0 = each offer's is another's
    host_sigma: float = 0.0  # of log load time between hosts of one line
    start_median_s: float = 20.0
    start_sigma: float = 0.5
    boot_failure: float = 0.08
    boot_death_s: tuple[float, float] = (60.0, 600.0)
    start_stuck: float = 0.03
    start_refused: float = 0.0
    mean_life_h: float = 300.0
    bid_ratio: float = 0.5  # the least bid of a calm zone over the price on demand
    zones: tuple[str, ...] = ()  # with interruptible machines in them; each shows every type

    @property
    def best_type(self) -> MachineType:
        """The cheapest list price per perf."""
        return min(self.types, key=lambda kind: (kind.usd_per_perf, kind.name))

    def load_s(self, offer: Offer, chances: random.Random, pace: float = 1.0) -> float:
        """From create to ready: the median, more or less for the host's line, times its pace.

        The rest is chance.
        """
        median_s = self.load_median_s
        if self.download_gb > 0 and offer.inet_down_mbps > 0:
            megabits = self.download_gb * 8_000.0
            typical = megabits / lower_median(self.line_mbps)
            median_s += megabits / offer.inet_down_mbps - typical
        return median_s * pace * math.exp(self.load_sigma * chances.gauss(0, 1))

    def price_pause_s(self, chances: random.Random) -> float:
        """Until the price of a rented machine moves again."""
        return chances.expovariate(1.0 / (self.price_move_interval_h * 3600.0))

    def price_factor(self, chances: random.Random) -> float:
        """By which it moves."""
        return math.exp(self.price_move_sigma * chances.gauss(0, 1))


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
    if "line_mbps" in values:
        values["line_mbps"] = tuple(map(float, raw["times"]["line_mbps"]))
    types = tuple(MachineType(**item) for item in raw["types"])
    config = MarketConfig(types=types, **values)  # type: ignore[arg-type]
    return replace(config, **changes) if changes else config  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Rented:
    """What a rental got: the machine's perf and its host's pace, hidden, and its own chances."""

    offer: Offer
    perf: float
    pace: float
    chances: random.Random


@dataclass(slots=True)
class _Place:
    """A place in the list of offers: what it shows, and until when."""

    kind: MachineType
    name: str  # seed, type and number of the place
    lives: random.Random
    zone: str = ""
    gone_at: float = 0.0
    period: int = 0
    n_rented: int = 0  # in this period
    shown: Rented | None = None


@dataclass(slots=True)
class Market:
    """Offers as a renter sees them over time; what a machine can do shows only after its load.

    Every place changes its offer at moments drawn beforehand; one that is rented is followed by
    another until then (an exponential life has no memory, so that both live as long on average).
    So all policies that a seed is played with see the same offers at the same time, but for those
    that they rented themselves, and the same machine meets the same fate.
    """

    config: MarketConfig
    seed: int
    _places: list[_Place] = field(init=False)
    _next_id: int = 1

    def __post_init__(self) -> None:
        """The places; none shows anything yet."""
        names = [
            (kind, f"{self.seed}:{kind.name}:{number}{zone and ':' + zone}", zone)
            for zone in (self.config.zones or ("",))
            for kind in self.config.types
            for number in range(self.config.offers_per_type)
        ]
        self._places = [
            _Place(kind, name, random.Random(f"lives:{name}"), zone) for kind, name, zone in names
        ]

    def offers(self, now: float) -> list[Offer]:
        """Offers shown now; those that expired are replaced."""
        return [self._look(place, now).offer for place in self._places]

    def bids(self, now: float, losses: Losses) -> list[Offer]:
        """The same machines at bids, where a bid can win now."""
        found = []
        for place in self._places:
            floor = losses.floor(place.zone, now)
            if floor < math.inf:
                offer = self._look(place, now).offer
                usd = offer.usd_per_hour
                bid = usd * self.config.bid_ratio * floor
                found.append(
                    replace(
                        offer,
                        is_bid=True,
                        usd_per_hour=bid,
                        bid_usd_per_hour=bid,
                        on_demand_usd_per_hour=usd,
                    )
                )
        return found

    def take(self, offer_id: int, now: float) -> Rented | None:
        """Rent an offer; None if it is gone."""
        for place in self._places:
            shown = self._look(place, now)
            if shown.offer.offer_id == offer_id:
                place.n_rented += 1
                place.shown = None
                return shown
        return None

    def _look(self, place: _Place, now: float) -> Rented:
        while place.gone_at <= now:
            life_s = self.config.offer_life_h * 3600.0 * place.lives.expovariate(1.0)
            place.gone_at += life_s
            place.period, place.n_rented, place.shown = place.period + 1, 0, None
        if place.shown is None:
            place.shown = self._draw(place)
        return place.shown

    def _draw(self, place: _Place) -> Rented:
        config, kind = self.config, place.kind
        rng = random.Random(f"{place.name}:{place.period}:{place.n_rented}")
        number = self._next_id
        self._next_id += 1
        price = kind.usd_per_hour * math.exp(config.price_sigma * rng.gauss(0, 1))
        perf = kind.perf * math.exp(config.perf_sigma * rng.gauss(0, 1))
        line = random.Random(f"line:{place.name}:{place.period}:{place.n_rented}")
        host_id = number
        if config.n_hosts:  # the same hosts for every policy, with the lines that they have
            host_id = 1 + line.randrange(config.n_hosts)
            line = random.Random(f"host:{self.seed}:{host_id}")
        mbps = line.choice(config.line_mbps) if config.line_mbps else 0.0
        pace = math.exp(config.host_sigma * line.gauss(0, 1))
        offer = Offer(
            offer_id=number,
            machine_id=number,
            host_id=host_id,
            gpu_name=kind.name,
            num_gpus=1,
            gpu_ram_gb=24.0,
            usd_per_hour=price,
            storage_usd_per_hour=config.storage_usd_per_hour,
            dlperf=kind.perf * DLPERF_OF_REFERENCE,
            inet_down_mbps=mbps,
            geolocation=place.zone,
        )
        return Rented(offer, perf, pace, rng)

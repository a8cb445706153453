"""Which offer to rent: the least expected cost per unit of load served (scaling.md 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chalicelib.core.fleet.set_aside import host_key, machine_key, offer_key
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.market import Offer, out_of_bounds
from chalicelib.core.model.vouching import lower_median
from chalicelib.core.scaling.moves.pools import Round

EXPECTED_LIFE_H = 24.0  # over which a rental's one-time cost is spread
DOWNLOAD_GB = 20.0  # image and model, until a worker of the autogroup tells what its disk holds
MOST_DOWNLOAD_GB = 1_000.0  # chosen: the largest open models are about so large
TYPICAL_MBPS = 1_000.0  # on which the learned median was had; recorded offers: 850 to 9,900
LEAST_LOAD_SHARE = 0.3  # of the median is not download: the boot, and the model's way to the GPU
MIN_CONTRACT_S = 3600.0  # a machine whose contracts end sooner is not worth its load
MAX_ALTERNATIVES = 3  # chosen: a refused offer has substitutes in the same round


@dataclass(frozen=True, kw_only=True, slots=True)
class RatedOffer:
    """An offer with what it is expected to serve and to cost."""

    offer: Offer
    perf: float  # expected load per second; 0 = unknown
    score: float  # expected $ per hour and unit of load; lower is better
    host_pace: float = 1.0  # how long its host's loads took over what was expected of them

    @property
    def readiness(self) -> str:
        """When it should be ready, in words."""
        words = f"ready in {self.offer.load_s:.0f} s"
        if self.host_pace == 1.0:
            return words
        return f"{words} (loads on its host take {self.host_pace:.2f} times as long as on others)"

    def __str__(self) -> str:
        """For the list of beaten candidates."""
        return (
            f"offer {self.offer.offer_id} {self.offer.gpu_type} at "
            f"${self.offer.usd_per_hour:.3f}/h: ${self.score:.3g} per unit, {self.readiness}"
        )


def rate_offers(autogroup: Autogroup, ctx: Round, *, optimism: float = 0.0) -> list[RatedOffer]:
    """Usable offers of an autogroup, best first. `optimism` adds so many sd to the log perf."""
    lasting = [o for o in ctx.snapshot.offers.get(autogroup.autogroup_id, ()) if _lasts(o, ctx)]
    usable = [offer for offer in lasting if not _set_aside_until(offer, ctx)]
    if not usable and lasting:  # all failed lately: the one whose time ends first is tried
        usable = [min(lasting, key=lambda o: (_set_aside_until(o, ctx), o.offer_id))]
        usable = [o for o in usable if o.machine_id not in ctx.snapshot.avoided_machines]
    rated = [_rate(autogroup, offer, ctx, optimism) for offer in usable]
    return sorted(rated, key=lambda item: (item.score, item.offer.offer_id))


def why_unfit(autogroup_id: int, ctx: Round) -> dict[str, int]:
    """Why none of an autogroup's offers on demand can be used, in numbers; {} if one can."""
    offers = [o for o in ctx.snapshot.offers.get(autogroup_id, ()) if not o.is_bid]
    lasting = [offer for offer in offers if _lasts(offer, ctx)]
    n_avoided = sum(offer.machine_id in ctx.snapshot.avoided_machines for offer in lasting)
    if n_avoided < len(lasting):
        return {}
    return {"n": len(offers), "n_ending": len(offers) - len(lasting), "n_avoided": n_avoided}


def first_per_machine(rated: Sequence[RatedOffer]) -> list[RatedOffer]:
    """The best offer of each machine: one machine's GPUs fail together."""
    seen: set[int] = set()
    kept: list[RatedOffer] = []
    for item in rated:
        if item.offer.machine_id not in seen:
            seen.add(item.offer.machine_id)
            kept.append(item)
    return kept


def on_demand(rated: Sequence[RatedOffer]) -> list[RatedOffer]:
    """Without the interruptible ones, which `interruptible.py` rents."""
    return [item for item in rated if not item.offer.is_bid]


def _lasts(offer: Offer, ctx: Round) -> bool:
    if out_of_bounds(offer, ctx.now):
        return False
    return offer.ends_at is None or offer.ends_at - ctx.now > MIN_CONTRACT_S


def _set_aside_until(offer: Offer, ctx: Round) -> float:
    """Until when an offer or its machine is set aside after failures; 0 = it is not."""
    aside = ctx.snapshot.set_aside
    until = max(aside.get(offer_key(offer.offer_id), 0.0), _machine_until(offer, ctx))
    return max(until, math.inf if offer.machine_id in ctx.snapshot.avoided_machines else 0.0)


def _machine_until(offer: Offer, ctx: Round) -> float:
    aside = ctx.snapshot.set_aside
    host_until = aside.get(host_key(offer.host_id), 0.0) if offer.host_id else 0.0
    return max(aside.get(machine_key(offer.machine_id), 0.0), host_until)


def download_gb(autogroup_id: int, ctx: Round) -> float:
    """What a load of the autogroup fetches: the middle of what its workers have on their disks.

    Workers say it of themselves, so the lower middle counts, within what a disk may hold.
    """
    told = [
        worker.disk_usage_gb
        for worker in ctx.snapshot.workers
        if worker.autogroup_id == autogroup_id and worker.disk_usage_gb > 0
    ]
    return min(lower_median(told), MOST_DOWNLOAD_GB) if told else DOWNLOAD_GB


def predicted_load_s(offer: Offer, median_s: float, size_gb: float = DOWNLOAD_GB) -> float:
    """Seconds from create to ready: the autogroup's median, more or less for the offer's line."""
    if offer.inet_down_mbps <= 0:
        return median_s
    megabits = size_gb * 8_000.0
    differs_s = megabits / offer.inet_down_mbps - megabits / TYPICAL_MBPS
    return max(median_s + differs_s, LEAST_LOAD_SHARE * median_s)


def _rate(autogroup: Autogroup, offer: Offer, ctx: Round, optimism: float) -> RatedOffer:
    beliefs = ctx.beliefs
    autogroup_id = autogroup.autogroup_id
    perf = beliefs.perf_of(autogroup_id, offer.gpu_type, offer.dlperf)
    hopeful = perf
    if optimism and perf > 0:
        _, spread = beliefs.log_perf(autogroup_id, offer.gpu_type, offer.dlperf) or (0.0, 0.0)
        hopeful = perf * (1.0 + optimism * spread)
    boot_odds = beliefs.boot_odds(autogroup_id, offer.gpu_type)
    median_s = beliefs.load_time(autogroup_id).median
    size_gb = download_gb(autogroup_id, ctx)
    host_pace = beliefs.host_pace(offer.host_id)
    load_s = predicted_load_s(offer, median_s, size_gb) * host_pace
    load_h = load_s / 3600.0
    create_usd = offer.usd_per_hour * load_h + offer.inet_down_usd_per_gb * size_gb
    life_h = EXPECTED_LIFE_H
    if offer.ends_at is not None:  # a contract that ends sooner must earn its start sooner
        life_h = min(life_h, max((offer.ends_at - ctx.now) / 3600.0 - load_h, 0.1))
    usd_per_hour = offer.usd_per_hour + create_usd / life_h
    speed = hopeful if hopeful > 0 else offer.dlperf  # unmeasured group: the market's benchmark
    odds = boot_odds * max(min(offer.reliability, 1.0), 0.01)
    score = usd_per_hour / (speed * odds) if speed > 0 else usd_per_hour * 1e6
    if ctx.snapshot.waiting.n > 0 and beliefs.memory.starved > 0:
        score *= load_s / median_s  # clients wait for this very load: it counts like price
    predicted = replace(offer, load_s=load_s)
    return RatedOffer(offer=predicted, perf=perf, score=score, host_pace=host_pace)

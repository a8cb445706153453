"""Policies by name, as the command line spells them: `window:1.2,300`, `knative`, `ballast`.

A name alone gives the published defaults; numbers after a colon are the law's parameters in order;
`+vast` behind a rival gives it the vendor's cold pool instead of ours; `ballast-whole` is ours as
the whole scaling service over fakes (`--whole` means it wherever `ballast` stands);
`ballast-foresight` is ours told what will come, for a bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ballast.simulator.ours import BallastPolicy
from ballast.simulator.rivals.foresight import Foresight
from ballast.simulator.rivals.hpa import HpaKeda
from ballast.simulator.rivals.knative import KnativeKpa
from ballast.simulator.rivals.occupancy_window import OccupancyWindow
from ballast.simulator.rivals.pool import Law, LawPolicy
from ballast.simulator.rivals.ray_serve import RayServe
from ballast.simulator.rivals.runpod import RunPodCount, RunPodDelay
from ballast.simulator.rivals.skyserve import SkyServeRate
from ballast.simulator.rivals.spothedge import spot_hedge
from ballast.simulator.rivals.static_fleet import StaticFleet
from ballast.simulator.rivals.vast_like import VastLike
from ballast.simulator.world.world import Policy
from chalicelib.core.model.endpoint_group import Interruptible, ScalingParams


def _sky_aware(up_s: float = 300.0, down_s: float = 1200.0) -> SkyServeRate:
    return SkyServeRate(up_s, down_s, is_instance_aware=True)


def _static(n: float = 16) -> StaticFleet:
    return StaticFleet(int(n))


LAWS: dict[str, Callable[..., Law]] = {
    "hpa": HpaKeda,
    "knative": KnativeKpa,
    "ray": RayServe,
    "runpod-count": RunPodCount,
    "runpod-delay": RunPodDelay,
    "sky-aware": _sky_aware,
    "sky-rate": SkyServeRate,
    "static": _static,
    "vast-like": VastLike,
    "window": OccupancyWindow,
}

KNOBS: dict[str, tuple[str, ...]] = {
    "hpa": ("0.7,300", "0.8,300", "0.9,300", "1,300", "1.1,300", "0.9,120", "1,120", "1.2,300"),
    "knative": ("0.5", "0.6", "0.7", "0.8", "0.9", "1", "1.1", "1.2"),
    "ray": ("0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1", "1.1"),
    "runpod-count": ("0.3,5", "0.5,5", "0.5,60", "0.7,120", "0.8,300", "1,300"),
    "runpod-delay": ("1,60", "2,60", "2,300", "4,5", "4,60", "4,300"),
    "sky-aware": ("20,120", "20,300", "40,600", "300,1200"),
    "sky-rate": ("20,120", "20,300", "40,600", "300,1200"),
    "static": ("8", "10", "12", "14", "16", "18", "20", "24", "30", "40"),
    "vast-like": ("0.9,0", "0.9,120", "0.8,120", "0.7,120", "1,300", "0.9,300"),
    "window": (
        "0.8,300", "0.9,120", "1,120", "1,300", "1.1,120", "1.2,60", "1.2,120", "1.2,300",
        "1.3,120", "1.4,120", "1.5,120", "1.5,300",
    ),
}  # fmt: skip
"""At most 12 points each: what "tuned in hindsight" may choose from."""


OURS = ("ballast", "ballast-whole", "ballast-mixed", "ballast-overflow", "ballast-foresight")
BID_POLICIES = ("spothedge", "all-spot")
"""With interruptible machines; they need a market that has some (`bids`)."""


class PolicyError(ValueError):
    """A policy's name is unknown; the message lists the known ones."""


def make_policy(
    text: str,
    *,
    slo_target: float = 0.99,
    slo_wait_s: float = 10.0,
    min_load: float = 0.0,
    max_workers: int = 200,
) -> Policy:
    """The policy of a name, new and without memory.

    `min_load` is the owner's floor in reference workers; those with bids in them have none.

    Raises:
        PolicyError: for an unknown name or unusable parameters.
    """
    name, _, numbers = text.removesuffix("+vast").partition(":")
    if name in OURS:
        mode = name.removeprefix("ballast").removeprefix("-")
        is_bid = mode in list(Interruptible)
        params = ScalingParams(
            min_load=min_load,
            max_workers=max_workers,
            cold_workers=0,
            slo_target=float(numbers) if numbers else slo_target,
            target_queue_time=slo_wait_s,
            max_queue_time=max(30.0, slo_wait_s),
            interruptible=Interruptible(mode) if is_bid else Interruptible.NEVER,
        )
        if mode == "foresight":
            return Foresight(params=params)
        return _whole(params) if mode == "whole" else BallastPolicy(params=params)
    if name in BID_POLICIES:
        return _bid_policy(name, text, numbers)
    if name not in LAWS:
        known = ", ".join((*OURS, *BID_POLICIES, *sorted(LAWS)))
        raise PolicyError(f"{text}: unknown policy; there are {known}")
    try:
        law = LAWS[name](*(float(number) for number in numbers.split(",") if number))
    except (TypeError, ValueError) as error:
        raise PolicyError(f"{text}: {error}") from error
    return LawPolicy(law, vast_pool=text.endswith("+vast"), least_hot=math.ceil(min_load))


def _bid_policy(name: str, text: str, numbers: str) -> Policy:
    try:
        point = [float(number) for number in numbers.split(",") if number]
        return spot_hedge(*point, has_fallback=name == "spothedge")
    except (TypeError, ValueError) as error:
        raise PolicyError(f"{text}: {error}") from error


def _whole(params: ScalingParams) -> Policy:
    """The whole service plays over the fakes, which only a checkout has."""
    try:
        from ballast.simulator.whole import WholeService
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "fakes":
            raise
        raise PolicyError(
            "ballast-whole: plays over fakes/, which no installed package has; "
            "run it in a checkout: python -m ballast.simulator --whole"
        ) from error
    return WholeService(params=params)

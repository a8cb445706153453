"""A group's own past as a trace for the simulator: series of minutes become single requests."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from ballast.cli.errors import CliError
from ballast.cli.parameters import ENDPOINT_FIELDS
from ballast.cli.remote.server import Json
from ballast.simulator.world.traces import Trace
from chalicelib.core.model.endpoint_group import ScalingParams

MIN_REQUESTS = 20
MIN_DURATION_S = 7_200.0  # shorter ones are repeated: fleets need time to show what they cost
_LOADS = ("min_load", "min_cold_load")


def trace_of(series: Json, worker_perf: float, seed: int = 0) -> Trace:
    """Requests that would give this series (`/api/v0/series`), in units of one worker's perf.

    Within a step arrivals are uniform at random and loads equal: bursts shorter than a step are
    smoothed, so waits come out a little too good for both sides of a comparison. A short history is
    repeated until it fills two hours.

    Raises:
        CliError: there is too little traffic to learn anything from.
    """
    rng = random.Random(seed)
    values, step_s = series["values"], float(series.get("step_s") or 60.0)
    rates, loads_per_s = values.get("reqrate") or [], values.get("arriving_load") or []
    start = series["t"][0] if series["t"] else 0.0
    requests: list[tuple[float, float]] = []
    for at, rate, load_per_s in zip(series["t"], rates, loads_per_s, strict=False):
        n = round((rate or 0.0) * step_s)
        if n and load_per_s:
            load = load_per_s * step_s / n / worker_perf
            requests += [(at - start + rng.uniform(0, step_s), load) for _ in range(n)]
    if len(requests) < MIN_REQUESTS:
        raise CliError(
            f"only {len(requests)} requests in that time: too few to learn from",
            fix=f"look further back with --hours, or wait for at least {MIN_REQUESTS} requests",
        )
    requests.sort()
    length_s = series["t"][-1] - start + step_s
    n_times = max(1, math.ceil(MIN_DURATION_S / length_s))
    return Trace(
        name="own traffic",
        times=[at + turn * length_s for turn in range(n_times) for at, _ in requests],
        loads=[load for _, load in requests] * n_times,
        duration_s=n_times * length_s,
    )


def params_of(
    row: Mapping[str, Any], changes: Mapping[str, Any], worker_perf: float
) -> ScalingParams:
    """A group's parameters with changes, loads in units of one worker's perf.

    Raises:
        ParameterError: a value is out of bounds.
    """
    values = {one.name: row.get(one.name) for one in ENDPOINT_FIELDS} | dict(changes)
    for name in _LOADS:
        load = values.get(name)
        if load is not None:
            values[name] = load / worker_perf
    return ScalingParams(**{name: value for name, value in values.items() if value is not None})

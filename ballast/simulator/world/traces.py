"""Request traces: files as `t_s,load` or `t_s,prompt_tokens,output_tokens`, and synthetic ones."""

from __future__ import annotations

import csv
import gzip
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

DAY_S = 86_400.0


class TraceError(ValueError):
    """A trace is unusable; the message says why and what would do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """Requests in order of arrival: times in seconds from the start, loads in any unit."""

    name: str
    times: list[float]
    loads: list[float]
    duration_s: float

    def scaled(self, mean_fleet: float) -> Trace:
        """The same arrivals, loads times one factor, for a mean demand of so many workers.

        A reference worker has perf 1.0; burstiness is kept.
        """
        factor = mean_fleet * self.duration_s / sum(self.loads)
        loads = [load * factor for load in self.loads]
        return Trace(name=self.name, times=self.times, loads=loads, duration_s=self.duration_s)

    def part(self, days: float, start_day: float = 0.0) -> Trace:
        """A window of the trace, counted from its start."""
        low, high = start_day * DAY_S, (start_day + days) * DAY_S
        rows = [
            (at - low, load)
            for at, load in zip(self.times, self.loads, strict=True)
            if low <= at < high
        ]
        if not rows:
            raise TraceError(
                f"{self.name}: no request in days {start_day:g} to {start_day + days:g}"
            )
        times, loads = (list(column) for column in zip(*rows, strict=True))
        return Trace(
            name=self.name, times=times, loads=loads, duration_s=min(high, self.duration_s) - low
        )


def read_trace(
    text: str,
    *,
    load_column: str = "auto",
    days: float | None = None,
    start_day: float = 0.0,
    seed: int = 0,
) -> Trace:
    """A trace by file name, or by `synthetic:NAME`; `days` of it, from `start_day` on.

    Raises:
        TraceError: for an unknown synthetic name, a file without requests, or hourly counts.
    """
    if text.startswith("synthetic:"):
        name = text.removeprefix("synthetic:")
        if name not in SYNTHETIC:
            raise TraceError(f"synthetic:{name}: unknown; there are {', '.join(sorted(SYNTHETIC))}")
        days = days or 1.0
        trace = synthesise(name, days=start_day + days, seed=seed)
    else:
        until_s = math.inf if days is None else (start_day + days) * DAY_S
        trace = _read_file(Path(text), load_column, until_s)
    if days is None and start_day <= 0:
        return trace
    return trace.part(math.inf if days is None else days, start_day)


def _read_file(path: Path, load_column: str, until_s: float) -> Trace:
    """The requests before `until_s`; rows are in order of arrival."""
    opener: Callable[..., object] = gzip.open if path.suffix == ".gz" else open
    times: list[float] = []
    loads: list[float] = []
    is_whole = True
    with opener(path, "rt", newline="") as file:  # type: ignore[attr-defined]
        rows = csv.reader(file)
        header = next(rows)
        column = _load_index(path, header, load_column)
        for row in rows:
            at = float(row[0])
            if at >= until_s:
                is_whole = False
                break
            times.append(at)
            loads.append(max(float(row[column]), 1.0))
    if not times:
        raise TraceError(f"{path}: no requests")
    duration_s = times[-1] + 1.0 if is_whole else until_s
    return Trace(name=path.name, times=times, loads=loads, duration_s=duration_s)


def _load_index(path: Path, header: list[str], load_column: str) -> int:
    wanted = [load_column] if load_column != "auto" else ["load", "output_tokens"]
    for name in wanted:
        if name in header:
            return header.index(name)
    raise TraceError(
        f"{path}: columns {header} hold no request's load ({' or '.join(wanted)}); counts per bin "
        "serve day profiles, not waits: use a request trace"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Pattern:
    """A synthetic service: base rate, day swing, bursts, and lognormal request sizes."""

    requests_per_s: float
    day_swing: float = 0.0  # 0.5: between half and one and a half of the mean
    burst_rate_per_h: float = 0.0  # how often a burst begins
    burst_factor: float = 1.0  # rate during a burst, times the base
    burst_mean_s: float = 60.0
    size_sigma: float = 1.0  # of log load
    step_at: float | None = None  # share of the duration at which the rate doubles


SYNTHETIC = {
    "chat": Pattern(requests_per_s=4.0, day_swing=0.5, burst_rate_per_h=4, burst_factor=2.0),
    "reasoning": Pattern(
        requests_per_s=1.0, day_swing=0.4, burst_rate_per_h=2, burst_factor=2.5, size_sigma=1.4
    ),
    "image": Pattern(
        requests_per_s=0.2, day_swing=0.8, burst_rate_per_h=3, burst_factor=8.0, size_sigma=0.5
    ),
    "steady": Pattern(requests_per_s=4.0),
    "bursty": Pattern(requests_per_s=2.0, burst_rate_per_h=6, burst_factor=6.0, burst_mean_s=45),
    "step": Pattern(requests_per_s=3.0, step_at=0.5),
    "nightly": Pattern(requests_per_s=1.0, day_swing=1.0),
}


def synthesise(name: str, *, days: float, seed: int) -> Trace:
    """A seeded trace of a named pattern: Poisson arrivals by thinning, lognormal loads."""
    pattern = SYNTHETIC[name]
    rng = random.Random(f"{name}:{seed}")
    duration = days * DAY_S
    times = list(_arrivals(pattern, duration, rng))
    loads = [math.exp(pattern.size_sigma * rng.gauss(0, 1)) for _ in times]
    if not times:
        raise TraceError(f"synthetic:{name}: {days:g} days hold no request")
    return Trace(name=f"synthetic:{name}", times=times, loads=loads, duration_s=duration)


def _arrivals(pattern: Pattern, duration: float, rng: random.Random) -> Iterator[float]:
    peak = pattern.requests_per_s * (1 + pattern.day_swing) * 2 * max(pattern.burst_factor, 1)
    bursts = _bursts(pattern, duration, rng)
    current = next(bursts, None)
    at = 0.0
    while True:
        at += rng.expovariate(peak)
        if at >= duration:
            return
        while current is not None and at >= current[1]:
            current = next(bursts, None)
        rate = pattern.requests_per_s * (1 - pattern.day_swing * math.cos(2 * math.pi * at / DAY_S))
        if current is not None and at >= current[0]:
            rate *= pattern.burst_factor
        if pattern.step_at is not None and at >= pattern.step_at * duration:
            rate *= 2
        if rng.random() * peak < rate:
            yield at


def _bursts(pattern: Pattern, duration: float, rng: random.Random) -> Iterator[tuple[float, float]]:
    at = 0.0
    while pattern.burst_rate_per_h > 0 and at < duration:
        at += rng.expovariate(pattern.burst_rate_per_h / 3600.0)
        end = at + rng.expovariate(1.0 / pattern.burst_mean_s)
        yield at, end
        at = end

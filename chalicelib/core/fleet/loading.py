"""How long the parts of a load or a start took, and which was the slowest. Pure.

A worker reports the seconds of each part since its PyWorker began (`load_phases`); what went by
before that, since the order, is the host's: pulling the image, booting, installing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

Parts = Mapping[str, float]

HOST = "pull"
MAX_PARTS = 8  # chosen: one more than any back end has marks; a row stays below 1 kB
LEAST_S = 0.5
"""Chosen: a part below is not worth a word."""


def parts_of(reported: Iterable[tuple[str, float]], *, ordered_at: float, now: float) -> Parts:
    """All parts in seconds, the host's first, of a worker that is ready at `now`."""
    told = dict(reported)
    return {HOST: max(now - ordered_at - sum(told.values()), 0.0), **told}


def pack(parts: Parts) -> str:
    """As a row keeps it: 'pull 31.2,weights 12' (short: a row stays below 1 kB)."""
    kept = [(name, s) for name, s in parts.items() if s >= LEAST_S][:MAX_PARTS]
    return ",".join(f"{name} {seconds:.4g}" for name, seconds in kept)


def unpack(text: str) -> dict[str, float]:
    """The parts that were packed; none where another version wrote something else."""
    parts: dict[str, float] = {}
    for part in text.split(",") if text else ():
        name, _, seconds = part.rpartition(" ")
        try:
            parts[name] = float(seconds)
        except ValueError:
            return {}
    return parts


def slowest(parts: Parts) -> str:
    """The name of the part that took longest; "" of none."""
    return max(parts, key=lambda name: parts[name]) if parts else ""


def sentence(parts: Parts) -> str:
    """'62 s: pull 31 s, weights 20 s, compile 11 s; the slowest: pull'; "" of none."""
    if not parts:
        return ""
    named = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in parts.items())
    return f"{sum(parts.values()):.0f} s: {named}; the slowest: {slowest(parts)}"


def usual(packed: Iterable[str]) -> dict[str, float]:
    """The median of each part over many loads, a load without a part counting as none of it."""
    loads = [parts for text in packed if (parts := unpack(text))]
    names = dict.fromkeys(name for parts in loads for name in parts)
    return {name: round(median(p.get(name, 0.0) for p in loads), 1) for name in names}

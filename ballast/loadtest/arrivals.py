"""When requests arrive: evenly, at random (Poisson), or as in a recorded trace. Pure."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request to send `at_s` seconds after the start; `tokens` as recorded, None = default."""

    at_s: float
    tokens: float | None = None


class TraceError(ValueError):
    """A line of a trace cannot be read; the message names it."""


def even(rate: float, n: int) -> Iterator[Arrival]:
    """`n` arrivals, `rate` per second (fractions welcome), evenly spaced."""
    return (Arrival(number / rate) for number in range(n))


def poisson(rate: float, n: int, rng: random.Random) -> Iterator[Arrival]:
    """`n` arrivals at `rate` per second on average, independent of each other."""
    at_s = 0.0
    for _ in range(n):
        yield Arrival(at_s)
        at_s += rng.expovariate(rate)


def trace(lines: Iterable[str], speed: float = 1.0, n: int | None = None) -> Iterator[Arrival]:
    """Arrivals of a CSV with columns `at_s` and, optionally, `tokens`; `speed` 2 = twice as fast.

    Raises:
        TraceError: a column is missing, a number is wrong, or time goes backwards.
    """
    rows = csv.DictReader(lines)
    if "at_s" not in (rows.fieldnames or ()):
        raise TraceError(f"the trace needs a column at_s; it has {rows.fieldnames}")
    before = 0.0
    for number, row in enumerate(rows):
        if number == n:
            return
        try:
            at_s, tokens = float(row["at_s"]), row.get("tokens")
            arrival = Arrival(at_s / speed, float(tokens) if tokens else None)
        except ValueError as error:
            raise TraceError(f"line {number + 2}: {error}") from error
        if at_s < before:
            raise TraceError(f"line {number + 2}: at_s goes back from {before} to {at_s}")
        before = at_s
        yield arrival

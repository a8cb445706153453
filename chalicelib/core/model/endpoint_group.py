"""Endpoint groups: what clients address by name, and the owner's scaling parameters.

Bounds are checked here once, so that everything inside may rely on them. Every error names the
parameter, the bad value and what is allowed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

NAME_PATTERN = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_. -]{0,126}[A-Za-z0-9_])?")
"""Names may hold spaces (the vendor's `run benchmarks` makes such names), never quotes or shell
characters."""

MAX_LOAD = 1e12  # keeps sums of loads exact in a float (2^53)
# The largest fleet that rounds and views are measured with (performance.md).
MAX_WORKERS_LIMIT = 10_000


class ParameterError(ValueError):
    """An owner's parameter is out of bounds; the message says which, why, and what is allowed."""


class GroupState(StrEnum):
    """What the owner wants of a group; `deleting` ends when no instance is left."""

    ACTIVE = "active"
    SUSPENDED = "suspended"  # scaled to zero, routes answer WAITING, cold workers are kept
    STOPPED = "stopped"  # as suspended, and nothing is rented or started again until active
    DELETING = "deleting"
    FOREIGN = "foreign"  # another version's: its workers count at their worst, and are left alone


class QueueOrder(StrEnum):
    """Who is served first among the waiting."""

    ON_TIME_FIRST = "on_time_first"
    FIFO = "fifo"


class Interruptible(StrEnum):
    """Whether machines may be rented at a bid: cheaper, and taken away without notice."""

    NEVER = "never"
    OVERFLOW = "overflow"  # only beyond what is wanted at least half of the time
    MIXED = "mixed"  # wherever they are worth it


def check_number(
    name: str, value: object, low: float, high: float, *, low_open: bool = False
) -> None:
    """Refuse what is not a finite number within [low, high], or (low, high] if `low_open`.

    Raises:
        ParameterError: with the parameter's name, the value and the bounds.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ParameterError(f"{name}: {value!r} is not a finite number")
    if value < low or value > high or (low_open and value == low):
        raise ParameterError(
            f"{name}: {value!r} is out of bounds; allowed: {'above' if low_open else 'from'} "
            f"{low:g} to {high:g}"
        )


def check_count(name: str, value: object, low: int, high: int) -> None:
    """Refuse what is not a whole number within [low, high].

    Raises:
        ParameterError: with the parameter's name, the value and the bounds.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise ParameterError(f"{name}: {value!r} is not a whole number")
    check_number(name, value, low, high)


def check_name(name: str, value: object) -> str:
    """The value if it is a usable name.

    Raises:
        ParameterError: with the offending name.
    """
    if not isinstance(value, str) or not NAME_PATTERN.fullmatch(value):
        raise ParameterError(
            f"{name}: {value!r} is not a name; allowed: 1-128 letters, digits, '_', '-', '.', and "
            "spaces inside"
        )
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingParams:
    """The owner's parameters of an endpoint group. None = auto: Ballast decides.

    Loads are in the group's unit per second (tokens for language models); times in seconds.
    """

    min_load: float = 0.0
    target_util: float | None = None
    cold_mult: float | None = None
    min_cold_load: float | None = None
    cold_workers: int = 5
    max_workers: int = 20
    max_queue_time: float = 30.0
    target_queue_time: float = 10.0
    inactivity_timeout: float | None = None
    slo_target: float = 0.99
    queue_order: QueueOrder = QueueOrder.ON_TIME_FIRST
    interruptible: Interruptible = Interruptible.NEVER
    interruptible_share: float = 1.0  # of the hot target, at most: what may vanish at once
    max_usd_per_hour: float | None = None
    max_usd_per_day: float | None = None
    max_usd_per_month: float | None = None

    def __post_init__(self) -> None:
        """Check every bound.

        Raises:
            ParameterError: for the first parameter out of bounds.
        """
        check_number("min_load", self.min_load, 0, MAX_LOAD)
        check_count("cold_workers", self.cold_workers, 0, MAX_WORKERS_LIMIT)
        check_count("max_workers", self.max_workers, 0, MAX_WORKERS_LIMIT)
        check_number("max_queue_time", self.max_queue_time, 0, 86_400, low_open=True)
        check_number("target_queue_time", self.target_queue_time, 0, 86_400, low_open=True)
        check_number("slo_target", self.slo_target, 0.5, 0.9999)
        check_number("interruptible_share", self.interruptible_share, 0, 1)
        for name, low, high, low_open in _OPTIONAL_BOUNDS:
            value = getattr(self, name)
            if value is not None:
                check_number(name, value, low, high, low_open=low_open)
        if self.target_queue_time > self.max_queue_time:
            raise ParameterError(
                f"target_queue_time: {self.target_queue_time:g} is above max_queue_time "
                f"{self.max_queue_time:g}; it must not be"
            )


# Chosen: wide enough for every sensible value, and finite.
_OPTIONAL_BOUNDS = (
    ("target_util", 0.0, 1.0, True),
    ("cold_mult", 0.0, 100.0, False),
    ("min_cold_load", 0.0, MAX_LOAD, False),
    ("inactivity_timeout", -1e9, 1e9, False),
    ("max_usd_per_hour", 0.0, 1e6, False),
    ("max_usd_per_day", 0.0, 1e7, False),
    ("max_usd_per_month", 0.0, 1e8, False),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointGroup:
    """What clients address by name; owns the scaling policy of its autogroups."""

    endpoint_id: int
    name: str
    created_at: float
    params: ScalingParams = field(default_factory=ScalingParams)
    state: GroupState = GroupState.ACTIVE
    key_generation: int = 1  # of the endpoint's own route-only key; +1 revokes the older ones
    revision: int = 1  # +1 at every change; guards concurrent edits
    frozen: bool = False  # nothing is rented, started, stopped or destroyed; what runs serves on
    given: tuple[str, ...] = ()  # names of the parameters that the owner set, so kept as floors
    schedules: tuple[FloorSchedule, ...] = ()
    shadow: bool = False  # decide and log, act on nothing
    unknown: Mapping[str, object] = field(default_factory=dict, compare=False)  # another version's

    def __post_init__(self) -> None:
        """Check the name.

        Raises:
            ParameterError: the name is empty, too long, or has characters that are not allowed.
        """
        check_name("endpoint_name", self.name)


@dataclass(frozen=True, kw_only=True, slots=True)
class FloorSchedule:
    """A floor on `min_load` that holds for `duration_s` after each moment that the cron names.

    `timezone`: whose clock the cron is read by, as IANA names it ("Europe/Berlin").
    """

    cron: str
    duration_s: float
    min_load: float
    timezone: str = "UTC"

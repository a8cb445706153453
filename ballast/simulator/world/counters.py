"""What happened in a run so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """What happened; `since_round` figures are taken by the policy."""

    starts: int = 0
    creates: int = 0
    lost: int = 0
    n_arrived: int = 0
    arrived_load: float = 0.0
    n_started: int = 0
    n_late: int = 0
    n_taken: int = 0  # interruptible machines that were outbid while up
    n_resumed: int = 0
    n_broken: int = 0  # requests that a loss cut, after the warm-up

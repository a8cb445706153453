"""Autogroups: which hardware and template the workers of an endpoint group come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from chalicelib.core.model.endpoint_group import Interruptible, check_count, check_number


class TicketGeneration(StrEnum):
    """Which fields a worker finds under a ticket's signature (see `wire/ticket.py`)."""

    A = "A"  # 2024 PyWorker
    B = "B"  # late 2025
    C = "C"  # 2026, the vendor's SDK 1.9
    D = "D"  # ours: bound to instance, boot, cost and time


class AutogroupState(StrEnum):
    """What the owner wants of an autogroup."""

    ACTIVE = "active"
    PAUSED = "paused"  # gets no new requests and rents nothing
    DELETING = "deleting"
    FOREIGN = "foreign"  # another version's: its workers count at their worst, and are left alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Autogroup:
    """One kind of worker of a group: a template, a search for machines, a share of the traffic."""

    autogroup_id: int
    endpoint_id: int
    created_at: float
    template_hash: str | None = None
    template_id: int | None = None
    search_text: str = ""  # as the owner wrote it
    search_query: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # parsed
    launch_args: str = ""
    gpu_ram: float = 24.0  # GB, to estimate download times; not a search filter
    test_workers: int = 3
    weight: float = 1.0
    tier: int = 0
    ticket_override: TicketGeneration | None = None
    state: AutogroupState = AutogroupState.ACTIVE
    revision: int = 1
    template_revision: int = 1  # `update workers` rolls over those of an older one
    rollout_by: float | None = None  # a rolling update is in progress, and should be done by then
    interruptible: Interruptible | None = None  # None: as the group
    # Vendor's per-autogroup scaling fields; kept and shown, the endpoint group's values rule.
    legacy_params: Mapping[str, float | int | None] = field(default_factory=dict)
    unknown: Mapping[str, object] = field(default_factory=dict, compare=False)  # another version's

    def __post_init__(self) -> None:
        """Check every bound.

        Raises:
            ParameterError: for the first parameter out of bounds.
        """
        check_number("gpu_ram", self.gpu_ram, 0, 10_000)
        check_count("test_workers", self.test_workers, 0, 100)
        check_number("weight", self.weight, 0, 1e6)
        check_count("tier", self.tier, 0, 100)


def pools_of(weights: Sequence[tuple[int, float]]) -> list[tuple[tuple[int, ...], float]]:
    """(indexes, weight) of each pool of a tier, from (index, weight) of those that may serve.

    Where all weights are equal the owner asked for no split, and the tier is one pool; otherwise
    each is a pool of its own and gets its weight's exact part.
    """
    if len({weight for _, weight in weights}) == 1:
        return [(tuple(i for i, _ in weights), weights[0][1])]
    return [((i,), weight) for i, weight in weights]


def own_cause(autogroups: Sequence[Autogroup], *, is_shadow: bool) -> str:
    """Which of the owner's settings lets nobody serve, and what to do; "" if none does."""
    active = [one for one in autogroups if one.state is AutogroupState.ACTIVE]
    causes = (
        (is_shadow, "the group is in shadow mode; end it with --no-shadow"),
        (not autogroups, "the group has no autogroup; create one"),
        (not active, "none of its autogroups is active; resume or create one"),
        (
            not any(one.weight > 0 for one in active),
            "its active autogroups have weight 0; raise it",
        ),
    )
    return next((cause for holds, cause in causes if holds), "")

"""The demo's last words: what was served and waited, what it cost, and what else it could cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table

from chalicelib.core.model.endpoint_group import ScalingParams
from lab.local.demo.demo_replay import Tally
from lab.local.demo.demo_samples import Rented, Sample
from lab.local.demo.demo_trace import FleetWorker, TraceRequest, percentile, smallest_fixed_fleet
from lab.local.model.model_server import DEFAULT_SLOTS

TARGET_S = ScalingParams().target_queue_time


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedFleet:
    """Machines of one kind that are on all the time, and what they cost in that time."""

    n_workers: int
    gpu_type: str
    usd: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The replay in figures. Hours and dollars are the market's, whose clock runs fast."""

    n_answered: int
    n_failed: int
    wait_p50_s: float
    wait_p95_s: float
    on_time_share: float  # of all requests, within the group's target_queue_time
    gpu_hours: float
    usd: float
    fixed: FixedFleet

    @property
    def saved_share(self) -> float:
        """What was not spent of the fixed fleet's dollars; negative if ours cost more."""
        return 1.0 - self.usd / self.fixed.usd if self.fixed.usd else 0.0


def outcome_of(
    tally: Tally,
    samples: Sequence[Sample],
    rented: Iterable[Rented],
    requests: Sequence[TraceRequest],
    time_scale: float,
) -> Outcome:
    """The figures of a replay from the samples taken during it; `rented` must not be empty."""
    p95_s = percentile(tally.waits_s, 0.95)
    hours = (samples[-1].at_s - samples[0].at_s) * time_scale / 3600.0
    return Outcome(
        n_answered=tally.n_answered,
        n_failed=len(tally.failures),
        wait_p50_s=percentile(tally.waits_s, 0.5),
        wait_p95_s=p95_s,
        on_time_share=sum(wait_s <= TARGET_S for wait_s in tally.waits_s) / len(requests),
        gpu_hours=sum(sample.n_gpus for sample in samples) / len(samples) * hours,
        usd=samples[-1].total_usd - samples[0].total_usd,
        fixed=cheapest_fixed_fleet(requests, rented, p95_s, hours),
    )


def cheapest_fixed_fleet(
    requests: Sequence[TraceRequest], kinds: Iterable[Rented], p95_s: float, hours: float
) -> FixedFleet:
    """Of the smallest fleets of each kind that keep the waits, the cheapest.

    It is sized with hindsight: its owner would have had to know the trace.
    """
    fleets = []
    for kind in kinds:
        worker = FleetWorker(perf=kind.perf, n_slots=DEFAULT_SLOTS)
        n_workers = smallest_fixed_fleet(requests, worker, p95_s)
        usd = n_workers * kind.usd_per_hour * hours
        fleets.append(FixedFleet(n_workers=n_workers, gpu_type=kind.gpu_type, usd=usd))
    return min(fleets, key=lambda fleet: fleet.usd)


def summary_table(outcome: Outcome, failures: Sequence[str]) -> Table:
    """The figures for the eye."""
    fixed = outcome.fixed
    table = Table(title="the replay", show_header=False)
    table.add_row("requests", f"{outcome.n_answered} answered, {outcome.n_failed} failed")
    table.add_row(
        "wait for the first token",
        f"p50 {outcome.wait_p50_s:.2f} s, p95 {outcome.wait_p95_s:.2f} s; "
        f"{outcome.on_time_share:.1%} within the target of {TARGET_S:g} s",
    )
    table.add_row("GPU-hours (market time)", f"{outcome.gpu_hours:.2f}")
    table.add_row("spent (market's bill)", f"${outcome.usd:.3f}")
    table.add_row(
        f"{fixed.n_workers} x {fixed.gpu_type}, always on",
        f"${fixed.usd:.3f} for the same p95 (simulated; the cheapest fixed fleet of machines "
        "like ours, sized with hindsight)",
    )
    table.add_row("against it", _compared(outcome.saved_share))
    for failure in failures[:3]:
        table.add_row("failure", failure[:200])
    return table


def _compared(saved_share: float) -> str:
    if saved_share >= 0:
        return f"{saved_share:.0%} saved"
    return f"{-saved_share:.0%} dearer"

"""The demo's last words: what was served and waited, what it cost, and what else it could cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from devstack.demo_replay import Tally
from devstack.demo_samples import Sample
from devstack.demo_trace import FleetWorker, TraceRequest, percentile, smallest_fixed_fleet
from devstack.model_server import DEFAULT_SLOTS


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The replay in figures. Hours and dollars are the market's, whose clock runs fast."""

    n_answered: int
    n_failed: int
    wait_p50_s: float
    wait_p95_s: float
    gpu_hours: float
    usd: float
    fixed_workers: int
    fixed_usd: float

    @property
    def saved_share(self) -> float:
        """What was not spent of the fixed fleet's dollars; negative if ours cost more."""
        return 1.0 - self.usd / self.fixed_usd if self.fixed_usd else 0.0


def outcome_of(
    tally: Tally, samples: Sequence[Sample], requests: Sequence[TraceRequest], time_scale: float
) -> Outcome:
    """The figures of a replay from the samples taken during it."""
    p95_s = percentile(tally.waits_s, 0.95)
    n_ready_looks = max(1, sum(sample.n_ready for sample in samples))
    worker = FleetWorker(
        perf=max(1.0, sum(sample.ready_capacity for sample in samples) / n_ready_looks),
        n_slots=DEFAULT_SLOTS,
    )
    usd_per_hour = sum(sample.ready_usd_per_hour for sample in samples) / n_ready_looks
    hours = (samples[-1].at_s - samples[0].at_s) * time_scale / 3600.0
    fixed_workers = smallest_fixed_fleet(requests, worker, p95_s)
    return Outcome(
        n_answered=tally.n_answered,
        n_failed=len(tally.failures),
        wait_p50_s=percentile(tally.waits_s, 0.5),
        wait_p95_s=p95_s,
        gpu_hours=sum(sample.n_gpus for sample in samples) / len(samples) * hours,
        usd=samples[-1].total_usd - samples[0].total_usd,
        fixed_workers=fixed_workers,
        fixed_usd=fixed_workers * usd_per_hour * hours,
    )


def summary_table(
    tally: Tally, samples: Sequence[Sample], requests: Sequence[TraceRequest], time_scale: float
) -> Table:
    """The figures for the eye."""
    outcome = outcome_of(tally, samples, requests, time_scale)
    table = Table(title="the replay", show_header=False)
    table.add_row("requests", f"{outcome.n_answered} answered, {outcome.n_failed} failed")
    table.add_row(
        "wait for the first token",
        f"p50 {outcome.wait_p50_s:.2f} s, p95 {outcome.wait_p95_s:.2f} s",
    )
    table.add_row("GPU-hours (market time)", f"{outcome.gpu_hours:.2f}")
    table.add_row("spent (market's bill)", f"${outcome.usd:.3f}")
    table.add_row(
        f"{outcome.fixed_workers} such workers, always on",
        f"${outcome.fixed_usd:.3f} for the same waits (smallest fixed fleet, p95, simulated)",
    )
    table.add_row("against it", f"{outcome.saved_share:+.0%} saved")
    for failure in tally.failures[:3]:
        table.add_row("failure", failure[:200])
    return table

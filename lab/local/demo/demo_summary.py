"""The demo's last words: what was served, waited and paid, and what a whole day would cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from chalicelib.core.model.endpoint_group import ScalingParams
from lab.local.demo.demo_day import Day
from lab.local.demo.demo_replay import Tally
from lab.local.demo.demo_samples import Sample
from lab.local.demo.demo_trace import TraceRequest, percentile

TARGET_S = ScalingParams().target_queue_time


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


def outcome_of(
    tally: Tally,
    samples: Sequence[Sample],
    requests: Sequence[TraceRequest],
    time_scale: float,
) -> Outcome:
    """The figures of a replay from the samples taken during it."""
    hours = (samples[-1].at_s - samples[0].at_s) * time_scale / 3600.0
    return Outcome(
        n_answered=tally.n_answered,
        n_failed=len(tally.failures),
        wait_p50_s=percentile(tally.waits_s, 0.5),
        wait_p95_s=percentile(tally.waits_s, 0.95),
        on_time_share=sum(wait_s <= TARGET_S for wait_s in tally.waits_s) / len(requests),
        gpu_hours=sum(sample.n_gpus for sample in samples) / len(samples) * hours,
        usd=samples[-1].total_usd - samples[0].total_usd,
    )


def summary_table(outcome: Outcome, failures: Sequence[str]) -> Table:
    """The figures for the eye."""
    table = Table(title="the replay", show_header=False)
    table.add_row("requests", f"{outcome.n_answered} answered, {outcome.n_failed} failed")
    table.add_row(
        "wait for the first token",
        f"p50 {outcome.wait_p50_s:.2f} s, p95 {outcome.wait_p95_s:.2f} s; "
        f"{outcome.on_time_share:.1%} within the target of {TARGET_S:g} s",
    )
    table.add_row("GPU-hours (market time)", f"{outcome.gpu_hours:.2f}")
    table.add_row("spent (market's bill)", f"${outcome.usd:.3f}")
    for failure in failures[:3]:
        table.add_row("failure", failure[:200])
    return table


def day_table(day: Day) -> Table:
    """The simulated day's figures for the eye."""
    table = Table(title="a day of a real service, simulated", show_header=False)
    table.add_row(
        "requests",
        f"{day.n_requests:,}, in each hour as many as in one of BurstGPT's days (CC BY 4.0)",
    )
    table.add_row(
        "Ballast",
        f"${day.ours.usd:.2f}; {day.ours.within_slo:.1%} started within {TARGET_S:g} s",
    )
    table.add_row(
        f"{day.n_fixed} machines, always on",
        f"${day.fixed.usd:.2f}; {day.fixed.within_slo:.1%} within {TARGET_S:g} s "
        "(the smallest fixed fleet that is on time as often)",
    )
    table.add_row("Ballast cost", f"{day.saved_share:.0%} less")
    return table

"""What the demo shows while it runs."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

from lab.local.demo.demo_replay import Replay
from lab.local.demo.demo_samples import Sample
from lab.local.demo.demo_trace import percentile

STATUS_ORDER = (
    *("creating", "loading", "model_loading", "starting", "idle", "draining"),
    *("stopping", "stopped", "paused", "unavail", "error", "destroying"),
)


class Screen:
    """A live panel below a log of milestones."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """A milestone, which stays."""
        self.console.print(text, highlight=False)

    def show(self, sample: Sample, replay: Replay | None = None) -> None:
        """The state of things, which is replaced by the next one."""
        self._live.update(_panel(sample, replay))


def _panel(sample: Sample, replay: Replay | None) -> RenderableType:
    parts: list[RenderableType] = [_workers(sample), _figures(sample)]
    if replay is not None:
        tally = replay.tally()
        parts.append(ProgressBar(total=replay.n_requests, completed=tally.n_sent, width=60))
        p50, p95 = (percentile(tally.waits_s, share) for share in (0.5, 0.95))
        parts.append(
            f"requests {tally.n_sent}/{replay.n_requests}   answered {tally.n_answered}   "
            f"waiting {tally.n_waiting}   failed {len(tally.failures)}   "
            f"wait p50 {p50:.2f} s, p95 {p95:.2f} s"
        )
    return Panel(Group(*parts), title="TGI-Llama3", border_style="cyan")


def _workers(sample: Sample) -> RenderableType:
    known = [status for status in STATUS_ORDER if status in sample.n_by_status]
    others = sorted(set(sample.n_by_status) - set(STATUS_ORDER))
    counts = ", ".join(f"{sample.n_by_status[status]} {status}" for status in known + others)
    return f"workers: {counts or 'none'}"


def _figures(sample: Sample) -> RenderableType:
    table = Table.grid(padding=(0, 3))
    table.add_row(
        f"load {sample.load:,.0f} tok/s",
        f"ready {sample.ready_capacity:,.0f} tok/s",
        f"cold {sample.cold_capacity:,.0f} tok/s",
        f"${sample.usd_per_hour:.2f} an hour",
        f"spent ${sample.total_usd:.3f}",
    )
    return table

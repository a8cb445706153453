"""The demo's picture: load against capacity, the queue, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from lab.local.demo.demo_samples import Sample

READY, COLD, LOAD, QUEUE, MONEY = "#2a9d8f", "#a8dadc", "#1d3557", "#e76f51", "#6d597a"


def draw(samples: Sequence[Sample], path: Path, title: str) -> None:
    """Write the picture as PNG."""
    times = [sample.at_s for sample in samples]
    figure = Figure(figsize=(10, 8), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 1))
    ready = [sample.ready_capacity for sample in samples]
    cold = [sample.cold_capacity for sample in samples]
    top.stackplot(
        times, ready, cold, labels=("ready capacity", "cold capacity"), colors=(READY, COLD),
        step="post",
    )  # fmt: skip
    top.plot(times, [sample.load for sample in samples], color=LOAD, lw=2, label="load")
    top.set_ylabel("tokens per second")
    top.legend(loc="upper left")
    top.set_title(title)
    middle.fill_between(times, [s.n_waiting for s in samples], color=QUEUE, step="post")
    middle.set_ylabel("requests waiting")
    bottom.step(times, [s.usd_per_hour for s in samples], color=MONEY, where="post")
    bottom.set_ylabel("$ per hour")
    bottom.set_xlabel("seconds since the start (market delays and bills are compressed)")
    for axes in (top, middle, bottom):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)

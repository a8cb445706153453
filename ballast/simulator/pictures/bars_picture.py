"""The picture of the bars: a panel per cell, the rivals' lines and ours at the three targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ballast.simulator.bars import Run

LATE_SHOWN = (2e-4, 0.1)  # the targets lie between; a rival's hopeless points do not


def draw_bars(runs: Sequence[Run], path: Path) -> Path:
    """Draw cost against the late share, means over the seeds; gives the file written."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    fleets = sorted({run.fleet for run in runs})
    restarts = sorted({run.restart_s for run in runs})
    size = (4.2 * len(fleets), 3.6 * len(restarts))
    figure, panels = pyplot.subplots(len(restarts), len(fleets), figsize=size, squeeze=False)
    for restart_s, row in zip(restarts, panels, strict=True):
        for fleet, axes in zip(fleets, row, strict=True):
            cell = [run for run in runs if (run.fleet, run.restart_s) == (fleet, restart_s)]
            _draw_cell(axes, cell)
            axes.set_title(f"mean fleet {fleet:g}, starts of {restart_s:g} s", fontsize=10)
    panels[0][0].legend(fontsize=8)
    figure.supxlabel("share of requests that wait more than 10 s")
    figure.supylabel("cost over the clairvoyant schedule")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
    return path


def _draw_cell(axes: Axes, cell: Sequence[Run]) -> None:
    families: dict[str, dict[str, list[Run]]] = {}
    for run in cell:
        name = run.policy.partition(":")[0]
        label = f"{name}, {run.queue}" if name == "ballast" else name
        families.setdefault(label, {}).setdefault(run.policy, []).append(run)
    for label, points in sorted(families.items()):
        means = sorted(_mean_point(runs) for runs in points.values())
        shown = [point for point in means if LATE_SHOWN[0] <= point[0] <= LATE_SHOWN[1]]
        style = "o-" if label.startswith("ballast") else "x--"
        axes.plot(*zip(*shown, strict=True) if shown else ([], []), style, label=label)
    axes.set_xscale("log")
    axes.set_xlim(LATE_SHOWN[1], LATE_SHOWN[0])
    axes.grid(visible=True, alpha=0.3)


def _mean_point(runs: Sequence[Run]) -> tuple[float, float]:
    return 1.0 - fmean(run.within_slo for run in runs), fmean(run.over_clair for run in runs)

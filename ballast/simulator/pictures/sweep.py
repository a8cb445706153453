"""The frontier picture: cost against the share of requests on time, a line per policy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ballast.simulator.report import LEAST_LATE, Row, Task


def draw_frontier(rows: Sequence[Row], task: Task, path: Path) -> Path:
    """Draw each policy's points, labelled by their knob; gives the file written."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 6))
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(row.policy.partition(":")[0] + " / " + row.queue, []).append(row)
    for number, (name, members) in enumerate(sorted(families.items())):
        members.sort(key=lambda row: row.score.within_slo)
        late = [max(1.0 - row.score.within_slo, LEAST_LATE) for row in members]
        is_ours = name.startswith("ballast")
        color = "black" if is_ours else f"C{number % 10}"
        costs = [row.over_clair for row in members]
        axes.plot(late, costs, marker="o", label=name, color=color, lw=2.5 if is_ours else 1)
        for row, x in zip(members, late, strict=True):
            axes.annotate(
                row.policy.partition(":")[2], (x, row.over_clair), fontsize=7, color=color
            )
    axes.set_xscale("log")
    axes.set_yscale("log", base=2)
    axes.invert_xaxis()
    axes.set_xlabel(f"share of requests that wait more than {task.slo_wait_s:g} s")
    axes.set_ylabel("cost over the clairvoyant schedule")
    axes.set_title(f"{Path(task.trace).name}, mean fleet {task.fleet:g}")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
    return path

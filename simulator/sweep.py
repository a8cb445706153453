"""The frontier picture: cost against the share of requests on time, a line per policy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simulator.report import Row, Task


def draw_frontier(rows: Sequence[Row], task: Task, path: Path) -> Path:
    """Draw each policy's points, labelled by their knob; gives the file written."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 6))
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(row.policy.partition(":")[0] + " / " + row.queue, []).append(row)
    for name, members in sorted(families.items()):
        members.sort(key=lambda row: row.score.within_slo)
        late = [max(1.0 - row.score.within_slo, 1e-5) for row in members]
        line = axes.plot(late, [row.over_clair for row in members], marker="o", label=name)[0]
        for row, x in zip(members, late, strict=True):
            knob = row.policy.partition(":")[2]
            axes.annotate(knob, (x, row.over_clair), fontsize=7, color=line.get_color())
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.set_xlabel(f"share of requests that wait more than {task.slo_wait_s:g} s")
    axes.set_ylabel("cost over the clairvoyant schedule")
    axes.set_title(f"{Path(task.trace).name}, mean fleet {task.fleet:g}")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
    return path

"""A run as a picture: latency of each request over time, and answers per second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ballast.loadtest.results import Outcome, State


class PictureError(Exception):
    """The picture cannot be drawn; the message says what to install."""


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write the picture to `path` (.png or .svg).

    Raises:
        PictureError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PictureError("a picture needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(9, 6), layout="constrained")
    latency, rate = figure.subplots(2, 1, sharex=True)
    done = [outcome for outcome in outcomes if outcome.state is State.DONE]
    for name in ("wait", "first_token", "total"):
        latency.plot(
            [o.started_at_s for o in done],
            [getattr(o, f"{name}_s") for o in done],
            ".",
            label=name.replace("_", " "),
        )
    failed = [o.started_at_s for o in outcomes if o.state is State.FAILED]
    latency.plot(failed, [0.0] * len(failed), "rx", label="failed")
    latency.set_ylabel("seconds")
    latency.legend()
    for label, moments in (
        ("arrived", [o.started_at_s for o in outcomes]),
        ("answered", [o.started_at_s + o.total_s for o in done]),
    ):
        per_second = Counter(int(moment) for moment in moments)
        seconds = range(max(per_second, default=0) + 1)
        rate.plot(seconds, [per_second[second] for second in seconds], label=label)
    rate.set_ylabel("requests per second")
    rate.set_xlabel("seconds since the start")
    rate.legend()
    figure.savefig(path)

"""The line that shows how a run is going."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ballast.loadtest.results import Outcome, State


def progress_line(outcomes: Sequence[Outcome], n_total: int | None, elapsed_s: float) -> str:
    """One line: counts by state, answers per minute, workers seen."""
    counts = Counter(outcome.state for outcome in outcomes)
    done = counts[State.DONE]
    workers = len({outcome.worker_url for outcome in outcomes if outcome.worker_url})
    of_total = f"/{n_total}" if n_total else ""
    per_minute = 60 * done / elapsed_s if elapsed_s > 0 else 0.0
    return (
        f"{elapsed_s:6.1f} s  sent {len(outcomes)}{of_total}  waiting {counts[State.WAITING]}  "
        f"running {counts[State.RUNNING]}  done {done} ({per_minute:.1f}/minute)  "
        f"failed {counts[State.FAILED]}  workers {workers}"
    )

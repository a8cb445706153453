"""Logs, worker rows and metrics as peers read them (protocol.md E.3)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

LEVELS = ("info0", "info1", "trace", "debug")
"""What the CLI's `--level 0..3` picks; each holds the lines of the levels before it too."""

MAX_LOG_BYTES = 1_000_000  # of one level; Lambda answers at most 6 MB
NOTICE_BYTES = 100  # kept free for the line that tells of those that are left out


def log_line(at: float, level: str, message: str) -> str:
    """One line of printable ASCII: bytes are characters, and no message can forge a line."""
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    text = message.encode("unicode_escape").decode("ascii")
    return f"{moment.removesuffix('+00:00')}Z [{level}] {text}\n"


def log_texts(
    lines: Sequence[tuple[float, str, str]], tail: int, *, has_older: bool = False
) -> dict[str, str]:
    """The four levels of (time, level, message), each cut to its last `tail` lines; -1 = all.

    No level is longer than MAX_LOG_BYTES: the oldest of its lines are left out, and the first line
    says so. `has_older`: there are lines before these, which were not read.
    """
    rank = {level: i for i, level in enumerate(LEVELS)}
    texts: dict[str, str] = {}
    for level in LEVELS:
        shown = [line for line in lines if rank.get(line[1], 3) <= rank[level]]
        kept = shown if tail < 0 else shown[len(shown) - min(tail, len(shown)) :]
        asks_for_more = tail < 0 or tail > len(shown)
        texts[level] = _fitting(kept, level, has_older=has_older and asks_for_more)
    return texts


def _fitting(lines: Sequence[tuple[float, str, str]], level: str, *, has_older: bool) -> str:
    """The newest of the lines that fit into MAX_LOG_BYTES, after a line that says what does not."""
    texts = [log_line(*line) for line in lines]
    size, n_left_out = sum(map(len, texts)), 0
    if size <= MAX_LOG_BYTES and not has_older:
        return "".join(texts)
    while size > MAX_LOG_BYTES - NOTICE_BYTES:
        size -= len(texts[n_left_out])
        n_left_out += 1
    at = lines[min(n_left_out, len(lines) - 1)][0] if lines else 0.0
    which = f"{n_left_out} older lines" if not has_older else "older lines"
    notice = log_line(at, level, f"{which} are left out")
    return "".join([notice, *texts[n_left_out:]])


HELP: Mapping[str, str] = {
    "ballast_curload": "Load per second now.",
    "ballast_capacity": "Load per second that ready workers can serve.",
    "ballast_cold_capacity": "Load per second that stopped workers could serve.",
    "ballast_reqrate": "Requests per second in the newest minute.",
    "ballast_totreqs": "Requests given to the workers of now, in all.",
    "ballast_waiting": "Requests that wait for a worker.",
    "ballast_queue_time_seconds": "How long a new request would wait; absent where nobody knows.",
    "ballast_late_share": "Share of the newest minute's requests that started late.",
    "ballast_reliable": "Share of their load that workers did not turn away.",
    "ballast_nworkers": "Workers in every state.",
    "ballast_ready": "Workers that are ready.",
    "ballast_cold": "Workers that are stopped.",
    "ballast_cache_hit_share": "Share of the prompts' tokens found in caches, ten minutes.",
    "ballast_usd_per_hour": "Dollars an hour of the group's workers now.",
    "ballast_committed_usd_per_hour": "Dollars an hour counted against the account's cap.",
    "ballast_spent_today_usd": "Dollars likely spent today (UTC).",
    "ballast_counted_today_usd": "Dollars counted against today's cap.",
    "ballast_counted_month_usd": "Dollars counted against this month's cap.",
}
"""What each series of `/metrics` is."""


def prometheus_text(samples: Iterable[tuple[str, Mapping[str, str], float]]) -> str:
    """Samples (name, labels, value) in Prometheus' text format, grouped by name.

    `promtool check metrics` of Prometheus 2.42 finds nothing to say about it.
    """
    by_name: dict[str, list[str]] = {}
    for name, labels, value in samples:
        if math.isfinite(value):
            pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            by_name.setdefault(name, []).append(f"{name}{{{pairs}}} {value!r}")
    blocks = [
        f"# HELP {name} {HELP.get(name, name.removeprefix('ballast_').replace('_', ' '))}\n"
        f"# TYPE {name} gauge\n" + "\n".join(rows)
        for name, rows in by_name.items()
    ]
    return "\n".join(blocks) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

"""Logs, worker rows and metrics as peers read them (protocol.md E.3)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

LEVELS = ("info0", "info1", "trace", "debug")
"""What the CLI's `--level 0..3` picks; each holds the lines of the levels before it too."""

MAX_LOG_BYTES = 1_000_000  # of one level; Lambda answers at most 6 MB


def log_line(at: float, level: str, message: str) -> str:
    """One line of printable ASCII: bytes are characters, and no message can forge a line."""
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    text = message.encode("unicode_escape").decode("ascii")
    return f"{moment.removesuffix('+00:00')}Z [{level}] {text}\n"


def log_texts(lines: Sequence[tuple[float, str, str]], tail: int) -> dict[str, str]:
    """The four levels of (time, level, message), each cut to its last `tail` lines; -1 = all.

    No level is longer than MAX_LOG_BYTES: the oldest of its lines are left out.
    """
    rank = {level: i for i, level in enumerate(LEVELS)}
    texts: dict[str, str] = {}
    for level in LEVELS:
        shown = [log_line(*line) for line in lines if rank.get(line[1], 3) <= rank[level]]
        text = "".join(shown if tail < 0 else shown[len(shown) - min(tail, len(shown)) :])
        while len(text) > MAX_LOG_BYTES:
            text = text[text.index("\n", len(text) - MAX_LOG_BYTES - 1) + 1 :]
        texts[level] = text
    return texts


def prometheus_text(samples: Iterable[tuple[str, Mapping[str, str], float]]) -> str:
    """Samples (name, labels, value) in Prometheus' text format, grouped by name."""
    by_name: dict[str, list[str]] = {}
    for name, labels, value in samples:
        if math.isfinite(value):
            pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            by_name.setdefault(name, []).append(f"{name}{{{pairs}}} {value!r}")
    blocks = [f"# TYPE {name} gauge\n" + "\n".join(rows) for name, rows in by_name.items()]
    return "\n".join(blocks) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

"""The records of tests/evidence/vast: what the real marketplace answers, each with its source.

`python -m tests.evidence.vast_records` (or `make evidence`) counts them by source and call.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "vast"
KINDS = {"recorded", "quoted", "documented", "client", "composed", "probe"}


@dataclass(frozen=True, slots=True)
class Record:
    """One answer; see tests/evidence/vast/README.md for its members."""

    raw: dict[str, Any]

    @property
    def text(self) -> str:
        """The body as it came over the wire."""
        body = self.raw["body"]
        return body if isinstance(body, str) else json.dumps(body)

    @property
    def statuses(self) -> tuple[int, ...]:
        """Its status, or the likely ones where nobody wrote it down."""
        return (400, 404, 410) if self.raw["status"] is None else (self.raw["status"],)

    @property
    def reads(self) -> dict[str, Any]:
        """What the parser must deliver."""
        found: dict[str, Any] = self.raw.get("reads", {})
        return found

    def __getattr__(self, name: str) -> Any:
        """The members of the record by their names."""
        return self.raw[name]


def load_records() -> list[Record]:
    """Every record of every file in the folder, so that a file may be dropped in."""
    return [
        Record(raw)
        for path in sorted(FOLDER.glob("*.json"))
        for raw in json.loads(path.read_text())
    ]


def count_table(records: Sequence[Record]) -> str:
    """Records by source (rows) and call (columns), the richest source first."""
    counts = Counter((r.source["repository"], r.call) for r in records)
    calls = sorted({call for _, call in counts})
    sources = Counter(r.source["repository"] for r in records)
    kinds = Counter(r.kind for r in records)
    width = max(len(source) for source in sources)
    lines = [" " * width + "".join(f"{call:>10}" for call in [*calls, "all"])]
    for source, n_all in sorted(sources.items(), key=lambda item: (-item[1], item[0])):
        cells = [str(counts[source, call] or "") for call in calls]
        lines.append(f"{source:<{width}}" + "".join(f"{cell:>10}" for cell in [*cells, str(n_all)]))
    totals = [str(sum(counts[source, call] for source in sources)) for call in calls]
    lines.append(f"{'all':<{width}}" + "".join(f"{cell:>10}" for cell in [*totals, len(records)]))
    lines.append(", ".join(f"{n} {kind}" for kind, n in kinds.most_common()))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(count_table(load_records()) + "\n")

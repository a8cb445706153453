"""The records of tests/evidence/vast: what the real marketplace answers, each with its source."""

from __future__ import annotations

import json
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

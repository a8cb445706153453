"""Named faults of the local gateway: reports of workers that never arrive.

| fault | effect | options |
|---|---|---|
| report-loss | a share of the workers' reports is lost on the way | share (0.5) |
| own-ingest-down | our own reports function answers 503: every worker is silent at once | |

Kept in a file, because the gateway may run as several processes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FAULTS_PATH = "_gateway/faults"
REPORT_LOSS, INGEST_DOWN = "report-loss", "own-ingest-down"
KNOWN: Mapping[str, Mapping[str, float]] = {REPORT_LOSS: {"share": 0.5}, INGEST_DOWN: {}}
REPORTS_FUNCTION = "reports"


class GatewayFaults:
    """Which faults are on, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._dice = random.Random()

    def active(self) -> dict[str, dict[str, float]]:
        """The faults that are on, with their options."""
        try:
            found: dict[str, dict[str, float]] = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        return found

    def strikes(self, function: str) -> bool:
        """Whether a request for this function of app.py is lost."""
        if function != REPORTS_FUNCTION:
            return False
        active = self.active()
        loss = active.get(REPORT_LOSS)
        is_lost = loss is not None and self._dice.random() < loss["share"]
        return INGEST_DOWN in active or is_lost

    def control(self, method: str, body: bytes) -> Mapping[str, Any]:
        """Answer the control path as a function would: GET lists, POST switches one fault."""
        if method == "POST":
            try:
                self._switch(json.loads(body))
            except (ValueError, TypeError, AttributeError) as error:
                return _answer(400, {"success": False, "msg": str(error)})
        return _answer(200, {"success": True, "known": list(KNOWN), "active": self.active()})

    def _switch(self, wish: Mapping[str, Any]) -> None:
        """`{"fault": NAME, "on": true|false, …options}`."""
        options = dict(wish)
        name, is_on = options.pop("fault", ""), options.pop("on", True)
        if name not in KNOWN:
            raise ValueError(f"no fault {name!r}; known: {sorted(KNOWN)}")
        if unknown := sorted(set(options) - set(KNOWN[name])):
            raise ValueError(f"{name}: no option {unknown[0]!r}; known: {sorted(KNOWN[name])}")
        values = {**KNOWN[name], **{option: float(value) for option, value in options.items()}}
        active = self.active()
        active.pop(name, None)
        if is_on:
            active[name] = values
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(active))
        fresh.replace(self._path)


def _answer(status: int, body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"statusCode": status, "body": json.dumps(body)}

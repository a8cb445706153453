"""Returning what a probe rented: destroyed and seen gone, or named with the step to take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ballast.cli.probe.values import is_id
from chalicelib.adapters.vast.errors import refusal
from chalicelib.core.fleet.intents import LISTING_LAG_S
from chalicelib.core.fleet.pacing import Verb
from chalicelib.ports.marketplace import RefusedError

if TYPE_CHECKING:
    from ballast.cli.probe.prober import Prober

GONE_S = 300.0
POLL_S = 10.0
CONSOLE = "https://cloud.vast.ai/instances/"


def return_machine(prober: Prober, contract: int | None, label: str) -> None:
    """Destroy whatever carries the label or the id, until looks agree that it is gone.

    A create without an answer may be listed a minute later, so it is looked for that long. What was
    not seen gone, and an interruption on the way, ends in `prober.left`.
    """
    ids: set[int] = {contract} if contract else set()
    is_gone = False
    try:
        is_gone = _destroy_until_gone(prober, ids, label)
    finally:
        seen = "gone" if is_gone else "not seen gone"
        prober.findings.add("destroy:gone", is_gone, seen)
        if not is_gone:
            name = f"instance {', '.join(map(str, sorted(ids)))}" if ids else "a machine"
            prober.left.append(f"{name} (label {label}): destroy it at {CONSOLE}")


def _destroy_until_gone(prober: Prober, ids: set[int], label: str) -> bool:
    began_at = prober.clock.now()
    looks_until = began_at + (0.0 if ids else LISTING_LAG_S)
    n_clean = 0
    while prober.clock.now() < began_at + GONE_S:
        rows = prober.rows()
        if rows is not None:
            ids |= {
                i for row in rows if label in str(row.get("label")) if is_id(i := row.get("id"))
            }
            listed = {row.get("id") for row in rows}
            there = {i for i in ids if i in listed or _is_shown(prober, i)}
            n_clean = 0 if there else n_clean + 1
            for instance_id in sorted(there):
                _destroy(prober, instance_id)
            if n_clean >= 2 and prober.clock.now() >= looks_until:
                return True
        prober.clock.sleep(POLL_S)
    return False


def _destroy(prober: Prober, instance_id: int) -> None:
    status, answer = prober.ask("DELETE", f"/api/v0/instances/{instance_id}/", body={})
    error = refusal(Verb.DESTROY, status, json.dumps(answer), prober.clock.now())
    is_gone = isinstance(error, RefusedError) and error.code == "no_such_instance"
    prober.findings.add("destroy:accepted", error is None or is_gone, f"HTTP {status}")


def _is_shown(prober: Prober, instance_id: int) -> bool:
    path = f"/api/v0/instances/{instance_id}/"
    status, body = prober.ask("GET", path, params={"owner": "me"})
    row = body.get("instances")
    if status == 404 or (status == 200 and row is None and "instances" in body):
        return False
    return not (isinstance(row, dict) and row.get("actual_status") == "destroyed")

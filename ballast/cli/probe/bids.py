"""What a machine shows when its bid is beaten: tried by lowering our own, which costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ballast.cli.probe.values import Json
from chalicelib.adapters.vast.errors import refusal
from chalicelib.core.fleet.pacing import Verb

if TYPE_CHECKING:
    from ballast.cli.probe.prober import Prober

LOWEST_BID = 0.001  # dollars an hour; below any floor (tests/evidence/vast/bid.json)
LOST_S = 90.0  # three measured interruptions took 12 to 33 s
RESTART_S = 120.0  # the calls before this stopped and started it
WORDS = ("actual_status", "intended_status", "cur_state", "next_state")


def lose_bid(prober: Prober, instance_id: int, label: str) -> None:
    """Bid too little, and note the words with which the machine is taken away."""
    prober.await_row(instance_id, label, RESTART_S, is_running)
    path = f"/api/v0/instances/bid_price/{instance_id}/"
    body = {"client_id": "me", "price": LOWEST_BID}
    status, answer = prober.ask("PUT", path, body=body)
    error = refusal(Verb.START, status, str(answer or ""), prober.clock.now())
    is_taken = status == 200 and answer.get("success") is not False
    prober.findings.add("bid:change", is_taken, "accepted" if is_taken else f"{error or status}")
    if not is_taken:
        return
    began_at = prober.clock.now()
    seen: list[str] = []

    def is_lost(row: object) -> bool:
        words = "/".join(str(row.get(name)) for name in WORDS) if isinstance(row, dict) else ""
        if words and (not seen or not seen[-1].endswith(words)):
            seen.append(f"{prober.clock.now() - began_at:.0f} s: {words}")
        return (
            isinstance(row, dict)
            and row.get("intended_status") == "stopped"
            and (row.get("actual_status") in ("exited", "stopped"))
        )

    row = prober.await_row(instance_id, label, LOST_S, is_lost)
    prober.findings.add("bid:lost-words", row is not None, "; ".join(seen[-3:]) or "nothing")


def is_running(row: Json) -> bool:
    """Whether Vast says that it runs."""
    return row.get("actual_status") == "running"

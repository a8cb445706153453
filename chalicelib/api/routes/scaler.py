"""The scaler function's events: the schedule, pokes, and management's questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.api.telemetry import begin_trace, emit_metrics
from chalicelib.ports.bundles import ScalerPorts
from chalicelib.ports.errors import PortError
from chalicelib.ports.scaler_poke import to_answer
from chalicelib.services.rounds.loop import scaling_loop
from chalicelib.services.rounds.questions import answer
from chalicelib.wire.trace import HEADER

RESERVE_S = 8.0
"""Left of Lambda's time when the last round begins: its calls must end before the time-out."""


def answer_event(
    event: Mapping[str, Any], context: Any, get_ports: Callable[[], ScalerPorts]
) -> dict[str, object]:
    """A question is answered; anything else runs rounds for as long as Lambda allows."""
    begin_trace(str(event.get(HEADER, "")), str(getattr(context, "aws_request_id", "")))
    ports = get_ports()
    if "ask" in event:
        try:
            return to_answer(answer(ports, event))
        except PortError as error:
            return to_answer(error)
    left_s = context.get_remaining_time_in_millis() / 1000
    deadline_at = ports.clock.now() + max(1.0, left_s - RESERVE_S)
    poke = event if "poke" in event else None
    emit_metrics(scaling_loop(ports, deadline_at=deadline_at, poke=poke))
    return {}

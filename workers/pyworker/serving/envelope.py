"""What clients send: `{"auth_data": {…}, "payload": {…}, "session_id": …}`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib.wire.json_body import WireError, parse_payload
from workers.pyworker.back_end import JsonObject


class EnvelopeError(ValueError):
    """The body is not a request; `fields` maps each bad field to what is wrong with it."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        super().__init__(str(fields))
        self.fields = fields


@dataclass(frozen=True, slots=True)
class HeavyPayload:
    """A payload that was parsed elsewhere: the JSON for the model server, and its cost."""

    data: bytes
    workload: float


Payload = JsonObject | HeavyPayload


@dataclass(frozen=True, slots=True)
class Envelope:
    """A request as it came; `payload` is the equal JSON value that the model server will get."""

    auth_data: JsonObject
    payload: Payload
    session_id: str | None = None


def parse_json(body: bytes) -> JsonObject:
    """The JSON object in `body`.

    Raises:
        EnvelopeError: not JSON, not an object, or a number that JSON cannot carry on.
    """
    try:
        return parse_payload(body)
    except WireError as error:
        raise EnvelopeError({"error": str(error)}) from error


def parse_envelope(body: bytes) -> Envelope:
    """The request in `body`.

    Raises:
        EnvelopeError: with a message per field.
    """
    value = parse_json(body)
    problems: dict[str, object] = {}
    for name in ("auth_data", "payload"):
        if name not in value:
            problems[name] = "missing parameter"
        elif not isinstance(value[name], dict):
            problems[name] = f"must be an object, not {_json_type(value[name])}"
    auth_data, payload = value.get("auth_data"), value.get("payload")
    if isinstance(auth_data, dict) and not isinstance(auth_data.get("signature"), str):
        wrong = "must be a string" if "signature" in auth_data else "missing parameter"
        problems["auth_data"] = {"signature": wrong}
    session_id = value.get("session_id")
    if session_id is not None and not isinstance(session_id, str):
        problems["session_id"] = "must be a string or null"
    if problems or not isinstance(auth_data, dict) or not isinstance(payload, dict):
        raise EnvelopeError(problems)
    return Envelope(auth_data, payload, session_id if isinstance(session_id, str) else None)


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array"}
    return names.get(type(value), type(value).__name__)

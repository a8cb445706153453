"""`/route/`: what clients ask and what they are told (protocol.md A)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib.wire.json_body import WireError, number_of_text, parse_json_object
from chalicelib.wire.ticket import MAX_EXACT_INT, Number, Ticket, wire_number

DEFAULT_COST = 100.0
MAX_COST = 1e9
MAX_NAME_CHARS = 128

NOT_FOUND = "authenticate_endpoint_apikey: invalid api_key or endpoint NAME not found"
"""One answer to a wrong key, an unknown name and a group that the key may not see."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteRequest:
    """A request for a worker.

    `request_idx` None: the client knows nothing of it (2024, many third parties) and will not ask
    again for the same request. 0: a new request of a client that does. `is_paced`: it asks again
    when the reply says so.
    """

    endpoint: str | None
    endpoint_id: int | None
    api_key: str
    cost: Number
    request_idx: int | None
    is_paced: bool = False

    @staticmethod
    def from_json(
        body: bytes | str | None, *, header_key: str = "", query_key: str = ""
    ) -> RouteRequest:
        """The request in a body; the key may come in the header, the body or the query.

        Raises:
            WireError: not a JSON object, or a value that is no name, cost or idx.
        """
        fields = parse_json_object(body)
        return RouteRequest(
            endpoint=_name(fields),
            endpoint_id=_whole(fields, "endpoint_id"),
            api_key=header_key or _key(fields) or query_key,
            cost=_cost(fields.get("cost")),
            request_idx=_index(fields),
            is_paced=fields.get("paced") is True,
        )


def grant_reply(
    ticket: Ticket, signature: str, *, request_id: str, certificate_sha256: str = ""
) -> dict[str, object]:
    """The reply that names a worker."""
    reply: dict[str, object] = {
        "endpoint": ticket.endpoint,
        "url": ticket.url,
        "cost": ticket.cost,
        "reqnum": ticket.reqnum,
        "request_idx": ticket.request_idx,
        "signature": signature,
        "__request_id": request_id,
    }
    if certificate_sha256:
        reply["certificate_sha256"] = certificate_sha256
    return reply


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingReply:
    """The reply to a request that has to wait; it never has a key `url`."""

    endpoint: str
    request_idx: int
    status: str
    request_id: str
    poll_after_s: float
    place: int | None = None
    eta_s: float | None = None

    def to_json(self) -> dict[str, object]:
        """The reply's body."""
        reply: dict[str, object] = {
            "endpoint": self.endpoint,
            "request_idx": self.request_idx,
            "status": self.status,
            "poll_after_s": self.poll_after_s,
            "__request_id": self.request_id,
        }
        if self.place is not None:
            reply["place"] = self.place
        if self.eta_s is not None:
            reply["eta_s"] = round(self.eta_s, 1)
        return reply


def _name(fields: Mapping[str, object]) -> str | None:
    value = fields.get("endpoint")
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARS:
        raise WireError(f"endpoint: {str(value)[:50]!r} is not the name of an endpoint group")
    return value


def _key(fields: Mapping[str, object]) -> str:
    value = fields.get("api_key")
    return value if isinstance(value, str) else ""


def _cost(value: object) -> Number:
    if value is None:
        return wire_number(DEFAULT_COST)
    if isinstance(value, str):
        value = number_of_text("cost", value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WireError(f"cost: {str(value)[:50]!r} is not a number")
    if not 0 <= value <= MAX_COST:  # also refuses NaN
        raise WireError(f"cost: {value!r} is out of bounds; allowed: 0 to {MAX_COST:g}")
    return wire_number(value)


def _index(fields: Mapping[str, object]) -> int | None:
    value = _whole(fields, "request_idx")
    if value is not None and value >= MAX_EXACT_INT:
        raise WireError(f"request_idx: {value} is not one that a reply gave")
    return value


def _whole(fields: Mapping[str, object], name: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise WireError(f"{name}: {str(value)[:50]!r} is not a whole number from 0")
    return value

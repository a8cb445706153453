"""`/route/`: what clients ask and what they are told (protocol.md A)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.wire.json_body import (
    WireError,
    number,
    number_of_text,
    optional_flag,
    optional_whole,
    parse_json_object,
)
from chalicelib.wire.ticket import MAX_COST, MAX_EXACT_INT, Number, Ticket, wire_number

DEFAULT_COST = 100.0
MAX_NAME_CHARS = 128
MAX_KEYS = 4
MAX_KEY_CHARS = 128
"""Of `affinity`: as many keys, each as long, as anybody needs; an HMAC in hex takes 64."""

NOT_FOUND = "authenticate_endpoint_apikey: invalid api_key or endpoint NAME not found"
"""One answer to a wrong key, an unknown name and a group that the key may not see."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteRequest:
    """A request for a worker.

    `request_idx` None: the client knows nothing of it (2024, many third parties) and will not ask
    again for the same request. 0: a new request of a client that does. `is_paced`: it asks again
    when the reply says so. `affinity`: opaque keys of what the prompt begins with, from general to
    special. `prefix_cost`: for each, the part of `cost` that a worker with that prefix is spared.
    `takes_interruptible`: False asks for workers that are not taken away by the market.
    `is_stream`: the answer comes bit by bit, so that a lost worker breaks it. `route`: the path at
    the worker, so that it is weighed as what was used there; "": its caller does not say.
    `model_log_of`: no request, but a ticket for reading the model server's log of this worker.
    """

    endpoint: str | None
    endpoint_id: int | None
    api_key: str
    cost: Number
    request_idx: int | None
    is_paced: bool = False
    affinity: tuple[str, ...] = field(default=(), repr=False)
    prefix_cost: tuple[float, ...] | None = None
    takes_interruptible: bool = True
    is_stream: bool = False
    route: str = ""
    model_log_of: int | None = None

    @staticmethod
    def from_json(
        body: bytes | str | None, *, header_key: str = "", query_key: str = ""
    ) -> RouteRequest:
        """The request in a body; the key may come in the header, the body or the query.

        Raises:
            WireError: not a JSON object, or a value that is no name, cost, idx or key.
        """
        return RouteRequest.of(parse_json_object(body), header_key=header_key, query_key=query_key)

    @staticmethod
    def of(
        fields: Mapping[str, object], *, header_key: str = "", query_key: str = ""
    ) -> RouteRequest:
        """The request in a body's fields.

        Raises:
            WireError: a value that is no name, cost, idx or key.
        """
        affinity = _affinity(fields.get("affinity"))
        return RouteRequest(
            endpoint=_name(fields),
            endpoint_id=optional_whole(fields, "endpoint_id", low=0),
            api_key=header_key or _key(fields) or query_key,
            cost=_cost(fields.get("cost")),
            request_idx=_index(fields),
            is_paced=fields.get("paced") is True,
            takes_interruptible=optional_flag(fields, "interruptible") is not False,
            is_stream=optional_flag(fields, "stream") is True,
            route=_route(fields),
            model_log_of=optional_whole(fields, "model_log_of", low=0),
            affinity=affinity,
            prefix_cost=_prefix_cost(fields.get("prefix_cost"), len(affinity)),
        )


def grant_reply(
    ticket: Ticket, signature: str, *, request_id: str, certificate_sha256: str = "", why: str = ""
) -> dict[str, object]:
    """The reply that names a worker; `why` it was chosen, for those who sent `affinity`."""
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
    if why:
        reply["why"] = why
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
    return wire_number(DEFAULT_COST if value is None else _load("cost", value))


def _load(name: str, value: object) -> Number:
    if isinstance(value, str):
        return number_of_text(name, value, low=0.0, high=MAX_COST)
    return number(name, value, low=0.0, high=MAX_COST)


def _route(fields: Mapping[str, object]) -> str:
    value = fields.get("route")
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_NAME_CHARS:
        raise WireError(
            f"route: {str(value)[:50]!r} is not the path of a request at the worker, "
            "such as /v1/chat/completions"
        )
    return value.partition("?")[0]


def _affinity(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    keys = value if isinstance(value, list) else [value]
    if len(keys) > MAX_KEYS:
        raise WireError(f"affinity: {len(keys)} keys; allowed: {MAX_KEYS}, from general to special")
    for key in keys:  # told by its type and length alone: a caller may have put a prompt there
        if not isinstance(key, str):
            raise WireError(f"affinity: a key is a text, not {type(key).__name__}")
        if not 0 < len(key) <= MAX_KEY_CHARS:
            raise WireError(
                f"affinity: a key of {len(key)} characters; allowed: 1 to {MAX_KEY_CHARS}"
            )
    return tuple(keys)


def _prefix_cost(value: object, n_keys: int) -> tuple[float, ...] | None:
    if value is None:
        return None
    parts = value if isinstance(value, list) else [value]
    if len(parts) != n_keys:
        raise WireError(f"prefix_cost: {len(parts)} numbers for {n_keys} keys of affinity")
    return tuple(float(_load("prefix_cost", part)) for part in parts)


def _index(fields: Mapping[str, object]) -> int | None:
    value = optional_whole(fields, "request_idx", low=0)
    if value is not None and value >= MAX_EXACT_INT:
        raise WireError(f"request_idx: {value} is not one that a reply gave")
    return value

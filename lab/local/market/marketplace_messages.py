"""Requests and answers of the pretend market's HTTP API."""

from __future__ import annotations

import json
from collections.abc import Mapping

from werkzeug.wrappers import Request, Response

from fakes.market.market_refusal import MarketRefusal

Body = Mapping[str, object]


def parse_body(request: Request) -> Body:
    """The JSON object in a body; an empty body is an empty object.

    Raises:
        MarketRefusal: 400.
    """
    try:
        value = json.loads(request.get_data() or b"{}")
    except ValueError as error:
        raise MarketRefusal.stating(400, "invalid_args", f"body: {error}") from error
    return as_object(value, "body")


def json_response(body: Body | str, status: int = 200) -> Response:
    """JSON with exactly the content type that the vendor's CLI wants (G 38), or plain text."""
    if isinstance(body, str):
        return Response(body, status, mimetype="text/plain")
    return Response(json.dumps(body), status, mimetype="application/json")


def refusal_response(refused: MarketRefusal) -> Response:
    """The refusal as it is."""
    kind = {"{": "application/json", "<": "text/html"}.get(refused.text[:1], "text/plain")
    return Response(refused.text, refused.status, refused.headers, mimetype=kind)


def json_argument(request: Request, name: str, default: str) -> object:
    """A parameter of the URL that holds JSON.

    Raises:
        MarketRefusal: 400.
    """
    try:
        return json.loads(request.args.get(name, default))
    except ValueError as error:
        raise MarketRefusal.stating(400, "invalid_args", f"{name}: not JSON") from error


def as_object(value: object, name: str) -> Body:
    """The value if it is an object.

    Raises:
        MarketRefusal: 400.
    """
    if not isinstance(value, dict):
        raise MarketRefusal.stating(400, "invalid_args", f"{name}: not a JSON object")
    return value


def as_rows(value: object, name: str) -> list[Body]:
    """The value if it is a list of objects.

    Raises:
        MarketRefusal: 400.
    """
    if not isinstance(value, list):
        raise MarketRefusal.stating(400, "invalid_args", f"{name}: not a list")
    return [as_object(entry, name) for entry in value]


def as_ids(body: Body, name: str) -> list[int]:
    """The ids of a bulk call.

    Raises:
        MarketRefusal: 400.
    """
    ids = body.get(name)
    if not isinstance(ids, list) or not all(isinstance(i, int) for i in ids) or len(ids) > 64:
        raise MarketRefusal.stating(400, "invalid_args", f"{name}: not a list of up to 64 ids")
    return ids

"""A real JavaScript engine (Duktape), for what clients in that language do to our JSON."""

from __future__ import annotations

import json

import dukpy

ROUND_TRIP = "JSON.stringify(JSON.parse(dukpy.text))"


def through_javascript(value: object) -> object:
    """The JSON value as a JavaScript client passes it on: 100.0 comes out as 100."""
    return json.loads(dukpy.evaljs(ROUND_TRIP, text=json.dumps(value)))

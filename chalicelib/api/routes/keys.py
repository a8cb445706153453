"""`/api/v0/keys/`: callers' keys. A key's text is in the reply that makes it, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

from chalice import Blueprint

from chalicelib.api.auth import Call, Routes
from chalicelib.api.errors import OK
from chalicelib.ports.bundles import ApiPorts
from chalicelib.services.owner import keys
from chalicelib.wire.json_body import WireError
from chalicelib.wire.keys import KEY_NAMES, LIMITS, parse_key_request, parse_limit_changes


def keys_blueprint(get_ports: Callable[[], ApiPorts]) -> Blueprint:
    """The routes of callers' keys; only keys of the whole account manage keys."""
    blueprint = Blueprint(__name__)
    routes = Routes(blueprint, get_ports)

    @routes.route("GET", "/api/v0/keys", "admin", account_only=True)
    def list_keys(call: Call) -> object:
        return {**OK, "results": keys.key_rows(call.ports)}

    @routes.route("POST", "/api/v0/keys", "admin", account_only=True, fields=KEY_NAMES)
    def create_key(call: Call) -> object:
        request = parse_key_request(call.body)
        text, row = keys.create_key(call.ports, call.caller, request)
        return {**OK, "key": text, "result": row}

    @routes.route("GET", "/api/v0/keys/{key_id}", "admin", account_only=True)
    def show_key(call: Call, key_id: str) -> object:
        return {**OK, "result": keys.key_row(call.ports, key_id)}

    changes = ("rotate", "revoke_older", "confirm", "unset", *LIMITS)
    routes.route("PUT", "/api/v0/keys/{key_id}", "admin", account_only=True, fields=changes)(
        change_key
    )

    @routes.route("DELETE", "/api/v0/keys/{key_id}", "admin", account_only=True)
    def revoke_key(call: Call, key_id: str) -> object:
        return {**OK, "result": keys.revoke_key(call.ports, call.caller, key_id)}

    return blueprint


def change_key(call: Call, key_id: str) -> object:
    """A new generation (`rotate`), the overlap's end (`revoke_older`), `confirm`, or limits."""
    if call.flag("rotate"):
        text, row = keys.rotate_key(call.ports, call.caller, key_id)
        return {**OK, "key": text, "result": row}
    if call.flag("revoke_older"):
        row = keys.revoke_key(call.ports, call.caller, key_id, older_only=True)
        return {**OK, "result": row}
    if call.flag("confirm"):
        return {**OK, "result": keys.confirm_key(call.ports, call.caller, key_id)}
    changes = parse_limit_changes(call.body)
    if not changes.given and not changes.unset:
        raise WireError("body: give rotate, revoke_older or confirm as true, or a limit to change")
    row = keys.change_limits(call.ports, call.caller, key_id, changes)
    return {**OK, "result": row}

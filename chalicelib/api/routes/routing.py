"""`/route/` and `/pubkey/`: parse, one service call, status."""

from __future__ import annotations

from collections.abc import Callable

from chalice import Blueprint
from chalice.app import Response

from chalicelib.api.auth import basic_password, bearer_key
from chalicelib.api.errors import error_response, json_response
from chalicelib.ports.bundles import HotPorts
from chalicelib.ports.errors import KeysUnavailableError, StorageUnavailableError
from chalicelib.services.routing.memory import RouterMemory
from chalicelib.services.routing.model_log import log_ticket
from chalicelib.services.routing.quotas import OversizeError
from chalicelib.services.routing.route import RouteRefusedError, route
from chalicelib.services.routing.tickets import public_key_for
from chalicelib.wire.routing import RouteRequest


def routing_blueprint(get_ports: Callable[[], HotPorts]) -> Blueprint:
    """The hot routes over the ports that `get_ports` gives."""
    blueprint = Blueprint(__name__)
    memory = RouterMemory()

    @blueprint.route("/route", methods=["POST"], content_types=["*/*"])
    def route_request() -> Response:
        call = blueprint.current_request
        try:
            request = RouteRequest.from_json(
                call.raw_body,
                header_key=bearer_key(call.headers),
                query_key=call.query_params.get("api_key") or "" if call.query_params else "",
            )
            answer = log_ticket if request.model_log_of is not None else route
            return json_response(answer(get_ports(), memory, request))
        except RouteRefusedError as error:
            body = {"success": False, "error": "auth_error", "msg": str(error)}
            return json_response({**body, "error_msg": str(error)}, 401)
        except OversizeError as error:
            body = {"success": False, "error": "over_quota", "msg": str(error)}
            return json_response({**body, "error_msg": str(error)}, 400)
        except Exception as error:  # noqa: BLE001  clients understand our error bodies alone
            return error_response(error)

    @blueprint.route("/pubkey", methods=["GET"])
    def pubkey() -> Response:
        token = basic_password(blueprint.current_request.headers)
        try:
            pem = public_key_for(get_ports(), memory, token)
        except (KeysUnavailableError, StorageUnavailableError) as error:
            return error_response(error)
        return Response(body=pem, headers={"Content-Type": "text/plain"})

    return blueprint

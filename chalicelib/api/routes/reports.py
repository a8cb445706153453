"""`/worker_status/` and `/delete_requests/`: parse, one service call, status.

Unknown workers are answered 200 as well: any other status only makes them repeat themselves.
"""

from __future__ import annotations

from collections.abc import Callable

from chalice import Blueprint
from chalice.app import Response

from chalicelib.api.auth import basic_password
from chalicelib.api.errors import error_response, json_response
from chalicelib.ports.bundles import HotPorts
from chalicelib.ports.errors import PortError
from chalicelib.services.routing.reports import ReportsMemory, receive_finished, receive_report
from chalicelib.wire.json_body import WireError
from chalicelib.wire.reports import FinishedReport, WorkerReport


def reports_blueprint(get_ports: Callable[[], HotPorts]) -> Blueprint:
    """The workers' routes over the ports that `get_ports` gives."""
    blueprint = Blueprint(__name__)
    memory = ReportsMemory()

    @blueprint.route("/worker_status", methods=["POST"], content_types=["*/*"])
    def worker_status() -> Response:
        call = blueprint.current_request
        try:
            report = WorkerReport.from_json(call.raw_body or b"")
            reply = receive_report(get_ports(), memory, report, basic_password(call.headers))
        except (WireError, PortError) as error:
            return error_response(error)
        if reply is None:
            return json_response({})
        ended = {"ended_keys": list(reply.ended_keys)} if reply.ended_keys else {}
        return json_response({"now": reply.now, "key_id": reply.key_id, **ended})

    @blueprint.route("/delete_requests", methods=["POST"], content_types=["*/*"])
    def delete_requests() -> Response:
        call = blueprint.current_request
        try:
            report = FinishedReport.from_json(call.raw_body or b"")
            receive_finished(get_ports(), memory, report, basic_password(call.headers))
        except (WireError, PortError) as error:
            return error_response(error)
        return json_response({})

    return blueprint

"""`/api/v0/receivers/`: who is told of trouble; and the function on the alerts' topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chalice import Blueprint

from chalicelib.api.auth import Call, Routes
from chalicelib.api.errors import OK
from chalicelib.ports.bundles import ApiPorts, NotifierPorts
from chalicelib.services.owner import receivers


def receivers_blueprint(get_ports: Callable[[], ApiPorts]) -> Blueprint:
    """The routes of receivers; only keys of the whole account see or change them."""
    blueprint = Blueprint(__name__)
    routes = Routes(blueprint, get_ports)

    @routes.route("GET", "/api/v0/receivers", "admin", account_only=True)
    def list_receivers(call: Call) -> object:
        return {**OK, "results": receivers.receiver_rows(call.ports)}

    @routes.route("POST", "/api/v0/receivers", "admin", account_only=True)
    def add_receiver(call: Call) -> object:
        receiver = receivers.parse_receiver(call.body)
        return {**OK, "result": receivers.add_receiver(call.ports, call.caller, receiver)}

    @routes.route("POST", "/api/v0/receivers/test", "admin", account_only=True)
    def test_receivers(call: Call) -> object:
        return {**OK, **receivers.send_test(call.ports, call.caller)}

    @routes.route("DELETE", "/api/v0/receivers/{name}", "admin", account_only=True)
    def remove_receiver(call: Call, name: str) -> object:
        receivers.remove_receiver(call.ports, call.caller, name)
        return OK

    return blueprint


def answer_topic(
    event: Mapping[str, Any], get_ports: Callable[[], NotifierPorts]
) -> dict[str, object]:
    """Tell every receiver of what came over the topic; gives the problems by receiver.

    SNS repeats an event whose function fails, which would tell the others twice: a receiver that
    cannot be reached is an event in the log and no failure.
    """
    ports = get_ports()
    now = ports.clock.now()
    records = [record.get("Sns", {}) for record in event.get("Records", ())]
    notices = [receivers.notice_of_record(record, now) for record in records]
    return {"problems": receivers.deliver_to_all(ports, [n for n in notices if n is not None])}

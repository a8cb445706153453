"""A ticket for the model server's log of one worker, for who manages the group."""

from __future__ import annotations

from chalicelib.core.model.caller_key import ADMIN, CallerKeyError
from chalicelib.ports.bundles import HotPorts
from chalicelib.ports.errors import ConflictError, NotFoundError
from chalicelib.services.keys import check_key
from chalicelib.services.routing.memory import RouterMemory, find_facts
from chalicelib.services.routing.route import RouteRefusedError
from chalicelib.services.routing.tickets import TICKET_VALID_S
from chalicelib.wire.routing import NOT_FOUND, RouteRequest, grant_reply
from chalicelib.wire.ticket import Claims, Ticket, join_signature


def log_ticket(ports: HotPorts, memory: RouterMemory, request: RouteRequest) -> dict[str, object]:
    """The worker's address and a ticket that opens its log, and none of its routes.

    The log holds what clients wrote, so it takes a key with the verb admin. The worker may be in
    any state: its log is read most while it does not become ready.

    Raises:
        RouteRefusedError: the key is wrong or lacks the verb, or there is no such group for it.
        NotFoundError: the group has no such worker.
        ConflictError: it has not reported yet, or its PyWorker is of an older generation.
    """
    now = ports.clock.now()
    try:
        caller = check_key(ports, memory.keys, request.api_key, now)
    except CallerKeyError as error:
        raise RouteRefusedError(NOT_FOUND) from error
    by_id = request.endpoint_id if request.endpoint_id is not None else caller.endpoint_id
    facts = find_facts(ports, memory, request.endpoint, by_id, now)
    if facts is None or not caller.may(ADMIN, facts.endpoint_id):
        raise RouteRefusedError(f"{NOT_FOUND}; the model's log needs an admin key")
    instance_id = request.model_log_of or 0
    worker = ports.workers.find(facts.endpoint_id, instance_id)
    if worker is None:
        raise NotFoundError(f"{facts.name} has no worker {instance_id}")
    if worker.ticket != "D" or not worker.boot_id or not worker.url:
        raise ConflictError(
            f"worker {instance_id} is {worker.state.value}: no PyWorker of Ballast has reported "
            "from it yet, so its model's log cannot be read"
        )
    ticket = Ticket(cost=0, endpoint=facts.name, reqnum=0, request_idx=0, url=worker.url)
    blob = Claims(
        cost=0.0,
        endpoint=facts.name,
        endpoint_id=facts.endpoint_id,
        url=worker.url,
        reqnum=0,
        request_idx=0,
        instance_id=instance_id,
        boot_id=worker.boot_id,
        issued_at=now,
        expires_at=now + TICKET_VALID_S,
        reads_log=True,
    ).to_bytes()
    key_id = worker.key_id or ports.signer.newest().key_id
    return grant_reply(
        ticket,
        join_signature(blob, ports.signer.sign(key_id, blob)),
        request_id=ports.randomness.token(16),
        certificate_sha256=worker.certificate_sha256,
    )

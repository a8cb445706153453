"""Signing tickets in the generation that a worker understands, and the key behind `request_idx`."""

from __future__ import annotations

import base64
from contextlib import suppress

from chalicelib.core.model.caller_key import key_name
from chalicelib.core.routing.pool import RoutableWorker
from chalicelib.ports.bundles import HotPorts
from chalicelib.ports.errors import NotFoundError
from chalicelib.services.keys import check_worker_token
from chalicelib.services.routing.memory import RouterMemory
from chalicelib.services.routing.waiting import Turn
from chalicelib.wire.ticket import Allowance, Claims, Ticket, join_signature, wire_number

TICKET_VALID_S = 120.0


def index_key(ports: HotPorts, memory: RouterMemory, endpoint_id: int) -> bytes:
    """The key of the check inside a group's `request_idx`.

    Raises:
        KeysUnavailableError: KMS is down, and the pepper is not in memory yet.
    """
    if endpoint_id not in memory.index_keys:
        memory.index_keys[endpoint_id] = ports.secrets.mac("index", str(endpoint_id)).encode()
    return memory.index_keys[endpoint_id]


def sign_ticket(
    turn: Turn,
    worker: RoutableWorker,
    reqnum: int,
    request_idx: int,
    allowance: Allowance | None,
) -> tuple[Ticket, str]:
    """The ticket and its signature field. `allowance`: of a key with limits.

    Raises:
        KeysUnavailableError: KMS is down, and the signing key is not in memory yet.
        NotFoundError: the worker's signing key is gone.
    """
    ports, memory, group = turn.ports, turn.memory, turn.group.facts
    ticket = Ticket(
        cost=wire_number(turn.cost),
        endpoint=group.name,
        reqnum=reqnum,
        request_idx=request_idx,
        url=worker.url,
    )
    key_id = worker.key_id or _newest_key(ports, memory)
    match worker.generation:
        case "A":
            return ticket, _plain(ports.signer.sign(key_id, ticket.signed_bytes_a()))
        case "B":
            return ticket, _plain(ports.signer.sign(key_id, ticket.signed_bytes_b()))
        case "C":
            return ticket, _once_per_worker(ports, memory, key_id, ticket)
        case _:  # generation D: all fields are signed, with the worker, its boot and a time window
            blob = Claims(
                cost=float(ticket.cost),
                endpoint=ticket.endpoint,
                endpoint_id=group.endpoint_id,
                url=ticket.url,
                reqnum=ticket.reqnum,
                request_idx=ticket.request_idx,
                instance_id=worker.instance_id,
                boot_id=worker.boot_id,
                issued_at=turn.now,
                expires_at=turn.now + TICKET_VALID_S,
                allowance=allowance,
                key=key_name(turn.caller.key_id, turn.caller.generation)
                if worker.reads_keys
                else "",
            ).to_bytes()
            return ticket, join_signature(blob, ports.signer.sign(key_id, blob))


def _once_per_worker(ports: HotPorts, memory: RouterMemory, key_id: str, ticket: Ticket) -> str:
    """Generation C signs the url alone, so one signature serves a worker for good."""
    known = memory.signatures.get((key_id, ticket.url))
    if known is None:
        known = _plain(ports.signer.sign(key_id, ticket.signed_bytes_c()))
        memory.signatures[key_id, ticket.url] = known
    return known


def _newest_key(ports: HotPorts, memory: RouterMemory) -> str:
    """For workers that were rented before their key was noted."""
    if not memory.newest_key:
        memory.newest_key = ports.signer.newest().key_id
    return memory.newest_key


def _plain(signature: bytes) -> str:
    return base64.b64encode(signature).decode()


# `/pubkey/`: the public key that a worker checks its tickets with.


def public_key_for(ports: HotPorts, memory: RouterMemory, token: str) -> str:
    """The key of the instance that this token belongs to, the newest for everybody else (PEM).

    An instance keeps its key for life, so a rotation breaks no running worker.

    Raises:
        KeysUnavailableError: KMS or the keys' table is down.
        StorageUnavailableError: the worker's row cannot be read.
    """
    checked = check_worker_token(ports.secrets, token) if token else None
    key_id = _key_id(ports, memory, *checked) if checked else ""
    if key_id:
        with suppress(NotFoundError):  # a key that is gone signs nothing: the newest is as good
            return ports.signer.public_key(key_id).public_pem
    return ports.signer.newest(ports.clock.now()).public_pem


def _key_id(ports: HotPorts, memory: RouterMemory, endpoint_id: int, intent_token: str) -> str:
    """The key of one instance; the group's rows are read for an instance not seen there before."""
    known = memory.instance_keys.get(endpoint_id, {})
    if not known.get(intent_token):
        known = {worker.token: worker.key_id for worker in ports.workers.list(endpoint_id)}
        memory.instance_keys[endpoint_id] = known
    return known.get(intent_token, "")

"""`/pubkey/`: the public key that a worker checks its tickets with."""

from __future__ import annotations

from contextlib import suppress

from chalicelib.ports.bundles import HotPorts
from chalicelib.ports.errors import NotFoundError
from chalicelib.services.keys import check_worker_token
from chalicelib.services.router_memory import RouterMemory


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

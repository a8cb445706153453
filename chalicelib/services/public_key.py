"""`/pubkey/`: the public key that a worker checks its tickets with."""

from __future__ import annotations

from chalicelib.ports.bundles import HotPorts
from chalicelib.ports.errors import NotFoundError
from chalicelib.services.keys import check_worker_token


def public_key_for(ports: HotPorts, token: str) -> str:
    """The key of the instance that this token belongs to, the newest for everybody else (PEM).

    An instance keeps its key for life, so a rotation breaks no running worker.

    Raises:
        KeysUnavailableError: KMS or the keys' table is down.
        StorageUnavailableError: the worker's row cannot be read.
    """
    checked = check_worker_token(ports.secrets, token) if token else None
    if checked is not None:
        endpoint_id, intent_token = checked
        for worker in ports.workers.list(endpoint_id):
            if worker.token == intent_token and worker.key_id:
                try:
                    return ports.signer.public_key(worker.key_id).public_pem
                except NotFoundError:
                    break
    return ports.signer.newest().public_pem

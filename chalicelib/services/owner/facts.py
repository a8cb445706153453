"""What several answers to a person begin with: the scaler's memory, a worker's price now."""

from __future__ import annotations

from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.scaling.round_memory import BLOB_NAME, RoundMemory
from chalicelib.ports.bundles import ApiPorts


def usd_per_hour_now(worker: Worker) -> float:
    """What a worker costs in its present state; a stopped one only its storage."""
    is_at_rest = worker.at_rest_since is not None or worker.state is WorkerState.UNAVAILABLE
    return worker.storage_usd_per_hour if is_at_rest else worker.usd_per_hour


def read_memory(ports: ApiPorts) -> RoundMemory:
    """What the scaler remembered after its last round."""
    return RoundMemory.from_bytes(ports.ledger.read_blob(BLOB_NAME))

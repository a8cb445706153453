"""Progress of first loads: while a host's status text changes, patience with it is extended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

from chalicelib.core.instance import InstanceRecord
from chalicelib.core.worker import Worker, WorkerState

_LOADING = frozenset({WorkerState.CREATING, WorkerState.LOADING, WorkerState.MODEL_LOADING})


def follow_progress(
    before: Mapping[str, tuple[str, float]],
    workers: Iterable[Worker],
    records: Mapping[int, InstanceRecord],
    now: float,
) -> dict[str, tuple[str, float]]:
    """For each loading worker: a digest of what its record says, and when that last changed."""
    followed = {}
    for worker in workers:
        if worker.state not in _LOADING:
            continue
        key = str(worker.instance_id)
        seen, changed_at = before.get(key, ("", worker.created_at))
        record = records.get(worker.instance_id)
        text = f"{record.actual_status}|{record.status_msg}" if record else seen
        digest = blake2b(text.encode(), digest_size=6).hexdigest() if record else seen
        followed[key] = (digest, changed_at if digest == seen or not record else now)
    return followed

"""What several answers to a person begin with: the scaler's memory, its troubles, a price."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chalicelib.core.fleet.troubles import LastingTrouble, standing
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.scaling.round_memory import BLOB_NAME, RoundMemory
from chalicelib.ports.bundles import ApiPorts


def usd_per_hour_now(worker: Worker) -> float:
    """What a worker costs in its present state; a stopped one only its storage."""
    is_at_rest = worker.at_rest_since is not None or worker.state is WorkerState.UNAVAILABLE
    return worker.storage_usd_per_hour if is_at_rest else worker.usd_per_hour


def read_memory(ports: ApiPorts) -> RoundMemory:
    """What the scaler remembered after its last round."""
    return RoundMemory.from_bytes(ports.ledger.read_blob(BLOB_NAME)).as_of(ports.clock.now())


def standing_troubles(
    memory: RoundMemory, group: EndpointGroup, autogroups: Iterable[Autogroup], now: float
) -> Sequence[LastingTrouble]:
    """What stands against a group now: its own, its autogroups' and the account's troubles."""
    ids = [autogroup.autogroup_id for autogroup in autogroups]
    return standing(memory.troubles, now, endpoint_id=group.endpoint_id, autogroup_ids=ids)


def trouble_row(trouble: LastingTrouble) -> dict[str, object]:
    """A trouble as status and explain answer with it."""
    return {
        "kind": trouble.kind,
        "scope": trouble.scope,
        "severity": trouble.severity.value,
        "since": trouble.since,
        "message": trouble.message,
        "runbook": trouble.runbook,
    }

"""What a routed request costs in AWS calls: counted at the clients, on the real tables."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib import wiring
from chalicelib.adapters.aws.workers.items import to_item
from chalicelib.core.model.autogroup import TicketGeneration
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.services.routing.views import rebuild_view
from tests.api.over_tables import ENDPOINT, Deployment
from tests.conftest import TABLE_PREFIX

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_kms import KMSClient

N_REQUESTS = 100


@pytest.fixture
def calls(kms: KMSClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Of AWS, by operation and table."""
    monkeypatch.setenv("BALLAST_STAGE", "test")
    yield Counter()
    wiring.reset()


@pytest.mark.parametrize(
    ("n_workers", "generation"),
    [(10, TicketGeneration.A), (10, TicketGeneration.C), (1_000, TicketGeneration.D)],
)
def test_a_routed_request_is_one_write_and_no_call_of_kms(
    calls: Counter[str],
    dynamodb: DynamoDBClient,
    n_workers: int,
    generation: TicketGeneration,
) -> None:
    """Beside them at most one read of the view a second."""

    def note(model: Any, params: Mapping[str, Any], **_: object) -> None:
        body = params.get("body") or b"{}"
        table = str(json.loads(body).get("TableName", "kms")).rpartition("-")[2]
        calls[f"{model.name} {table}"] += 1

    deployment = Deployment.create(note)
    loaded = {"state": WorkerState.READY, "perf": 100.0, "ticket": generation}
    deployment.rent(1, "http://127.0.0.1:1", boot_id="b" * 16, reported_at=time.time(), **loaded)
    add_alike(dynamodb, deployment.rows()[0], n_workers)
    rebuild_view(deployment.ports, deployment.endpoint_id, time.time())
    route = {"endpoint": ENDPOINT, "cost": 1}
    deployment.call("/route/", route)  # the first one learns keys, directory and view
    calls.clear()
    began_at = time.monotonic()
    assert len({deployment.call("/route/", route)["url"] for _ in range(N_REQUESTS)}) >= 10
    elapsed_s = time.monotonic() - began_at
    assert calls.pop("UpdateItem workers") == N_REQUESTS
    n_reads = calls.pop("GetItem routing", 0) + calls.pop("Query routing", 0)
    assert n_reads <= 1 + elapsed_s
    assert not calls


def test_a_key_with_limits_costs_one_more_write_and_no_read(
    calls: Counter[str], dynamodb: DynamoDBClient
) -> None:
    def note(model: Any, params: Mapping[str, Any], **_: object) -> None:
        table = str(json.loads(params.get("body") or b"{}").get("TableName", "kms"))
        calls[f"{model.name} {table.rpartition('-')[2]}"] += 1

    deployment = Deployment.create(note)
    deployment.rent(
        1,
        "http://127.0.0.1:1",
        boot_id="b" * 16,
        reported_at=time.time(),
        state=WorkerState.READY,
        perf=100.0,
        ticket=TicketGeneration.D,
    )
    rebuild_view(deployment.ports, deployment.endpoint_id, time.time())
    limits = {"max_requests_per_s": 1e6, "max_load_per_s": 1e6, "max_concurrent": 1_000}
    asked = {"name": "tenant", "verbs": ["route"], "endpoint_name": ENDPOINT, **limits}
    deployment.key = deployment.call("/api/v0/keys/", asked)["key"]
    route = {"endpoint": ENDPOINT, "cost": 0.01}
    deployment.call("/route/", route)  # the first one learns keys, directory and view
    calls.clear()
    began_at = time.monotonic()
    for _ in range(N_REQUESTS):
        assert "url" in deployment.call("/route/", route)
    elapsed_s = time.monotonic() - began_at
    assert calls.pop("UpdateItem workers") == N_REQUESTS
    assert calls.pop("PutItem routing") == N_REQUESTS
    n_reads = calls.pop("GetItem routing", 0) + calls.pop("Query routing", 0)
    assert n_reads <= 1 + elapsed_s
    assert not calls


def add_alike(dynamodb: DynamoDBClient, worker: Worker, n_workers: int) -> None:
    """Rows like this one, so many in all, 25 a write."""
    rows = [replace(worker, instance_id=i, url=f"{worker.url}{i}") for i in range(2, n_workers + 1)]
    puts = [{"PutRequest": {"Item": to_item(row)}} for row in rows]
    for i in range(0, len(puts), 25):
        dynamodb.batch_write_item(
            RequestItems={f"{TABLE_PREFIX}-workers": puts[i : i + 25]}  # type: ignore[dict-item]
        )

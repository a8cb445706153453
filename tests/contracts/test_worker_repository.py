"""Worker rows: one suite for the fake and for DynamoDB."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.adapters.aws.workers.items import from_item, to_item
from chalicelib.adapters.aws.workers.repository import DynamoWorkerRepository
from chalicelib.core.model.autogroup import TicketGeneration
from chalicelib.core.model.usage import ALL, MAX_ENTRIES
from chalicelib.core.model.warmth import CacheUse
from chalicelib.core.model.worker import AfterDrain, Worker, WorkerState
from chalicelib.ports.errors import ConflictError, NotFoundError
from chalicelib.ports.worker_repository import (
    Grant,
    Refusal,
    Reservation,
    WorkerRepository,
)
from chalicelib.wire.reports import CONTENT_HASH_CHARS
from fakes.aws.dynamodb import timed_dynamodb
from fakes.bundles.hot_ports import ENDPOINT_ID, make_worker
from fakes.ports.worker_repository import FakeWorkerRepository

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

NOW = 1_800_000_000.5


@pytest.fixture(params=["memory", "dynamo", "dynamo in virtual time"])
def workers(request: pytest.FixtureRequest) -> WorkerRepository:
    if request.param == "memory":
        return FakeWorkerRepository()
    if request.param == "dynamo in virtual time":
        return DynamoWorkerRepository(timed_dynamodb(stale_share=0, burst_s=300), "ballast-test")
    client: DynamoDBClient = request.getfixturevalue("dynamodb")
    return DynamoWorkerRepository(client, "ballast-test")


MAX_MARKS = 9  # tests/core/test_reports.py: more are never kept


def full_worker() -> Worker:
    """A row with every field set, as large as rows get."""
    return make_worker(
        30_123_456,
        NOW,
        token="f" * 22,
        key_id="a1b2c3d4",
        machine_id=123_456,
        host_id=98_765,
        gpu_name="RTX PRO 6000 WS",
        num_gpus=8,
        dlperf=1234.56,
        usd_per_hour=12.345678,
        storage_usd_per_hour=0.012345,
        template_revision=12,
        url="https://255.255.255.255:65535",
        uses_ssl=False,
        worker_port=65_535,
        contract_ends_at=NOW + 1e6,
        state=WorkerState.DRAINING,
        after_drain=AfterDrain.DESTROY,
        drain_by=NOW + 60,
        n_start_refusals=2,
        reqnum=1_234_567,
        granted_load=123_456_789.25,
        expired_load=1_234_567.25,
        unused=(1_234.5, 88.5),
        uses=tuple((key, 200, 128.0, 512.0) for key in (*range(MAX_ENTRIES), ALL)),
        retry_load=1_000.5,
        n_late=17,
        n_refused=1_234,
        cache=CacheUse(2.0**20, 51 / 255, 17 / 255),
        report_hash="0" * CONTENT_HASH_CHARS,
        boot_id="0123456789abcdef",
        report_seq=1_800_000_000_123,
        ticket=TicketGeneration.D,
        perf=4637.972443,
        observed_perf=4000.123456,
        working_load=1_000.5,
        n_working=10,
        slots=10,
        received_load=123_456_700.25,
        finished_load=123_455_700.25,
        n_received=1_234_500,
        rejected_load=11.5,
        unseen_load=88.5,
        load_rate=3_999.123456,
        granted_marks=tuple((NOW - 4 * i, 1e8 - i) for i in range(MAX_MARKS, 0, -1)),
        disk_usage_gb=25.741,
        certificate_sha256="ab" * 32,
    )


def test_a_row_comes_back_as_it_was_added(workers: WorkerRepository) -> None:
    for worker in (full_worker(), make_worker(1, NOW)):
        workers.add(worker)
        assert workers.find(ENDPOINT_ID, worker.instance_id) == worker


def test_rows_of_a_group_are_listed_by_instance_id(workers: WorkerRepository) -> None:
    for instance_id in (30, 4, 200):
        workers.add(make_worker(instance_id, NOW))
    workers.add(make_worker(5, NOW, endpoint_id=8))
    assert [w.instance_id for w in workers.list(ENDPOINT_ID)] == [4, 30, 200]
    assert workers.list(99) == []


def test_a_row_is_added_once(workers: WorkerRepository) -> None:
    workers.add(make_worker(1, NOW))
    with pytest.raises(ConflictError):
        workers.add(make_worker(1, NOW))


def test_a_mark_stays_as_exact_as_the_time_of_its_report(workers: WorkerRepository) -> None:
    """Rounding one of them would count all grants as made since the report."""
    at, load = 1_800_000_000.123456789, 0.1 + 0.2
    workers.add(make_worker(1, NOW, reported_at=at, granted_marks=((at, load),)))
    row = workers.find(ENDPOINT_ID, 1)
    assert row is not None
    assert row.granted_marks == ((row.reported_at, load),)


def test_a_reservation_counts_up_and_says_to_what(workers: WorkerRepository) -> None:
    workers.add(make_worker(1, NOW))
    assert workers.reserve(ENDPOINT_ID, 1, Grant(cost=7.5)) == Reservation(1, 7.5)
    late_retry = Grant(cost=100, bound=7.5, is_retry=True, is_late=True, n_refused=3)
    assert workers.reserve(ENDPOINT_ID, 1, late_retry) == Reservation(2, 107.5)
    row = workers.find(ENDPOINT_ID, 1)
    assert row is not None
    assert (row.reqnum, row.granted_load, row.retry_load, row.n_late) == (2, 107.5, 100, 1)
    assert row.n_refused == 3


def test_a_reservation_over_its_bound_is_refused_with_the_row(workers: WorkerRepository) -> None:
    workers.add(make_worker(1, NOW, granted_load=50.0))
    refusal = workers.reserve(ENDPOINT_ID, 1, Grant(cost=1, bound=49.5))
    assert isinstance(refusal, Refusal)
    assert refusal.worker == make_worker(1, NOW, granted_load=50.0)
    assert workers.reserve(ENDPOINT_ID, 1, Grant(cost=1, bound=50)) == Reservation(1, 51)


@pytest.mark.parametrize("state", [s for s in WorkerState if s is not WorkerState.READY])
def test_only_a_ready_worker_is_reserved(workers: WorkerRepository, state: WorkerState) -> None:
    workers.add(make_worker(1, NOW, state=state))
    refusal = workers.reserve(ENDPOINT_ID, 1, Grant(cost=1))
    assert isinstance(refusal, Refusal)
    assert refusal.worker is not None
    assert refusal.worker.state is state


def test_a_row_that_is_gone_refuses_with_nothing(workers: WorkerRepository) -> None:
    assert workers.reserve(ENDPOINT_ID, 1, Grant(cost=1)) == Refusal(None)
    assert workers.find(ENDPOINT_ID, 1) is None


def test_an_update_changes_what_it_names_and_gives_the_row(workers: WorkerRepository) -> None:
    worker = full_worker()
    workers.add(worker)
    changes: dict[str, object] = {
        "state": WorkerState.READY,
        "after_drain": None,
        "drain_by": None,
        "error": "broken",
        "working_load": 0.0,
        "granted_marks": ((NOW, 3.25),),
        "ticket": TicketGeneration.A,
        "n_working": 0,
    }
    expected = replace(worker, **changes)  # type: ignore[arg-type]
    assert workers.update(ENDPOINT_ID, worker.instance_id, changes) == expected
    assert workers.find(ENDPOINT_ID, worker.instance_id) == expected


def test_an_update_never_touches_what_reservations_count(workers: WorkerRepository) -> None:
    workers.add(make_worker(1, NOW))
    workers.reserve(ENDPOINT_ID, 1, Grant(cost=5))
    assert workers.update(ENDPOINT_ID, 1, {"error": "x"}).granted_load == 5
    with pytest.raises(ValueError, match="reqnum"):
        workers.update(ENDPOINT_ID, 1, {"reqnum": 9})


def test_updates_are_held_to_their_conditions(workers: WorkerRepository) -> None:
    workers.add(make_worker(1, NOW, report_hash="abc"))
    for wrong in ({"if_state": WorkerState.DRAINING}, {"if_report": ("", 0, "other")}):
        with pytest.raises(ConflictError):
            workers.update(ENDPOINT_ID, 1, {"error": "x"}, **wrong)
    updated = workers.update(
        ENDPOINT_ID, 1, {"error": "x"}, if_state=WorkerState.READY, if_report=("", 0, "abc")
    )
    assert updated.error == "x"


def test_a_missing_row_is_neither_updated_nor_made(workers: WorkerRepository) -> None:
    with pytest.raises(NotFoundError):
        workers.update(ENDPOINT_ID, 1, {"error": "x"})
    with pytest.raises(NotFoundError):
        workers.update(ENDPOINT_ID, 1, {"error": ""}, if_state=WorkerState.READY)
    assert workers.list(ENDPOINT_ID) == []


def test_a_row_can_be_forgotten_twice(workers: WorkerRepository) -> None:
    workers.add(make_worker(1, NOW))
    workers.remove(ENDPOINT_ID, 1)
    workers.remove(ENDPOINT_ID, 1)
    assert workers.find(ENDPOINT_ID, 1) is None


def test_the_largest_row_stays_below_one_kilobyte() -> None:
    """Beyond it a grant would cost two write units. Sizes as DynamoDB counts them."""
    item = to_item(full_worker())
    size = 0
    for name, attribute in item.items():
        size += len(name)
        if "S" in attribute:
            size += len(attribute["S"].encode())
        elif "B" in attribute:
            size += len(bytes(attribute["B"]))
        elif "BOOL" in attribute:
            size += 1
        else:
            digits = attribute["N"].replace(".", "").replace("-", "").strip("0")
            size += len(digits) // 2 + 2
    assert size < 1_024


def test_rows_of_another_version_are_understood() -> None:
    """Unknown attributes are left out; missing ones are defaults."""
    item = to_item(make_worker(1, NOW))
    assert from_item({**item, "of_the_future": {"S": "x"}}) == make_worker(1, NOW)
    assert {f.name for f in fields(Worker)} >= set(item)

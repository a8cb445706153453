"""Reports of every generation as they were captured, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.wire.json_body import WireError
from chalicelib.wire.reports import FinishedReport, WorkerReport

A = {
    "id": 9002,
    "loadtime": 5.985950946807861,
    "cur_load": 12.5,
    "error_msg": "",
    "max_perf": 4637.972443992304,
    "cur_perf": 800.0,
    "cur_capacity": 0,
    "max_capacity": 0,
    "num_requests_working": 2,
    "num_requests_recieved": 17,
    "additional_disk_usage": -0.000255584716796875,
    "url": "http://127.0.0.1:13002",
}
C = {
    "id": 1,
    "mtoken": "t1",
    "version": "1.1.0",
    "loadtime": 10.23,
    "cur_load": 100.0,
    "rej_load": 11.0,
    "new_load": 90.0,
    "error_msg": "",
    "max_perf": 1.0,
    "cur_perf": 50,
    "cur_capacity": 0,
    "max_capacity": 0,
    "num_requests_working": 1,
    "num_requests_recieved": 7,
    "additional_disk_usage": 0.0,
    "disk_usage": 25.74,
    "working_request_idxs": [200],
    "url": "http://127.0.0.1:13101",
}
D = {
    **C,
    "ticket": "D",
    "boot_id": "0123456789abcdef",
    "seq": 1_800_000_000_001,
    "slots": 8,
    "received_load": 1_000.0,
    "finished_load": 900.0,
    "rejected_load": 11.0,
    "certificate_sha256": "ab" * 32,
}


def read(fields: dict[str, object]) -> WorkerReport:
    return WorkerReport.from_json(json.dumps(fields).encode())


def test_generation_a_says_rates_and_has_no_version() -> None:
    report = read(A)
    assert report.generation == "A"
    assert (report.arrival_rate, report.working_load, report.arrived_load) == (12.5, None, None)
    assert (report.perf, report.n_working, report.n_received) == (A["max_perf"], 2, 17)
    assert report.served_load is None  # cur_perf of A is the rate of its last request


def test_generation_c_says_stocks_and_flows() -> None:
    report = read(C)
    assert (report.generation, report.token) == ("C", "t1")
    assert (report.working_load, report.arrived_load, report.served_load) == (100, 90, 50)
    assert (report.rejected_load, report.arrival_rate, report.disk_usage_gb) == (11, None, 25.74)


@pytest.mark.parametrize("boot_id", ["", "0" * 16, "0123", "g" * 16, "0123456789abcdef\n", 7])
def test_a_boot_id_that_no_ticket_can_be_bound_to_is_none(boot_id: object) -> None:
    assert read({**D, "boot_id": boot_id}).boot_id == ""


def test_generation_d_says_totals_since_its_boot() -> None:
    report = read(D)
    assert (report.generation, report.boot_id, report.seq) == ("D", D["boot_id"], D["seq"])
    assert (report.received_total, report.finished_total, report.rejected_total) == (1000, 900, 11)
    assert (report.arrived_load, report.served_load, report.slots) == (None, None, 8)
    assert report.certificate_sha256 == "ab" * 32


@pytest.mark.parametrize(
    ("version", "generation"),
    [
        ("0.2.0", "B"),
        ("0.3.0", "B"),
        ("1.0.0", "B"),
        ("1.0.1", "B"),
        ("1.1.0", "C"),
        ("1.9.1", "C"),
        ("2.0.0", "C"),
        ("0.0.1", "C"),
        ("dev", "B"),
    ],
)
def test_the_version_tells_the_generation(version: str, generation: str) -> None:
    assert read({**C, "version": version}).generation == generation


def test_a_start_scripts_report_says_its_error_and_no_generation() -> None:
    """Its `version` is the script's variable, and it quotes the id."""
    body: dict[str, object] = {
        "id": "31",
        "mtoken": "t",
        "version": "0",
        "error_msg": "no torch",
        "url": "http://x",
    }
    report = read(body)
    assert (report.worker_id, report.error, report.generation) == (31, "no torch", None)
    assert report.perf is None


@pytest.mark.parametrize("message", [{"loaded": True}, {"loadtime": 3.0, "max_perf": 12}, {}])
def test_partial_reports_of_generation_zero_are_understood(message: dict[str, object]) -> None:
    assert read({"id": 5, "mtoken": "t", **message}).generation is None


def test_the_same_body_has_the_same_hash_and_another_has_another() -> None:
    assert read(C).content_hash == read(C).content_hash
    assert read(C).content_hash != read({**C, "cur_load": 101.0}).content_hash


@pytest.mark.parametrize("field", ["cur_load", "max_perf", "num_requests_working", "seq"])
@pytest.mark.parametrize("value", [-1, 1e308, "1", True, [1]])
def test_numbers_out_of_bounds_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(WireError, match=field):
        read({**D, field: value})


@pytest.mark.parametrize(
    "value", ["-1", "-1e-9", "1e16", "1e308", "1e999", "Infinity", "NaN", "9" * 400]
)
@pytest.mark.parametrize(
    ("fields", "generation"), [(A, "A"), ({**C, "version": "0.3.0"}, "B"), (C, "C")]
)
def test_what_a_client_made_a_vendors_worker_count_costs_no_report(
    fields: dict[str, object], generation: str, value: str
) -> None:
    """A session's cost of 1e16 had each of its reports refused: silent, and replaced."""
    body = json.dumps({**fields, "cur_load": "@", "new_load": "@"}).replace('"@"', value)
    report = WorkerReport.from_json(body)
    assert report.generation == generation
    assert (report.working_load, report.arrived_load, report.arrival_rate) == (None, None, None)
    whole = read(fields)
    assert (report.perf, report.n_working, report.token) == (
        whole.perf,
        whole.n_working,
        whole.token,
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"null",
        b'{"id": 0}',
        b'{"id": "x"}',
        b'{"id": 1, "max_perf": NaN}',
        b'{"id": 1, "max_perf": Infinity}',
        b"\xff\xfe",
        b'{"id": 1, "x": "' + b"x" * 300_000 + b'"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_report_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        WorkerReport.from_json(body)


@given(
    st.dictionaries(
        st.sampled_from([*D, "whatever"]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(allow_nan=False, allow_infinity=False),
            st.text(),
            st.lists(st.integers()),
        ),
    )
)
def test_any_object_is_a_report_or_refused(fields: dict[str, object]) -> None:
    try:
        report = read(fields)
    except WireError:
        return
    assert report.worker_id > 0


def test_finished_requests_of_the_sdk() -> None:
    entry = {
        "request_idx": 301,
        "success": True,
        "status": "Success",
        "entered_queue_at": 1795285020.7128,
        "work_started_at": 1795285022.6726,
        "work_completed_at": 1795285023.6760,
    }
    body = {"worker_id": 1, "mtoken": "t1", "requests": [entry, {"request_idx": None}, "junk"]}
    report = FinishedReport.from_json(json.dumps(body).encode())
    assert (report.worker_id, report.token, len(report.requests)) == (1, "t1", 1)
    assert report.requests[0].status == "Success"


@pytest.mark.parametrize(
    "idx", ["9" * 400, "NaN", "-Infinity", '"\\ud800"', "[" * 40 + "]" * 40, '{"\\udfff": 1}']
)
def test_an_idx_that_a_caller_made_up_keeps_no_other_untold(idx: str) -> None:
    """C signs no request_idx, and vastai 1.9.1 tells all again until they are taken together."""
    good = {"request_idx": 301, "status": "Success"}
    body = json.dumps({"worker_id": 1, "requests": ["@", good]}).replace(
        '"@"', f'{{"request_idx": {idx}, "status": "Success"}}'
    )
    assert [one.request_idx for one in FinishedReport.from_json(body).requests] == [301]
    working = json.dumps({**C, "working_request_idxs": ["@", 301]}).replace('"@"', idx)
    assert read(C).working_load == WorkerReport.from_json(working).working_load


def test_an_idx_may_be_as_large_as_ours_are() -> None:
    body = {"worker_id": 1, "requests": [{"request_idx": 2**53 - 1, "status": "Success"}]}
    report = FinishedReport.from_json(json.dumps(body))
    assert report.requests[0].request_idx == 2**53 - 1


@pytest.mark.parametrize(("success", "status"), [(True, "Success"), (False, "Error")])
def test_finished_requests_of_mid_2025(success: bool, status: str) -> None:
    body = {"worker_id": 1, "request_idxs": [5, 6], "success": success}
    report = FinishedReport.from_json(json.dumps(body).encode())
    assert [(r.request_idx, r.status) for r in report.requests] == [(5, status), (6, status)]


@pytest.mark.parametrize("field", ["requests", "request_idxs"])
def test_finished_requests_must_be_a_list(field: str) -> None:
    with pytest.raises(WireError, match=field):
        FinishedReport.from_json(json.dumps({"worker_id": 1, field: 7}).encode())

"""Logs, workers, stats, series and events, in the shapes that the vendor's peers read."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chalicelib.core.model.autogroup import TicketGeneration
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.ports.event_log import Event
from tests.api.over_fakes import Api

LEVELS = {"info0", "info1", "trace", "debug"}


def make_worker(api: Api, instance_id: int = 7, **fields: object) -> Worker:
    """A ready worker of endpoint 100, in the store."""
    values: dict[str, object] = {
        "endpoint_id": 100, "instance_id": instance_id, "autogroup_id": 101, "created_at": 1.0,
        "gpu_name": "RTX 4090", "state": WorkerState.READY, "perf": 40.0, "usd_per_hour": 0.5,
        "url": "https://203.0.113.9:40000", "reported_at": api.clock.now(),
        "storage_usd_per_hour": 0.01, "dlperf": 90.0, **fields,
    }  # fmt: skip
    worker = Worker(**values)  # type: ignore[arg-type]  # the tests name real fields
    api.workers.add(worker)
    return worker


@pytest.fixture
def fleet(api: Api) -> Api:
    """Endpoint 100 with autogroup 101, one ready and one stopped worker."""
    assert api.create_endpoint("llm") == 100
    assert api.create_autogroup(100) == 101
    make_worker(api, ticket=TicketGeneration.C, reqnum=9, n_working=2)
    make_worker(api, 8, state=WorkerState.STOPPED, perf=0.0)
    return api


@pytest.mark.parametrize("path", ["/get_endpoint_workers/", "//get_endpoint_workers/"])
def test_workers_are_a_bare_list_without_nulls(fleet: Api, path: str) -> None:
    rows = fleet.call("POST", path, {"id": 100}).json
    assert isinstance(rows, list)
    ready, cold = rows
    assert (ready["id"], ready["status"], ready["measured_perf"]) == (7, "idle", 40.0)
    assert (cold["status"], cold["measured_perf"]) == ("stopped", 90.0)
    assert None not in [*ready.values(), *cold.values()]


def test_the_sdk_sends_the_key_in_the_body_only(fleet: Api) -> None:
    answer = fleet.call(
        "POST", "/get_endpoint_workers/", {"id": 100, "api_key": fleet.key}, key=None
    )
    assert len(answer.json) == 2


@pytest.mark.parametrize("name", ["autogroup", "workergroup"])
def test_an_autogroup_has_the_same_reads_under_both_names(fleet: Api, name: str) -> None:
    make_worker(fleet, 9, autogroup_id=999)
    assert len(fleet.call("POST", f"/get_{name}_workers/", {"id": 101}).json) == 2
    assert set(fleet.call("POST", f"/get_{name}_logs/", {"id": 101}).json) == LEVELS
    assert fleet.call("POST", f"/get_{name}_stats/", {"id": 101}).json["nworkers"] == 2


def test_logs_have_four_levels_and_a_tail_by_lines(fleet: Api) -> None:
    reason = {"code": "explore", "facts": {"missing": 2, "test_workers": 5}}
    fleet.events.append(
        [
            Event(
                at=5.0, scope="endpoint:100", level="info1", kind="decision",
                message="rent offer 3", facts={"reason": reason},
            )
        ]
    )  # fmt: skip
    whole = fleet.call("POST", "/get_endpoint_logs/", {"endpoint": "llm", "tail": -1}).json
    assert set(whole) == LEVELS
    assert "endpoint group llm created" in whole["info0"]
    assert "2 of 5 test workers missing" in whole["info1"]
    assert "rent offer 3" not in whole["info0"]
    for tail in (0, 1, 5, 77):
        cut = fleet.call("POST", "/get_endpoint_logs/", {"id": 100, "tail": tail}).json
        for level in LEVELS:
            rows = whole[level].splitlines(keepends=True)
            assert cut[level] == "".join(rows[-tail:] if tail else ())


def test_stats_sum_up_the_workers(fleet: Api) -> None:
    minute = int(fleet.clock.now() // 60) - 1
    fleet.series.put("endpoint:100", minute, {"reqrate": 2.5, "late_share": 0.1})
    stats = fleet.call("POST", "/get_endpoint_stats/", {"id": 100}).json
    assert {k: stats[k] for k in ("id", "endpoint", "nworkers", "totreqs", "capacity")} == {
        "id": 100, "endpoint": "llm", "nworkers": 2, "totreqs": 9, "capacity": 40.0
    }  # fmt: skip
    assert (stats["reqrate"], stats["late_share"], stats["reliable"]) == (2.5, 0.1, 1.0)
    assert stats["usd_per_hour"] == pytest.approx(0.51)


def test_a_metric_is_a_time_series(fleet: Api) -> None:
    now = fleet.clock.now()
    for minute in (int(now // 60) - 2, int(now // 60) - 1):
        fleet.series.put("endpoint:100", minute, {"usd_per_hour": minute % 2 + 1.0})
    body = {"id": 100, "metric_name": "usd_per_hour", "t1": now - 600, "t2": now}
    points = fleet.call("POST", "/get_endpoint_stats/", body).json["points"]
    assert len(points) == 2
    assert points[0][0] < points[1][0]
    body = {**body, "t1": now, "t2": now - 600}
    assert fleet.call("POST", "/get_endpoint_stats/", body).status == 400


def test_series_are_columns_thinned_to_so_many_points(fleet: Api) -> None:
    now = fleet.clock.now()
    for k in range(120):
        fleet.series.put("endpoint:100", int(now // 60) - k, {"ready": 2.0, "cold": float(k % 2)})
    path = f"/api/v0/series?endpoint_id=100&t1={now - 7200}&t2={now}&max_points=10"
    answer = fleet.call("GET", path).json
    assert 2 <= len(answer["t"]) <= 10
    assert answer["t"] == sorted(answer["t"])
    assert set(answer["values"]["ready"]) == {2.0}
    assert all(0 <= value <= 1 for value in answer["values"]["cold"])


def test_events_come_newest_first_and_by_kind(fleet: Api) -> None:
    rows = fleet.call("GET", "/api/v0/events?endpoint_id=100").json["events"]
    assert [row["kind"] for row in rows] == ["changed_autogroup", "changed_endpoint"]
    rows = fleet.call("GET", "/api/v0/events?endpoint_id=100&kinds=changed_endpoint").json["events"]
    assert len(rows) == 1
    refused = fleet.call("GET", "/api/v0/events?endpoint_id=100&since=-5")
    assert refused.status == 400
    assert "since: -5" in refused.json["msg"]
    assert fleet.call("GET", "/api/v0/events?account=1").json["events"]


def test_updating_workers_starts_and_cancels_a_rollout(fleet: Api) -> None:
    started = fleet.call("POST", "/update_workers/", {"workergroup_id": 101, "api_key": fleet.key})
    assert started.json == {"success": True, "workers_to_update": 2}
    assert fleet.groups.autogroups[101].rollout_by is not None
    cancel = {"workergroup_id": 101, "cancel_update": True}
    assert fleet.call("POST", "/update_workers/", cancel).json == {
        "success": True,
        "cancelled": True,
    }
    again = fleet.call("POST", "/update_workers/", cancel)
    assert (again.status, again.json["success"]) == (200, False)
    assert "error_msg" in again.json


def test_prometheus_reads_every_groups_figures(fleet: Api) -> None:
    fleet.create_endpoint("second one")
    answer = fleet.call("GET", "/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {one.name: one for one in text_string_to_metric_families(answer.text)}
    assert {one.type for one in families.values()} == {"gauge"}
    capacity = {s.labels["endpoint"]: s.value for s in families["ballast_capacity"].samples}
    assert capacity["llm"] == 40.0
    assert len(capacity) == 2
    (spent,) = families["ballast_spent_today_usd"].samples
    assert (spent.labels, spent.value) == ({}, 0.0)


def test_health_and_the_root_certificate_need_no_key(api: Api) -> None:
    assert api.call("GET", "/health", key=None).json["success"] is True
    answer = api.call("GET", "/static/jvastai_root.cer", key=None)
    assert answer.text.startswith("-----BEGIN CERTIFICATE-----")


def test_the_dashboard_with_a_slash_leads_to_the_one_without(api: Api) -> None:
    """The page's addresses are relative to /dashboard; below /dashboard/ they would miss."""
    answer = api.call("GET", "/dashboard/", key=None)
    assert (answer.status, answer.headers["Location"]) == (301, "../dashboard")
    assert api.call("GET", "/dashboard", key=None).status == 200


def test_the_dashboards_files_come_with_a_strict_policy(api: Api) -> None:
    for name in ("../settings.py", "..%2Fsettings.py", "nothing.js"):
        assert api.call("GET", f"/dashboard/{name}", key=None).status == 404


def test_an_update_of_a_full_group_warns(fleet: Api) -> None:
    body = {"workergroup_id": 101}
    assert "warnings" not in fleet.call("POST", "/update_workers/", body).json
    fleet.call("PUT", "/api/v0/endptjobs/100/", {"max_workers": 2})
    [warning] = fleet.call("POST", "/update_workers/", body).json["warnings"]
    assert "raise it by one to replace without a gap" in warning


def test_an_update_of_a_group_at_rest_warns(api: Api) -> None:
    """Nobody takes over from stopped workers: who asks next waits for a first load."""
    api.create_autogroup(api.create_endpoint("llm"))
    make_worker(api, state=WorkerState.STOPPED, perf=0.0)
    answer = api.call("POST", "/update_workers/", {"workergroup_id": 101}).json
    [warning] = answer["warnings"]
    assert "wait for a first load" in warning

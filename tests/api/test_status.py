"""Status: groups, workers, money, doubts, and figures that are as new as the last round."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.fleet.inventory import Inventory
from chalicelib.core.model.load import WaitingRequest
from chalicelib.core.model.warmth import CacheUse
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.round_memory import RoundMemory
from chalicelib.ports.event_log import Event
from chalicelib.ports.worker_repository import Grant
from tests.api.over_fakes import Api
from tests.api.test_observability import make_worker


@pytest.fixture
def fleet(api: Api) -> Api:
    """Endpoint 100 with autogroup 101 and a ready worker 7."""
    api.create_endpoint("llm")
    api.create_autogroup(100)
    make_worker(api)
    return api


def test_status_tells_groups_workers_money_and_doubts(fleet: Api) -> None:
    status = fleet.call("GET", "/api/v0/status").json
    assert (status["stage"], status["is_simulated"]) == ("test", True)
    assert status["account"]["inventory"]["state"] == "none"
    assert status["account"]["caps"]["usd_per_hour"] == 5.0
    (group,) = status["groups"]
    assert (group["health"], group["workers_by_state"]) == ("ok", {"ready": 1})
    assert group["ready_by_gpu"] == {"1x RTX 4090": 40.0}
    assert group["money"]["usd_per_hour"] == 0.5
    assert group["autogroups"][0]["share"] == 1.0
    assert group["interruptible"] is None


def test_machines_at_bids_are_told_with_their_bids_and_what_they_stand_in_for(fleet: Api) -> None:
    bid: dict[str, object] = {"is_bid": True, "bid_usd_per_hour": 0.3}
    make_worker(fleet, 8, **bid, on_demand_usd_per_hour=0.6)
    make_worker(fleet, 9, state=WorkerState.PAUSED, **{**bid, "bid_usd_per_hour": 0.2})
    (group,) = fleet.call("GET", "/api/v0/status").json["groups"]
    assert group["interruptible"] == {
        "n_held": 2,
        "n_outbid": 1,
        "mean_bid_usd_per_hour": pytest.approx(0.25),
        "mean_on_demand_usd_per_hour": pytest.approx(0.6),
    }
    rows = {
        row["id"]: row for row in fleet.call("POST", "/get_endpoint_workers/", {"id": 100}).json
    }
    assert [rows[n]["is_outbid"] for n in (7, 8, 9)] == [False, False, True]
    assert rows[8]["on_demand_usd_per_hour"] == 0.6


def test_what_caches_held_is_told_of_those_that_tell(fleet: Api) -> None:
    def told() -> object:
        (group,) = fleet.call("GET", "/api/v0/status").json["groups"]
        return group["cache"]

    assert told() == {"hit_share": None, "spared_share": None}
    assert "cache_hit_share" not in fleet.call("POST", "/get_endpoint_stats/", {"id": 100}).json
    fleet.workers.reserve(100, 7, Grant(cost=50.0))
    marks = ((fleet.clock.now() - 60, 0.0),)
    cache = CacheUse(4_000, 0.25, 0.1)
    fleet.workers.update(100, 7, {"cache": cache, "granted_marks": marks})
    assert told() == {"hit_share": 0.25, "spared_share": pytest.approx(0.1)}
    stats = fleet.call("POST", "/get_endpoint_stats/", {"id": 100}).json
    assert stats["cache_hit_share"] == 0.25
    assert b"ballast_cache_hit_share" in fleet.call("GET", "/metrics").text.encode()
    (row,) = fleet.call("GET", "/api/v0/compare?endpoint_id=100").json["rows"]
    assert row["cache_hit_share"] == 0.25


def test_the_last_decision_is_the_one_with_a_cause_and_not_the_end_of_a_drain(fleet: Api) -> None:
    def decide(at: float, code: str) -> None:
        facts = {"reason": {"code": code}}
        event = Event(
            at=at, scope="endpoint:100", level="info1", kind="decision", message=code, facts=facts
        )
        fleet.events.append([event])

    def told() -> object:
        return fleet.call("GET", "/api/v0/status").json["groups"][0]["last_decision"]["message"]

    now = fleet.clock.now()
    decide(now - 9, "drained")
    assert told() == "drained"
    decide(now - 8, "idle_surplus")
    decide(now - 7, "drained")
    assert told() == "idle_surplus"


@pytest.mark.parametrize(
    "path", ["/api/v0/status", "/api/v0/autojobs/101/", "/api/v0/autojobs/", "/api/v0/workergroups"]
)
def test_it_is_told_how_far_the_exploration_of_machine_types_is(fleet: Api, path: str) -> None:
    fleet.call("PUT", "/api/v0/autojobs/101/", {"test_workers": 5})

    def exploration() -> object:
        answer = fleet.call("GET", path).json
        if "groups" in answer:
            return answer["groups"][0]["autogroups"][0]["exploration"]
        row = answer["result"] if "result" in answer else answer["results"][0]
        return row["exploration"]

    exploring = {"phase": "exploring", "n_loaded": 0, "n_needed": 2, "ended_at": None}
    assert exploration() == exploring
    fleet.workers.rows[100, 7] = replace(fleet.workers.rows[100, 7], loaded_at=5.0)
    assert exploration() == exploring | {"n_loaded": 1}
    memory = RoundMemory(groups={"100": {"explored": {"101": 9.0}}})
    fleet.ledger._blobs["round"] = memory.to_bytes()
    assert exploration() == exploring | {"n_loaded": 1, "phase": "over", "ended_at": 9.0}
    fleet.ledger._blobs.clear()
    answer = fleet.call("PUT", "/api/v0/autojobs/101/", {"state": "paused"}).json
    assert (
        exploration()
        == answer["autogroup"]["exploration"]
        == exploring
        | {
            "n_loaded": 1,
            "phase": "off",
        }
    )


def test_status_says_when_clients_suffer_and_why_nothing_is_done(fleet: Api) -> None:
    now = fleet.clock.now()
    fleet.workers.rows.clear()
    fleet.waiting.put(
        WaitingRequest(
            endpoint_id=100, request_idx=5, cost=10.0, first_seen_at=now - 9, last_polled_at=now
        )
    )
    memory = RoundMemory(at=now, inventory=Inventory(is_known=False, problem="time-out"))
    fleet.ledger._blobs["round"] = memory.to_bytes()
    fleet.ledger.set_flags(is_frozen=True)
    (group,) = fleet.call("GET", "/api/v0/status?endpoint_id=100").json["groups"]
    assert group["health"] == "bad"
    assert group["health_reasons"][0] == "1 request waiting, no worker is ready; none coming"
    assert "frozen" in group["health_reasons"][1]
    assert (group["queue"]["n_waiting"], group["queue"]["oldest_wait_s"]) == (1, 9.0)
    assert group["queue"]["queue_time_s"] is None, "nobody can say, and 0 s would be untrue"


def test_a_floor_without_an_autogroup_is_told_as_what_it_is(fleet: Api) -> None:
    """That none is coming sent its owner to look for offers."""
    fleet.workers.rows.clear()
    for autogroup in fleet.groups.list_autogroups(100):
        fleet.groups.remove_autogroup(autogroup.autogroup_id)
    now = fleet.clock.now()
    request = WaitingRequest(
        endpoint_id=100, request_idx=5, cost=10.0, first_seen_at=now, last_polled_at=now
    )
    fleet.waiting.put(request)
    (group,) = fleet.call("GET", "/api/v0/status?endpoint_id=100").json["groups"]
    assert "none coming: the group has no autogroup; create one" in group["health_reasons"][0]


def test_status_and_stats_show_the_minute_in_progress_not_the_one_before(fleet: Api) -> None:
    minute = int(fleet.clock.now() // 60)
    fleet.series.put("endpoint:100", minute - 1, {"arriving_load": 4.0, "queue_time_s": 0.0})
    sums = {"minute": float(minute), "elapsed_s": 20.0, "arrived_load": 6000.0, "queue_time_s": 9.0,
            "n_started": 10.0, "n_late": 5.0, "totreqs": 40.0}  # fmt: skip
    memory = RoundMemory(at=fleet.clock.now(), minutes={"endpoint:100": sums})
    fleet.ledger._blobs["round"] = memory.to_bytes()
    (group,) = fleet.call("GET", "/api/v0/status").json["groups"]
    assert group["load"]["arriving"] == 300.0
    assert (group["queue"]["queue_time_s"], group["queue"]["late_share"]) == (9.0, 0.5)
    stats = fleet.call("POST", "/get_endpoint_stats/", {"id": 100}).json
    assert (stats["reqrate"], stats["late_share"]) == (2.0, 0.5)


def test_rates_of_a_minute_that_has_just_begun_are_those_of_the_one_before(fleet: Api) -> None:
    minute = int(fleet.clock.now() // 60)
    fleet.series.put("endpoint:100", minute - 1, {"arriving_load": 4.0, "queue_time_s": 0.0})
    sums = {"minute": float(minute), "elapsed_s": 2.0, "arrived_load": 600.0, "queue_time_s": 9.0}
    memory = RoundMemory(at=fleet.clock.now(), minutes={"endpoint:100": sums})
    fleet.ledger._blobs["round"] = memory.to_bytes()
    (group,) = fleet.call("GET", "/api/v0/status").json["groups"]
    assert (group["load"]["arriving"], group["queue"]["queue_time_s"]) == (4.0, 9.0)

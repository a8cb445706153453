"""Status, plan, explain, spend, brakes, rollouts, keys and the console's corner."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chalicelib.core.model.autogroup import AutogroupState
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.money.account import Account
from chalicelib.core.scaling.round_memory import RoundMemory
from chalicelib.ports.errors import StorageUnavailableError
from chalicelib.ports.event_log import Event
from chalicelib.ports.marketplace import MarketplaceUnavailableError, RefusedError
from chalicelib.ports.worker_repository import Grant
from tests.api.over_fakes import Api
from tests.api.test_observability import make_worker

OFFER = {
    "offer_id": 3,
    "gpu_type": "1x RTX 4090",
    "usd_per_hour": 0.4,
    "storage_usd_per_hour": 0.01,
}
REASON = {
    "code": "hot_short",
    "facts": {"had": 0.0, "wanted": 111.1, "term": "min_load"},
    "beaten": ["offer 4"],
}


@pytest.fixture
def fleet(api: Api) -> Api:
    """Endpoint 100 with autogroup 101 and a ready worker 7."""
    api.create_endpoint("llm")
    api.create_autogroup(100)
    make_worker(api)
    return api


def account(api: Api) -> Account:
    """The account item as it is now."""
    return api.ledger.account()


@pytest.mark.parametrize(
    ("template", "warned"),
    [
        (None, "Vast knows no template 'abc'"),
        ({"env_names": ["MODEL_ID"]}, "no HF_TOKEN"),
        ({"env_names": ["MODEL_ID", "HF_TOKEN"]}, None),
        ({"env_names": []}, None),
        ({"image": "vllm/vllm-openai:latest"}, "may be another one tomorrow"),
        ({"image": "vllm/vllm-openai:v0.32.0"}, None),
    ],
)
def test_a_create_warns_of_its_template_before_anything_is_rented(
    fleet: Api, template: object, warned: str | None
) -> None:
    fleet.poke.answers["template"] = {"template": template}
    body = {"endpoint_id": 100, "template_hash": "abc", "weight": 2}
    warnings = fleet.call("POST", "/api/v0/autojobs/", body).json["warnings"]
    assert len(warnings) == (warned is not None)
    assert warned is None or warned in warnings[0]


def test_a_key_of_one_group_sees_only_its_status(fleet: Api) -> None:
    other = fleet.create_endpoint("other")
    key = fleet.new_key("read", endpoint_id=other)
    groups = fleet.call("GET", "/api/v0/status", key=key).json["groups"]
    assert [group["id"] for group in groups] == [other]


def test_a_plan_comes_with_sentences_and_dollars(fleet: Api) -> None:
    fleet.poke.answers["plan"] = {
        "hot_target": 111.1, "total_target": 222.2, "binding": "min_load", "figures": {},
        "actions": [
            {"action": "rent", "autogroup_id": 101, "offer": OFFER, "reason": REASON},
            {"action": "destroy", "instance_id": 7, "reason": {"code": "idle_surplus"}},
        ],
        "notes": [{"code": "no_offers", "facts": {"wanted": 5}}],
    }  # fmt: skip
    plan = fleet.call("POST", "/api/v0/plan", {"endpoint_id": 100}).json
    rent, destroy = plan["actions"]
    assert (
        rent["sentence"]
        == "Its autogroup's ready workers can serve 0 load/s, and 111 is needed of them "
        "(your min_load)."
    )
    assert rent["beaten"] == ["offer 4"]
    assert destroy["code"] == "idle_surplus"
    assert plan["notes"][0]["sentence"] == "No offer fits the search of an autogroup now."
    assert plan["usd_per_hour_now"] == 0.5
    assert plan["usd_per_hour_after"] == pytest.approx(0.4)
    assert plan["worst_first_hour_usd"] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MarketplaceUnavailableError("Vast does not answer"), 502),
        (RefusedError("cannot_launch", "the template is gone"), 400),
    ],
)
def test_what_vast_cannot_answer_is_said(fleet: Api, error: Exception, status: int) -> None:
    fleet.poke.answers["plan"] = error
    answer = fleet.call("POST", "/api/v0/plan", {"endpoint_id": 100})
    assert answer.status == status
    assert str(error) in answer.json["msg"]


def test_a_preview_prices_a_group_before_it_exists(fleet: Api) -> None:
    fleet.poke.answers["plan"] = {"found": {"offers": [{**OFFER, "usd_per_hour": 0.9}, OFFER]}}
    endpoint: dict[str, object] = {"endpoint_name": "new", "max_workers": 4}
    autogroup = {"template_hash": "abc", "search_params": "gpu_ram>=23"}
    body = {"endpoint": endpoint, "autogroup": autogroup}
    answer = fleet.call("POST", "/api/v0/preview", body).json
    assert (answer["offers"]["n"], answer["offers"]["cheapest_usd_per_hour"]) == (2, 0.4)
    assert answer["usd_per_hour_max"] == pytest.approx(3.6)
    asked = fleet.poke.questions[-1]["offers_for"]
    assert isinstance(asked, dict)
    assert asked["search"] == {"gpu_ram": {"gte": 23000.0}}
    endpoint["min_load"] = 100
    floored = fleet.call("POST", "/api/v0/preview", body).json
    assert floored["usd_per_hour_idle"][0] == pytest.approx(answer["usd_per_hour_idle"][0] + 0.4)


def test_a_preview_counts_the_floor_that_a_schedule_is(fleet: Api) -> None:
    """Idle costs nothing between its times, and a machine in them."""
    fleet.poke.answers["plan"] = {"found": {"offers": [OFFER]}}
    autogroup = {"template_hash": "abc", "search_params": "gpu_ram>=23"}
    endpoint: dict[str, object] = {"endpoint_name": "new", "max_workers": 4}
    body = {"endpoint": endpoint, "autogroup": autogroup}
    low, high = fleet.call("POST", "/api/v0/preview", body).json["usd_per_hour_idle"]
    endpoint["schedules"] = [{"cron": "0 8 * * *", "duration_s": 3600, "min_load": 100}]
    told = fleet.call("POST", "/api/v0/preview", body).json
    assert told["usd_per_hour_idle"] == pytest.approx([low, high + 0.4])
    assert any(one.startswith("schedules: ") for one in told["warnings"])
    bad = fleet.call("POST", "/api/v0/preview", {"endpoint": {"target_util": 9}})
    assert bad.status == 400
    assert len(fleet.groups.groups) == 1


def test_a_workers_story_and_a_rounds_decisions_are_told(fleet: Api) -> None:
    facts = {"action": "start", "instance_id": 7, "round": 12.5, "reason": REASON}
    event = Event(
        at=9.0, scope="endpoint:100", level="info1", kind="decision", message="start", facts=facts
    )
    fleet.events.append([event])
    story = fleet.call("GET", "/api/v0/explain?instance_id=7").json
    assert story["sentences"][0].startswith("It is a 1x RTX 4090 at $0.500 an hour, ready")
    assert story["sentences"][1].startswith("Starting 7: Its autogroup's ready workers can serve 0")
    assert story["candidates"] == ["offer 4"]
    for wanted in ("last", "12.5", story["decision"]["event_id"].replace("#", "%23")):
        answer = fleet.call("GET", f"/api/v0/explain?round={wanted}")
        assert answer.json["sentences"] == story["sentences"][1:]
    assert fleet.call("GET", "/api/v0/explain?instance_id=8").status == 404
    assert fleet.call("GET", "/api/v0/explain?round=nine").status == 404
    told = "Not done (cap reached: the group's max_usd_per_hour): Starting instance 7"
    undone = {**facts, "round": 13.0, "not_done": "cap reached: the group's max_usd_per_hour"}
    fleet.events.append([replace(event, at=10.0, message=told, facts=undone)])
    assert fleet.call("GET", "/api/v0/explain?round=last").json["sentences"][0] == told
    assert told in fleet.call("GET", "/api/v0/explain?instance_id=7").json["sentences"]


def test_a_workers_story_begins_with_its_rental(fleet: Api) -> None:
    rented = make_worker(fleet, 8, machine_id=55, created_at=1000.0)
    subject = "a 1x RTX 4090 at $0.400 an hour (offer 3)"
    offer = {**OFFER, "machine_id": 55}
    facts = {"action": "rent", "subject": subject, "offer": offer, "reason": REASON}
    for at in (10.0, 990.0):
        fleet.events.append(
            [
                Event(
                    at=at, scope="endpoint:100", level="info1", kind="decision", message="rent",
                    facts={**facts, "round": at},
                )
            ]
        )  # fmt: skip
    story = fleet.call("GET", f"/api/v0/explain?instance_id={rented.instance_id}").json
    assert len(story["sentences"]) == 2
    assert story["sentences"][1].startswith(
        "Renting a 1x RTX 4090 at $0.400 an hour (offer 3): Its autogroup"
    )
    assert story["decision"]["facts"]["round"] == 990.0


def test_why_a_request_goes_where_it_goes(fleet: Api) -> None:
    """As the router says it: without a key, with one, and when waiting for a cache is no good."""
    for instance_id in (8, 9, 10):
        make_worker(fleet, instance_id)

    def asked(**fields: object) -> Any:
        answer = fleet.call("POST", "/api/v0/explain", {"endpoint_id": 100, **fields})
        assert answer.status == 200, answer.text
        return answer.json

    without = asked()
    assert without["sentences"][0] == "It has no keys of affinity, so no cache counts."
    assert str(without["instance_id"]) in without["sentences"][1]
    homes = {asked(affinity=f"key {i}", cost=400.0)["instance_id"] for i in range(20)}
    assert len(homes) > 1
    special = next(
        key
        for key in map(str, range(20))
        if asked(affinity=key, cost=400.0)["instance_id"] != without["instance_id"]
    )
    warm = asked(affinity=["general", special], prefix_cost=[40, 80], cost=400.0)
    assert warm["why"] == "warm"
    assert f"Worker {warm['instance_id']} is the one that its key prefers" in warm["sentences"][0]
    assert "which saves 2 s" in warm["sentences"][0]  # 80 of load at 40 a second
    assert warm["instance_id"] != warm["without_keys"]
    both = [asked(affinity=f"key {i}", prefix_cost=[0], cost=400.0) for i in range(20)]
    assert {one["without_keys"] for one in both} == {warm["without_keys"]}
    for one in both:
        is_same = one["instance_id"] == one["without_keys"]
        assert ("without its key, too" in one["sentences"][0]) is is_same
        assert "saves nothing" in one["sentences"][1]
    fleet.workers.reserve(100, warm["instance_id"], Grant(cost=4_000.0))
    busy = asked(affinity=[special], prefix_cost=[1], cost=400.0)
    assert busy["instance_id"] != warm["instance_id"]
    assert not any(
        fleet.workers.rows[100, i].reqnum for i in (8, 9, 10) if i != warm["instance_id"]
    )


def test_where_a_request_would_go_is_refused_as_route_refuses_it(fleet: Api) -> None:
    for fields, word in (
        ({"affinity": ["x" * 129]}, "affinity"),
        ({"affinity": ["a"], "prefix_cost": [1, 2]}, "prefix_cost"),
        ({"cost": -1}, "cost"),
        ({"prompt": "read this"}, "prompt"),
    ):
        answer = fleet.call("POST", "/api/v0/explain", {"endpoint_id": 100, **fields})
        assert answer.status == 400
        assert word in answer.text
        assert "xxxx" not in answer.text
    assert fleet.call("POST", "/api/v0/explain", {"endpoint_id": 999}).status == 404
    fleet.workers.rows.clear()
    (sentence,) = fleet.call("POST", "/api/v0/explain", {"endpoint_id": 100}).json["sentences"]
    assert sentence == "No worker would start it within 30 s: it waits for its turn."


def test_freezing_a_group_and_the_account(fleet: Api) -> None:
    assert fleet.call("POST", "/api/v0/freeze", {"frozen": True, "endpoint_id": 100}).status == 200
    assert fleet.groups.groups[100].frozen
    assert fleet.call("POST", "/api/v0/freeze", {"frozen": True}).status == 200
    assert account(fleet).is_frozen
    assert fleet.call("POST", "/api/v0/freeze", {"frozen": False}).status == 200
    assert not account(fleet).is_frozen
    key = fleet.new_key("admin", endpoint_id=100)
    assert fleet.call("POST", "/api/v0/freeze", {"frozen": True}, key=key).status == 404
    assert not account(fleet).is_frozen


def test_panic_needs_its_words(fleet: Api) -> None:
    assert fleet.call("POST", "/api/v0/panic", {}).status == 400
    assert not account(fleet).is_panicking
    answer = fleet.call("POST", "/api/v0/panic", {"confirm": "destroy everything"}).json
    assert answer["n_instances"] == 1
    assert account(fleet).is_panicking
    fleet.call("POST", "/api/v0/panic", {"clear": True})
    assert not account(fleet).is_panicking
    kinds = {event.message for event in fleet.events.events if event.kind == "changed_account"}
    assert kinds == {"panic: destroy everything", "panic cleared"}


@pytest.mark.parametrize("path", ["/api/v0/account/", "/api/v0/caps/"])
def test_caps_are_set_in_dollars(fleet: Api, path: str) -> None:
    answer = fleet.call("PUT", path, {"max_usd_per_hour": 1.5, "max_usd_per_day": None})
    assert answer.status == 200
    assert fleet.ledger.account_now.caps_microusd_per_hour == 1_500_000
    assert fleet.ledger.account_now.caps_microusd_per_day == 50_000_000
    for bad in ({}, {"max_usd_per_hour": -1}, {"max_usd_per_hour": "x"}):
        assert fleet.call("PUT", path, bad).status == 400


def test_a_rollout_shares_the_requests_exactly(fleet: Api) -> None:
    second = fleet.create_autogroup(100, template_hash="new", weight=3)
    third = fleet.create_autogroup(100, template_hash="more", weight=1)
    body = {"autogroup_id": 101, "percent": 10}
    assert fleet.call("POST", "/api/v0/rollout", body).status == 200
    weights = {key: autogroup.weight for key, autogroup in fleet.groups.autogroups.items()}
    assert weights == {101: 10.0, second: 67.5, third: 22.5}
    fleet.call("POST", "/api/v0/promote", {"autogroup_id": second})
    weights = {key: autogroup.weight for key, autogroup in fleet.groups.autogroups.items()}
    assert weights == {101: 0.0, second: 100.0, third: 0.0}


def test_a_rollout_needs_somebody_to_take_the_rest(fleet: Api) -> None:
    body = {"autogroup_id": 101, "percent": 10}
    assert fleet.call("POST", "/api/v0/rollout", body).status == 400
    assert fleet.call("POST", "/api/v0/rollout", {**body, "percent": 101}).status == 400
    fleet.call("PUT", "/api/v0/autojobs/101/", {"state": "paused"})
    assert fleet.groups.autogroups[101].state is AutogroupState.PAUSED


def test_spend_splits_gpus_disks_and_traffic_by_day_autogroup_and_worker(fleet: Api) -> None:
    now = fleet.clock.now()
    key = "7:101:1x RTX 4090"
    tally = {
        "begun_at": now - 60, "written_at": 0.0, "until": now, "max_ready": 2.0, "ready_s": 60.0,
        f"gpu_usd:{key}": 0.01, f"disk_usd:{key}": 0.002, f"bandwidth_usd:{key}": 0.001,
        f"unknown_download:{key}": 1.0,
    }  # fmt: skip
    fleet.ledger._blobs["round"] = RoundMemory(at=now, spend={"100": tally}).to_bytes()
    answer = fleet.call("GET", "/api/v0/spend?days=2").json
    (row,) = answer["rows"]
    assert (row["gpu_usd"], row["disk_usd"], row["bandwidth_usd"]) == (0.01, 0.002, 0.001)
    assert row["total_usd"] == pytest.approx(0.013)
    assert (row["download_usd"], row["n_unknown_downloads"], row["is_deleted"]) == (0.0, 1, False)
    assert answer["fixed_fleet"]["n_workers"] == 2
    assert answer["month"]["cap_usd"] == 500.0
    (row,) = fleet.call("GET", "/api/v0/spend?by=autogroup").json["rows"]
    assert row["autogroup_id"] == 101
    (row,) = fleet.call("GET", "/api/v0/spend?by=worker").json["rows"]
    assert (row["instance_id"], row["gpu_type"]) == (7, "1x RTX 4090")
    refused = fleet.call("GET", "/api/v0/spend?by=host")
    assert refused.status == 400
    assert refused.json["msg"] == "by: 'host'; allowed: day, autogroup, worker"
    money = fleet.call("GET", "/api/v0/status").json["account"]
    assert (money["spent_today_usd"], money["counted_today_usd"]) == (pytest.approx(0.013), 0.0)


def test_autogroups_are_compared_side_by_side(fleet: Api) -> None:
    make_worker(fleet, 8, reqnum=200, loaded_at=61.0)
    (row,) = fleet.call("GET", "/api/v0/compare?endpoint_id=100").json["rows"]
    assert (row["verdict"], row["perf_mean"], row["load_time_s"]) == (
        "nothing to compare it with",
        40.0,
        60.0,
    )
    assert row["usd_per_1k_load"] == pytest.approx(0.5 / 3600 / 40 * 1000)


def test_the_consoles_corner_answers_through_the_scaler(fleet: Api) -> None:
    assert fleet.call("GET", "/api/v0/users/current").json["id"] == 1
    fleet.poke.answers["instance"] = {"instance": {"id": 7}}
    assert fleet.call("GET", "/api/v0/instances/7/").json["instances"] == {"id": 7}
    fleet.poke.answers["instance"] = {"instance": None}
    assert fleet.call("GET", "/api/v0/instances/8/").status == 404
    fleet.poke.answers["template"] = {"template": {"hash_id": "abc"}}
    found = fleet.call("GET", "/api/v0/template/?hash_id=abc").json["templates"]
    assert found == [{"hash_id": "abc"}]
    fleet.poke.answers["templates"] = {"templates": [{"id": 7}, {"id": 8}]}
    found = fleet.call("GET", '/api/v0/template/?select_filters={"id":{"eq":8}}').json["templates"]
    assert found == [{"id": 8}]
    assert fleet.call("GET", '/api/v0/template/?select_filters={"name":{"eq":8}}').status == 400
    fleet.poke.answers["offers"] = {"offers": [OFFER]}
    body = {"search_params": "num_gpus=1", "limit": 5}
    assert fleet.call("POST", "/api/v0/offers", body).json["offers"] == [OFFER]
    assert fleet.call("POST", "/api/v0/offers", {}).status == 400


def test_the_doctor_names_what_is_ill_and_the_fix(fleet: Api) -> None:
    fleet.poke.answers["template"] = {"template": {"name": "TGI", "env_names": ["MODEL_ID"]}}
    checks = {check["name"]: check for check in fleet.call("GET", "/api/v0/doctor").json["checks"]}
    assert checks["database"]["ok"]
    assert checks["kms"]["ok"]
    assert not checks["scaler"]["ok"]
    assert checks["scaler"]["fix"]
    assert not checks["HF_TOKEN in template of llm"]["ok"]
    assert not checks["vast key"]["ok"]
    scope = {"tried": ["list instances", "search offers"], "refused": {}}
    fleet.poke.answers["key_scope"] = scope
    checks = {check["name"]: check for check in fleet.call("GET", "/api/v0/doctor").json["checks"]}
    assert checks["vast key"]["ok"]
    fleet.poke.answers["key_scope"] = {**scope, "refused": {"search offers": "no permission"}}
    checks = {check["name"]: check for check in fleet.call("GET", "/api/v0/doctor").json["checks"]}
    assert checks["vast key"]["detail"] == "search offers: no permission"
    assert "give the key" in checks["vast key"]["fix"]
    fleet.poke.answers["key_scope"] = {**scope, "unanswered": {"search offers": "HTTP 503"}}
    fleet.poke.answers["balance"] = MarketplaceUnavailableError("credit: HTTP 503")
    checks = {check["name"]: check for check in fleet.call("GET", "/api/v0/doctor").json["checks"]}
    for ill, detail in (("vast key", "search offers: HTTP 503"), ("scaler", "credit: HTTP 503")):
        assert (checks[ill]["ok"], checks[ill]["detail"]) == (False, detail)
        assert checks[ill]["fix"].startswith("Vast does not answer now: wait"), "no key is at fault"


def test_a_database_that_is_down_is_a_503_with_its_reason(fleet: Api) -> None:
    fleet.groups.problem = StorageUnavailableError("DynamoDB throttles")
    answer = fleet.call("GET", "/api/v0/endptjobs/")
    assert (answer.status, answer.json["error"]) == (503, "storage_unavailable")
    answer = fleet.call("POST", "/api/v0/freeze", {"frozen": True, "endpoint_id": 100})
    assert (answer.status, answer.json["error"]) == (503, "storage_unavailable")
    assert answer.json["msg"] == "DynamoDB throttles"


def test_unreachable_workers_are_a_warning(fleet: Api) -> None:
    key = (100, 7)
    fleet.workers.rows[key] = replace(fleet.workers.rows[key], state=WorkerState.UNREACHABLE)
    (group,) = fleet.call("GET", "/api/v0/status").json["groups"]
    assert (group["health"], group["health_reasons"]) == ("warn", ["1 worker silent"])

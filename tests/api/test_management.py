"""Endpoint groups and autogroups over HTTP, as the vendor's peers and our own command use them."""

from __future__ import annotations

import pytest

from chalicelib.services.owner.groups import IDEMPOTENCY_S
from tests.api.over_fakes import Api

SEED = {
    "endpoint_name": "TGI-Llama3",
    "cold_mult": 1.0,
    "min_load": 100,
    "target_util": 0.9,
    "max_workers": 20,
    "cold_workers": 5,
}
CLI_DEFAULTS = {
    "client_id": "me", "min_load": 0.0, "min_cold_load": 0.0, "target_util": 0.9,
    "cold_mult": 2.5, "cold_workers": 5, "max_workers": 20, "endpoint_name": "ep1",
    "max_queue_time": None, "target_queue_time": None, "inactivity_timeout": None,
    "autoscaler_instance": "prod",
}  # fmt: skip
CLI_SEARCH = "verified=True rentable=True rented=False"


def test_the_seeds_endpoint_is_created_and_its_values_come_back(api: Api) -> None:
    created = api.call("POST", "/api/v0/endptjobs/", SEED)
    assert created.status == 200
    assert created.json["success"] is True
    listed = api.call("GET", "/api/v0/endptjobs/", {"client_id": "me", "api_key": api.key})
    (row,) = listed.json["results"]
    assert {name: row[name] for name in SEED} == SEED
    assert row["id"] == created.json["result"]


def test_rows_carry_what_the_vendors_sdk_insists_on(api: Api) -> None:
    endpoint_id = api.create_endpoint()
    row = api.call("GET", f"/api/v0/endptjobs/{endpoint_id}/").json["result"]
    assert isinstance(row["id"], int)
    assert isinstance(row["user_id"], int)
    assert isinstance(row["created_at"], float)
    assert row["endpoint_name"] == "llm"
    assert row["api_key"].startswith("blk.e")


def test_absent_parameters_are_auto_and_given_ones_are_remembered_as_given(api: Api) -> None:
    plain = api.call("GET", f"/api/v0/endptjobs/{api.create_endpoint('plain')}").json["result"]
    assert plain["target_util"] is None
    assert "target_util" in plain["auto"]
    assert plain["given"] == []
    assert (plain["max_queue_time"], plain["target_queue_time"]) == (30.0, 10.0)
    assert (plain["cold_workers"], plain["max_workers"]) == (5, 20)
    api.call("POST", "/api/v0/endptjobs/", CLI_DEFAULTS)
    rows = api.call("GET", "/api/v0/endptjobs/").json["results"]
    row = next(row for row in rows if row["endpoint_name"] == "ep1")
    assert row["given"] == [
        "cold_mult", "cold_workers", "max_workers", "min_cold_load", "min_load", "target_util",
    ]  # fmt: skip


def test_a_repeated_create_within_a_minute_is_the_same_group(api: Api) -> None:
    first = api.call("POST", "/api/v0/endptjobs/", SEED).json["result"]
    assert api.call("POST", "/api/v0/endptjobs/", SEED).json["result"] == first
    assert len(api.groups.groups) == 1


def test_the_same_name_is_refused_later_or_with_other_parameters(api: Api) -> None:
    api.call("POST", "/api/v0/endptjobs/", SEED)
    other = api.call("POST", "/api/v0/endptjobs/", {**SEED, "min_load": 7})
    assert other.status == 400
    assert "TGI-Llama3" in other.json["msg"]
    api.clock.advance(IDEMPOTENCY_S + 1)
    assert api.call("POST", "/api/v0/endptjobs/", SEED).status == 400


def test_null_means_unchanged_and_auto_means_back_to_auto(api: Api) -> None:
    endpoint_id = api.create_endpoint(min_load=5, target_util=0.8)
    path = f"/api/v0/endptjobs/{endpoint_id}/"
    changes = {"min_load": None, "target_util": "auto", "max_workers": 3}
    assert api.call("PUT", path, {**changes, "endpoint_state": "stopped"}).status == 200
    row = api.call("GET", path).json["result"]
    assert (row["min_load"], row["target_util"], row["max_workers"]) == (5, None, 3)
    assert row["endpoint_state"] == "stopped"
    assert row["given"] == ["max_workers", "min_load"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"target_util": 0}, "target_util"),
        ({"target_util": 1.5}, "target_util"),
        ({"min_load": -1}, "min_load"),
        ({"min_load": True}, "min_load"),
        ({"max_workers": 2.5}, "max_workers"),
        ({"max_workers": "many"}, "max_workers"),
        ({"cold_workers": 10**9}, "cold_workers"),
        ({"target_queue_time": 60, "max_queue_time": 30}, "target_queue_time"),
        ({"slo_target": 1.0}, "slo_target"),
        ({"queue_order": "lifo"}, "queue_order"),
        ({"interruptible": "always"}, "interruptible"),
        ({"interruptible_share": 1.5}, "interruptible_share"),
        ({"endpoint_state": "deleting"}, "endpoint_state"),
        ({"endpoint_name": "a;rm -rf"}, "endpoint_name"),
        ({"schedules": [{"cron": "nonsense", "duration_s": 60, "min_load": 1}]}, "cron"),
        ({"unset": ["nothing"]}, "unset"),
        ({"frozen": "yes"}, "frozen"),
    ],
)
def test_a_bad_parameter_is_named_and_changes_nothing(
    api: Api, changes: dict[str, object], named: str
) -> None:
    endpoint_id = api.create_endpoint()
    before = api.state()
    answer = api.call("PUT", f"/api/v0/endptjobs/{endpoint_id}/", changes)
    assert answer.status == 400
    assert answer.json["success"] is False
    assert named in answer.json["msg"]
    assert api.state() == before


@pytest.mark.parametrize("name", [None, "", "it's", "a\nb", "a\n", "(x)", "ü", " a", "x" * 129, 7])
def test_names_that_could_hurt_are_refused(api: Api, name: object) -> None:
    assert api.call("POST", "/api/v0/endptjobs/", {"endpoint_name": name}).status == 400


def test_names_with_spaces_are_fine_since_the_vendors_benchmark_makes_them(api: Api) -> None:
    assert api.create_endpoint("benchmark 1x RTX 4090 ab12cd34") >= 100


def test_a_leaked_key_of_a_group_is_made_anew_and_the_old_one_no_longer_routes(api: Api) -> None:
    path = f"/api/v0/endptjobs/{api.create_endpoint()}/"
    old = api.call("GET", path).json["result"]["api_key"]
    new = api.call("PUT", path, {"rotate_key": True}).json["endpoint"]["api_key"]
    api.clock.advance(60)
    statuses = [
        api.call("POST", "/route/", {"endpoint": "llm", "api_key": key}, key=None).status
        for key in (old, new)
    ]
    assert statuses == [401, 200]


def test_deleting_drains_and_hides_nothing(api: Api) -> None:
    endpoint_id = api.create_endpoint()
    path = f"/api/v0/endptjobs/{endpoint_id}/"
    answer = api.call("DELETE", path, {"client_id": "me", "endptjob_id": endpoint_id})
    assert answer.json["success"] is True
    assert api.call("GET", path).json["result"]["endpoint_state"] == "deleting"
    assert api.call("DELETE", path).status == 200
    assert api.call("PUT", path, {"min_load": 1}).status == 400
    assert api.call("POST", "/api/v0/endptjobs/", {"endpoint_name": "llm"}).status == 400
    assert (endpoint_id, "deleted") in api.poke.pokes


def test_every_change_leaves_an_audit_event_with_actor_before_and_after(api: Api) -> None:
    endpoint_id = api.create_endpoint(min_load=5)
    api.call("PUT", f"/api/v0/endptjobs/{endpoint_id}/", {"min_load": 7})
    answer = api.call("GET", f"/api/v0/events?endpoint_id={endpoint_id}&kinds=changed_endpoint")
    newest, oldest = answer.json["events"]
    assert newest["facts"] == {"before": {"min_load": 5}, "after": {"min_load": 7}}
    assert newest["actor"] == api.key.split(".")[1]
    assert oldest["facts"]["before"] == {}


def test_every_change_reaches_the_routers_directory(api: Api) -> None:
    endpoint_id = api.create_endpoint()
    before = api.views.directory
    assert before is not None
    api.call("PUT", f"/api/v0/endptjobs/{endpoint_id}/", {"endpoint_state": "suspended"})
    assert api.views.directory != before


def test_an_autogroup_shows_its_search_parsed_and_as_written(api: Api) -> None:
    endpoint_id = api.create_endpoint("ep1")
    search = f"gpu_ram>=23 num_gpus=1 {CLI_SEARCH}"
    body = {
        "client_id": "me", "template_hash": "abc", "template_id": None, "search_params": search,
        "launch_args": "--disk 64", "gpu_ram": 24.0, "endpoint_name": "ep1", "endpoint_id": None,
        "autoscaler_instance": "prod",
    }  # fmt: skip
    created = api.call("POST", "/api/v0/autojobs/", body)
    (row,) = api.call("GET", "/api/v0/workergroups/").json["results"]
    assert row["id"] == created.json["id"]
    assert row["endpoint_id"] == endpoint_id
    assert row["search_params"] == search
    assert row["search_query"]["gpu_ram"] == {"gte": 23000.0}
    assert row["search_query"]["num_gpus"] == {"eq": "1"}
    assert row["test_workers"] == 3


def test_an_unknown_endpoint_name_makes_the_endpoint_and_says_which_defaults_hold(api: Api) -> None:
    body = {"endpoint_name": "TGI-Llama3", "template_hash": "abc", "test_workers": 5}
    answer = api.call("POST", "/api/v0/autojobs/", body).json
    assert answer["endpoint"]["endpoint_name"] == "TGI-Llama3"
    assert answer["endpoint"]["max_workers"] == 20
    assert "defaults" in answer["msg"]
    assert api.call("GET", "/api/v0/endptjobs/").json["results"][0]["given"] == []


def test_a_repeated_autogroup_create_within_a_minute_is_the_same(api: Api) -> None:
    body = {"endpoint_name": "ep", "template_hash": "abc"}
    first = api.call("POST", "/api/v0/autojobs/", body).json["id"]
    assert api.call("POST", "/api/v0/autojobs/", body).json["id"] == first
    api.clock.advance(IDEMPOTENCY_S + 1)
    assert api.call("POST", "/api/v0/autojobs/", body).json["id"] != first


def test_identical_autogroup_creates_at_the_same_time_make_one(api: Api) -> None:
    api.create_endpoint("ep")
    body = {"endpoint_name": "ep", "template_hash": "abc"}
    ids = []

    def create() -> None:
        ids.append(api.call("POST", "/api/v0/autojobs/", body).json["id"])

    api.groups.change_before_put = create
    create()
    assert len(set(ids)) == 1
    assert len(ids) == 2
    assert len(api.call("GET", "/api/v0/autojobs/").json["results"]) == 1


def test_an_update_without_a_search_keeps_the_search(api: Api) -> None:
    """The vendor's CLI sends its defaults when the flag is absent; protocol.md G 35."""
    endpoint_id = api.create_endpoint()
    autogroup_id = api.create_autogroup(endpoint_id, search_params=f"gpu_ram>=23 {CLI_SEARCH}")
    path = f"/api/v0/autojobs/{autogroup_id}/"
    api.call("PUT", path, {"search_params": CLI_SEARCH, "gpu_ram": 30.0})
    row = api.call("GET", path).json["result"]
    assert row["search_params"].startswith("gpu_ram>=23")
    assert row["gpu_ram"] == 30.0
    api.call("PUT", path, {"search_params": "num_gpus=2"})
    assert api.call("GET", path).json["result"]["search_query"] == {"num_gpus": {"eq": "2"}}


def test_a_new_template_makes_the_workers_outdated_and_a_new_weight_does_not(api: Api) -> None:
    autogroup_id = api.create_autogroup(api.create_endpoint())
    path = f"/api/v0/autojobs/{autogroup_id}/"
    first = api.call("GET", path).json["result"]["template_revision"]
    api.call("PUT", path, {"weight": 2})
    assert api.call("GET", path).json["result"]["template_revision"] == first
    api.call("PUT", path, {"template_hash": "def"})
    assert api.call("GET", path).json["result"]["template_revision"] == first + 1


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"template_hash": None}, "template_hash"),
        ({"search_params": "gpu_ram>="}, "search_params"),
        ({"search_params": {"gpu_ram": {"like": 3}}}, "like"),
        ({"launch_args": "--image 'x; rm -rf /'"}, "--image"),
        ({"launch_args": "--env '-e MASTER_TOKEN=x'"}, "MASTER_TOKEN"),
        ({"launch_args": "--env '-e HF_TOKEN=hf_x'"}, "HF_TOKEN"),
        ({"weight": -1}, "weight"),
        ({"tier": 0.5}, "tier"),
        ({"test_workers": 101}, "test_workers"),
        ({"ticket": "Z"}, "ticket"),
        ({"interruptible": "sometimes"}, "interruptible"),
        ({"state": "deleting"}, "state"),
        ({"endpoint_name": None}, "endpoint_name"),
    ],
)
def test_a_bad_autogroup_is_refused_before_anything_is_made(
    api: Api, fields: dict[str, object], named: str
) -> None:
    before = api.state()
    body = {"endpoint_name": "fresh", "template_hash": "abc", **fields}
    answer = api.call("POST", "/api/v0/autojobs/", body)
    assert answer.status == 400
    assert named in answer.json["msg"]
    assert api.state() == before


def test_an_autogroup_does_not_move(api: Api) -> None:
    first, second = api.create_endpoint("a"), api.create_endpoint("b")
    autogroup_id = api.create_autogroup(first)
    path = f"/api/v0/autojobs/{autogroup_id}/"
    assert api.call("PUT", path, {"endpoint_id": second}).status == 400
    assert api.call("PUT", path, {"endpoint_id": first, "weight": 2}).status == 200


def test_a_concurrent_change_is_a_conflict_and_not_lost(api: Api) -> None:
    endpoint_id = api.create_endpoint()
    api.groups.change_before_put = lambda: api.groups.bump(endpoint_id)
    answer = api.call("PUT", f"/api/v0/endptjobs/{endpoint_id}/", {"min_load": 1})
    assert answer.status == 409
    assert answer.json["error"] == "conflict"


def test_answers_to_changes_echo_no_key_but_a_new_one(api: Api) -> None:
    made = api.call("POST", "/api/v0/endptjobs/", {"endpoint_name": "quiet"})
    path = f"/api/v0/endptjobs/{made.json['result']}/"
    changed = api.call("PUT", path, {"min_load": 3})
    added = api.call(
        "POST", "/api/v0/autojobs/", {"endpoint_name": "quiet", "template_hash": "a" * 32}
    )
    assert "blk." not in made.text + changed.text + added.text
    assert api.call("PUT", path, {"rotate_key": True}).json["endpoint"]["api_key"]
    assert api.call("GET", path).json["result"]["api_key"].startswith("blk.")  # clients need it


def test_answers_to_changes_name_what_a_stricter_limit_overrules(api: Api) -> None:
    """As the preview does, of which programs ask nothing."""
    high = {"endpoint_name": "llm", "max_usd_per_hour": 1e5, "cold_workers": 4, "max_workers": 2}
    created = api.call("POST", "/api/v0/endptjobs/", high).json
    assert [text.partition(":")[0] for text in created["warnings"]] == [
        "max_usd_per_hour",
        "cold_workers",
    ]
    path = f"/api/v0/endptjobs/{created['result']}/"
    lower = {"cold_workers": 2, "max_usd_per_hour": 1.0}
    assert api.call("PUT", path, lower).json["warnings"] == []
    tests = {"endpoint_name": "llm", "template_hash": "a", "test_workers": 5}
    autogroup = api.call("POST", "/api/v0/autojobs/", tests).json
    said = "test_workers: no more than max_workers (2) are rented, not 5"
    assert said in autogroup["warnings"]
    path = f"/api/v0/autojobs/{autogroup['id']}/"
    assert api.call("PUT", path, {"weight": 2.0}).json["warnings"] == [said]
    assert api.call("PUT", path, {"test_workers": 2}).json["warnings"] == []


def test_a_change_of_what_was_read_stands_only_over_what_was_read(api: Api) -> None:
    endpoint_id = api.create_endpoint()
    made = {"endpoint_name": "llm", "template_hash": "abc"}
    autogroup_id = api.call("POST", "/api/v0/autojobs/", made).json["id"]
    for path, change in (
        (f"/api/v0/endptjobs/{endpoint_id}/", {"max_workers": 3}),
        (f"/api/v0/autojobs/{autogroup_id}/", {"weight": 3.0}),
    ):
        read = api.call("GET", path).json["result"]
        name, value = next(iter(change.items()))
        assert api.call("PUT", path, {name: value + 1}).status == 200  # another tab
        refused = api.call("PUT", path, change | {"revision": read["revision"]})
        assert (refused.status, refused.json["error"]) == (409, "conflict")
        row = api.call("GET", path).json["result"]
        assert row[name] == value + 1
        assert api.call("PUT", path, change | {"revision": row["revision"]}).status == 200
        assert api.call("GET", path).json["result"][name] == value


def test_caps_that_somebody_else_changed_meanwhile_stay(api: Api) -> None:
    seen = {"max_usd_per_hour": 1.5, "max_usd_per_day": 50}
    api.call("PUT", "/api/v0/account/", seen)
    wanted = {"max_usd_per_hour": 9, "expected": seen}
    api.call("PUT", "/api/v0/account/", {"max_usd_per_day": 7})  # another tab
    assert api.call("PUT", "/api/v0/account/", wanted).status == 409
    assert api.ledger.account_now.caps_microusd_per_hour == 1_500_000
    wanted["expected"] = {**seen, "max_usd_per_day": 7}
    assert api.call("PUT", "/api/v0/account/", wanted).status == 200
    assert api.ledger.account_now.caps_microusd_per_hour == 9_000_000

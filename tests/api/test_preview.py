"""The preview judges what is asked about, for the command and the page."""

from __future__ import annotations

import json
from typing import Any

from tests.api.over_fakes import Api


def test_unfreezing_is_planned_for_all_groups_or_for_one_as_if_it_were_not_frozen(
    api: Api,
) -> None:
    api.create_endpoint("llm")
    api.create_autogroup(100)
    start = {"action": "start", "instance_id": 7, "reason": {"code": "cold_short", "facts": {}}}
    api.poke.answers["plan"] = {"actions": [start], "plans": [{"actions": [start]}]}
    everything = api.call("POST", "/api/v0/preview", {"unfreeze": True}).json
    assert everything["must_ask"]
    assert api.poke.questions[-1] == {"ask": "plan", "is_unfrozen": True}
    api.call("POST", "/api/v0/freeze", {"frozen": True, "endpoint_id": 100})
    one = api.call("POST", "/api/v0/preview", {"unfreeze": True, "endpoint_id": 100}).json
    assert one["must_ask"]
    assert one["warnings"] == []
    asked = api.poke.questions[-1]
    assert asked["endpoint_id"] == 100
    assert '"frozen": false' in json.dumps(asked["draft"])
    assert [group.frozen for group in api.groups.list_groups()] == [True], "nothing is stored"
    api.call("POST", "/api/v0/freeze", {"frozen": True})
    still = api.call("POST", "/api/v0/preview", {"unfreeze": True, "endpoint_id": 100}).json
    assert "the account is frozen too" in still["warnings"][0]
    assert api.call("POST", "/api/v0/preview", {"unfreeze": True, "endpoint_id": 9}).status == 404
    api.poke.answers["plan"] = {"actions": [], "plans": []}
    assert not api.call("POST", "/api/v0/preview", {"unfreeze": True}).json["must_ask"]


def test_a_preview_says_what_is_asked_and_plans_what_can_move_a_machine(api: Api) -> None:
    """What the command and the page ask about is judged here alone."""
    fleet = api
    fleet.create_endpoint("llm")
    fleet.create_autogroup(100)
    stop = {"action": "stop", "instance_id": 7, "reason": {"code": "cap_reached", "facts": {}}}
    cap = {"cap": "cap_hour", "usd": 5.0, "used_usd": 0.5}
    fleet.poke.answers["plan"] = {"actions": [stop], "caps": [cap], "plans": [{"actions": [stop]}]}

    def preview(**body: object) -> dict[str, Any]:
        answer = fleet.call("POST", "/api/v0/preview", body)
        assert answer.status == 200, answer.json
        return dict(answer.json)

    lowered = preview(endpoint_id=100, endpoint={"max_workers": 0})
    assert lowered["must_ask"]
    assert lowered["plan"]["caps"][0]["cap_name"] == "the account's dollars per hour"
    n_planned = len(fleet.poke.questions)
    harmless = preview(endpoint_id=100, endpoint={"queue_order": "fifo"})
    assert (harmless["must_ask"], "plan" in harmless) == (False, False)
    assert len(fleet.poke.questions) == n_planned, "Vast is not asked for nothing"
    many = preview(endpoint={"endpoint_name": "new", "max_workers": 500})
    assert many["risks"] == ["max_workers 500: that many machines may be rented"]
    named = preview(autogroup={"endpoint_name": "nwe", "template_hash": "a"})
    assert named["must_ask"]
    assert named["risks"] == [
        "there is no endpoint group 'nwe'; a new one would be made, with defaults"
    ]
    account = preview(account={"max_usd_per_hour": 0.5})
    assert account["must_ask"]
    assert (fleet.poke.questions[-1]["caps"], account["risks"]) == (
        {"caps_microusd_per_hour": 500_000},
        [],
    )
    fleet.poke.answers["plan"] = {"plans": [], "found": {"offers": [], "hint": "none has it"}}
    assert not preview(account={"max_usd_per_hour": 0.5})["must_ask"]
    assert "more may be spent" in preview(account={"max_usd_per_hour": 9})["risks"][0]
    in_vain = preview(
        endpoint_id=100, autogroup={"template_hash": "a", "search_params": "gpu_ram>=9"}
    )
    assert (in_vain["must_ask"], in_vain["warnings"]) == (True, ["none has it"])
    assert fleet.call("POST", "/api/v0/preview", {"account": {"max_usd": 1}}).status == 400

"""Each function's policy allows exactly the AWS calls that a whole life of the system makes."""

from __future__ import annotations

from collections.abc import Iterator
from pprint import pformat

import pytest

from infra.policies import FUNCTIONS, Grant
from tests.infra.recorded_life import (
    Call,
    Life,
    Recorder,
    doubt,
    observe,
    recorded_account,
    steer,
)


@pytest.fixture
def recorder(aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """An account with Ballast's tables and key; calls are recorded."""
    with recorded_account(monkeypatch) as recorder:
        yield recorder


def live(life: Life) -> None:
    """Create, rent, load, route, observe, steer, stop and destroy."""
    group = {"endpoint_name": "llm", "min_load": 50, "cold_workers": 1, "max_workers": 3}
    endpoint_id = life.call("management", "POST", "/api/v0/endptjobs/", group)["result"]
    autogroup = {"endpoint_id": endpoint_id, "template_hash": life.template_hash}
    autogroup_id = life.call("management", "POST", "/api/v0/autojobs/", autogroup)["id"]
    waiting = life.call("hot", "POST", "/route/", {"endpoint": "llm", "request_idx": 0})
    assert "url" not in waiting
    life.rounds(120)
    grant = life.call(
        "hot",
        "POST",
        "/route/",
        {"endpoint": "llm", "request_idx": waiting["request_idx"], "cost": 10},
    )
    assert "url" in grant, grant
    doubt(life, grant["request_idx"])
    observe(life, endpoint_id, autogroup_id)
    steer(life, endpoint_id, autogroup_id)
    life.call("management", "PUT", "/api/v0/account/", {"max_usd_per_hour": 0.01})
    life.call("hot", "POST", "/route/", {"endpoint": "llm", "request_idx": 0, "cost": 1e6})
    life.report(error_msg="CUDA out of memory")
    life.rounds(60)
    life.call("management", "DELETE", f"/api/v0/autojobs/{autogroup_id}/")
    life.call("management", "DELETE", f"/api/v0/endptjobs/{endpoint_id}/")
    life.rounds(300)
    assert not life.market.instances


def allowed(grants: tuple[Grant, ...]) -> set[Call]:
    """What a function's grants allow, in the recorder's terms."""
    return {(action, _resource(grant)) for grant in grants for action in grant.actions}


def _resource(grant: Grant) -> str:
    if ":table/" in grant.resource:
        return grant.resource.rsplit("-", 1)[1]
    if grant.sid.startswith("Unwrap"):
        return grant.sid.removeprefix("Unwrap").lower()
    return grant.actions[0].split(":")[0]


def test_policies_allow_what_the_functions_call_and_nothing_else(recorder: Recorder) -> None:
    live(Life(recorder))
    missing = {
        name: sorted(calls - allowed(FUNCTIONS[name]))
        for name, calls in recorder.calls.items()
        if calls - allowed(FUNCTIONS[name])
    }
    assert not missing, pformat(missing)
    unused = {
        name: sorted(dynamodb_grants(grants) - recorder.calls[name])
        for name, grants in FUNCTIONS.items()
        if dynamodb_grants(grants) - recorder.calls[name]
    }
    assert not unused, pformat(unused)


def dynamodb_grants(grants: tuple[Grant, ...]) -> set[Call]:
    """Grants on tables and keys; poke, Vast key and alerts are exercised by their own tests."""
    return {call for call in allowed(grants) if call[0].split(":")[0] in ("dynamodb", "kms")}

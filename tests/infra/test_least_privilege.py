"""Each function's policy allows exactly the AWS calls that a whole life of the system makes."""

from __future__ import annotations

from collections.abc import Iterator
from pprint import pformat

import boto3
import pytest

from chalicelib import wiring
from chalicelib.adapters.tables import create_tables
from infra.policies import FUNCTIONS, Grant
from tests.infra.recorded_life import Call, Life, Recorder, recorded_session

STAGE = "test"


@pytest.fixture
def recorder(aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """An account with Ballast's tables and key; calls are recorded."""
    for name, value in {
        "BALLAST_STAGE": STAGE,
        "BALLAST_SCALER_FUNCTION": "",
        "BALLAST_TABLE_PREFIX": f"ballast-{STAGE}",
        "BALLAST_KMS_ALIAS": f"alias/ballast-{STAGE}",
    }.items():
        monkeypatch.setenv(name, value)
    recorder = Recorder()
    recorded_session(recorder)
    wiring.reset()
    create_tables(boto3.client("dynamodb", region_name="us-east-1"), f"ballast-{STAGE}")
    kms = boto3.client("kms", region_name="us-east-1")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=f"alias/ballast-{STAGE}", TargetKeyId=key)
    yield recorder
    wiring.reset()
    boto3.DEFAULT_SESSION = None


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


def doubt(life: Life, request_idx: int) -> None:
    """Two clients fail on the same worker."""
    new = {"name": "other", "verbs": ["route"]}
    other = life.call("management", "POST", "/api/v0/keys/", new)["key"]
    repeat = {"endpoint": "llm", "request_idx": request_idx, "cost": 10}
    life.call("hot", "POST", "/route/", repeat)
    life.call("hot", "POST", "/route/", repeat, Authorization=f"Bearer {other}")


def observe(life: Life, endpoint_id: int, autogroup_id: int) -> None:
    """Everything that management reads."""
    for path in ("logs", "workers", "stats"):
        life.call("management", "POST", f"/get_endpoint_{path}/", {"id": endpoint_id})
        life.call("management", "POST", f"/get_autogroup_{path}/", {"id": autogroup_id})
    life.call("management", "GET", "/api/v0/endptjobs/")
    life.call("management", "GET", "/api/v0/autojobs/")
    life.call("management", "GET", "/api/v0/status/")
    life.call("management", "GET", f"/api/v0/spend/?endpoint_id={endpoint_id}&days=2")
    life.call("management", "GET", f"/api/v0/events/?endpoint_id={endpoint_id}&limit=10")
    life.call("management", "GET", "/api/v0/explain/?round=last")
    worker = next(iter(life.market.instances))
    life.call("management", "GET", f"/api/v0/explain/?instance_id={worker}")
    life.ask(ask="plan", endpoint_id=endpoint_id)
    life.ask(ask="balance")


def steer(life: Life, endpoint_id: int, autogroup_id: int) -> None:
    """Everything that management writes."""
    made = life.call("management", "POST", "/api/v0/keys/", {"name": "app", "verbs": ["route"]})[
        "result"
    ]
    life.call("management", "GET", "/api/v0/keys/")
    life.call("management", "PUT", f"/api/v0/keys/{made['key_id']}/", {"rotate": True})
    life.call("management", "DELETE", f"/api/v0/keys/{made['key_id']}/")
    life.call("management", "PUT", f"/api/v0/endptjobs/{endpoint_id}/", {"min_load": 20})
    life.call("management", "PUT", f"/api/v0/autojobs/{autogroup_id}/", {"gpu_ram": 20})
    life.call("management", "POST", "/update_workers/", {"workergroup_id": autogroup_id})
    life.call("management", "PUT", "/api/v0/account/", {"max_usd_per_hour": 4})
    for frozen in (True, False):
        life.call("management", "POST", "/api/v0/freeze/", {"frozen": frozen})


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

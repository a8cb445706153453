"""Each function's policy allows exactly the AWS calls that a whole life of the system makes."""

from __future__ import annotations

from collections.abc import Iterator
from pprint import pformat

import boto3
import pytest

from chalicelib import wiring
from chalicelib.adapters.aws.clients import aws_session
from chalicelib.ports.errors import KeysUnavailableError
from chalicelib.ports.notifier import Notice, NotifierError, Receiver
from chalicelib.services.owner.receivers import deliver_to_all
from infra.policies import FUNCTIONS, SIGN_IN_KMS, Grant, grants_of
from tests.infra.recorded_life import (
    PREFIX,
    Call,
    Life,
    Recorder,
    doubt,
    observe,
    read_as_of_many_groups,
    recorded_account,
    steer,
)


@pytest.fixture
def recorder(aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """An account with Ballast's tables and key; calls are recorded."""
    with recorded_account(monkeypatch) as recorder:
        yield recorder
    boto3.setup_default_session()


def live(life: Life) -> None:
    """Create, rent, load, route, observe, steer, stop and destroy."""
    endpoint_id, autogroup_id = life.create_group(min_load=50, cold_workers=1, max_workers=3)
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
    read_as_of_many_groups(life)
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
    if grant is SIGN_IN_KMS:
        return "signing"
    if grant.sid.startswith("Unwrap"):
        return grant.sid.removeprefix("Unwrap").lower()
    return grant.actions[0].split(":")[0]


def reach_out(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the life's stand-ins leave out: pokes, the Vast key, the owner's topic; none exists."""
    monkeypatch.setenv("BALLAST_SCALER_FUNCTION", f"{PREFIX}-scaler")
    for name in ("hot", "reports", "management"):
        watched(recorder)
        with recorder.as_function(name):
            wiring.api_ports().poke.poke(1, "waiting")
    notice = Notice(at=1.0, kind="panic", scope="account", title="t", text="t", runbook="panic")
    topic = boto3.client("sns").create_topic(Name=f"{PREFIX}-alerts")["TopicArn"]
    wiring.api_ports().receivers.remember_topic(topic)
    watched(recorder)
    receivers = wiring.api_ports().receivers
    with recorder.as_function("management"):
        receivers.add(Receiver(name="o", channel="email", address="o@example.com"))
        receivers.add(Receiver(name="hook", channel="slack", address="https://hook.test/x"))
        receivers.publish(notice)
        assert receivers.remove("hook")
        assert receivers.remove("o@example.com")
    receivers.add(Receiver(name="hook", channel="slack", address="https://hook.test/x"))
    watched(recorder)
    with recorder.as_function("notifier"):
        assert deliver_to_all(wiring.notifier_ports(), [notice]).keys() == {"hook"}
    receivers.remove("hook")
    watched(recorder)
    ports = wiring.scaler_ports()
    with recorder.as_function("scaler"):
        with pytest.raises(KeysUnavailableError):  # no secret, so nothing is asked of Vast
            ports.marketplace.list_instances()
        with pytest.raises(NotifierError):
            ports.notifiers[0].send(notice)


def watched(recorder: Recorder) -> None:
    """As a new container begins, with every client noted; those of boto3's default session too."""
    wiring.reset()
    recorder.attach(aws_session())
    boto3.setup_default_session(botocore_session=aws_session())


def test_with_keys_inside_kms_the_hot_function_may_sign_and_does(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALLAST_SIGNER", "kms")
    live(Life(recorder))
    assert ("kms:Sign", "signing") in recorder.calls["hot"]
    assert recorder.calls["hot"] <= allowed(grants_of("hot", "kms"))
    for name in ("reports", "management", "scaler"):
        assert recorder.calls[name] <= allowed(FUNCTIONS[name])


def test_policies_allow_what_the_functions_call_and_nothing_else(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(Life(recorder))
    reach_out(recorder, monkeypatch)
    allowed_calls = {name: allowed(grants) for name, grants in FUNCTIONS.items()}
    missing = {n: sorted(recorder.calls[n] - allowed_calls[n]) for n in FUNCTIONS}
    assert not any(missing.values()), pformat(missing)
    unused = {n: sorted(allowed_calls[n] - recorder.calls[n]) for n in FUNCTIONS}
    assert not any(unused.values()), pformat(unused)

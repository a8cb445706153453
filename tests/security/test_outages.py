"""KMS or DynamoDB out of order: routes wait, nothing is rented, and all goes on afterwards.

The real adapters and clients run on moto; what breaks is the answer to botocore.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.services.rounds.loop import scaling_loop
from tests.infra.recorded_life import Life, recorded_account
from tests.security.outages import DYNAMODB_FAULTS, KMS_FAULTS, Outages, answers

THROTTLED = answers(400, "ProvisionedThroughputExceededException")


@pytest.fixture
def outages(aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outages]:
    with recorded_account(monkeypatch):
        yield Outages()


@pytest.fixture
def life(outages: Outages) -> Life:
    """A group with a ready worker, and warm functions."""
    life = Life(outages)
    group = {"endpoint_name": "llm", "min_load": 50, "cold_workers": 0, "max_workers": 4}
    endpoint_id = life.call("management", "POST", "/api/v0/endptjobs/", group)["result"]
    autogroup = {"endpoint_id": endpoint_id, "template_hash": life.template_hash}
    life.call("management", "POST", "/api/v0/autojobs/", autogroup)
    life.rounds(60)  # at rest then
    assert "url" in route(life)
    return life


def route(life: Life, request_idx: int = 0) -> dict[str, Any]:
    """A route's answer, which is 200 whatever happens."""
    request = {"endpoint": "llm", "request_idx": request_idx, "cost": 1.0}
    answer: dict[str, Any] = life.call("hot", "POST", "/route/", request)
    return answer


def renew(life: Life, function: str) -> None:
    """A new container of a function: nothing is in its memory."""
    life.apps[function] = life._app(function)


def test_whatever_the_database_does_a_route_waits_and_is_served_afterwards(
    life: Life, outages: Outages
) -> None:
    for name, fault in DYNAMODB_FAULTS.items():
        with outages.broken("dynamodb", fault):
            waiting = route(life)
        assert "url" not in waiting, name
        assert waiting["request_idx"] > 0, name
        assert 0 < outages.n_broken <= 10, name  # two attempts a call and no more
        life.clock.advance(2)
        assert "url" in route(life, waiting["request_idx"]), name


def test_a_new_container_without_database_waits_too(life: Life, outages: Outages) -> None:
    renew(life, "hot")
    with outages.broken("dynamodb", THROTTLED):
        waiting = route(life)
    assert "url" not in waiting
    assert "url" in route(life, waiting["request_idx"])


def test_an_outage_of_kms_stops_no_container_that_has_its_keys(
    life: Life, outages: Outages
) -> None:
    for name, fault in KMS_FAULTS.items():
        with outages.broken("kms", fault):
            assert "url" in route(life), name
            life.report()
        assert outages.n_broken == 0, name  # no call per grant or report


def test_a_new_container_without_kms_waits_and_works_afterwards(
    life: Life, outages: Outages
) -> None:
    for name, fault in KMS_FAULTS.items():
        for function in ("hot", "reports", "management"):
            renew(life, function)
        with outages.broken("kms", fault):
            waiting = route(life)
            # Keys are checked with the public half: the owner's brakes need no KMS.
            assert errors_elsewhere(life) == {(503, "keys_unavailable"), (200, "")}, name
        assert "url" not in waiting, name
        assert "url" in route(life, waiting["request_idx"]), name
        life.call("management", "GET", "/api/v0/endptjobs/")


def test_management_and_reports_say_that_storage_is_unavailable(
    life: Life, outages: Outages
) -> None:
    for name, fault in DYNAMODB_FAULTS.items():
        with outages.broken("dynamodb", fault):
            code = "not_deployed" if name == "table gone" else "storage_unavailable"
            assert errors_elsewhere(life) == {(503, code)}, name


def errors_elsewhere(life: Life) -> set[tuple[int, str]]:
    """(status, code) of the answers to a report and to management's requests."""
    token = next(i.order.env["MASTER_TOKEN"] for i in life.market.instances.values())
    report = {"id": next(iter(life.market.instances)), "mtoken": token, "ticket": "D"}
    replies = [
        life.send("reports", "POST", "/worker_status/", report),
        life.send("management", "GET", "/api/v0/endptjobs/"),
        life.send("management", "PUT", "/api/v0/account/", {"max_usd_per_hour": 3}),
    ]
    return {(reply["statusCode"], json.loads(reply["body"]).get("error", "")) for reply in replies}


@pytest.mark.parametrize("event", ["dynamodb", "dynamodb.TransactWriteItems", "dynamodb.PutItem"])
def test_without_the_guard_nothing_is_rented(event: str, life: Life, outages: Outages) -> None:
    groups = life.call("management", "GET", "/api/v0/endptjobs/")
    endpoint_id = groups["results"][0]["id"]
    life.call("management", "PUT", f"/api/v0/endptjobs/{endpoint_id}/", {"min_load": 250})
    before = n_creates(life)
    with outages.broken(event, THROTTLED):
        for _ in range(3):
            life.clock.advance(65)  # past a lease that could not be given back
            scaling_loop(life.scaler_ports, deadline_at=life.clock.now() + 1)
            life.market.advance(life.clock.now())
    assert outages.n_broken
    assert n_creates(life) == before
    life.rounds(150)
    assert n_creates(life) > before  # it was wanted, and is had once the guard answers
    rows = life.call("management", "POST", "/get_endpoint_workers/", {"id": endpoint_id})
    assert {row["id"] for row in rows} == set(life.market.instances)


def n_creates(life: Life) -> int:
    return sum(1 for call in life.market.calls if call.verb is Verb.CREATE)

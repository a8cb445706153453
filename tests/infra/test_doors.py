"""Which doors a deployment has, how they are throttled and watched, and what machines report to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from chalicelib import wiring
from chalicelib.services.market.lanes import N_LANES
from infra.bootstrap import main as make_first_keys
from infra.throttles import throttles_for, told_of_rest, worst_usd_per_day_of_rest
from tests.infra.test_resuming import Cutter, chalice, checkout, cutter, run

__all__ = ["checkout", "cutter"]  # fixtures

CORE = {"edge": False, "functions": False}
BEHIND_THE_EDGE = {"ApiErrors", "HotErrors", "ReportsErrors", "RestFlood"}
AT_THE_EDGE = {"EdgeErrors", "Flood"}


def with_rest_api(checkout: Path) -> str:
    """Chalice's REST API and its record, beside the functions; gives its id."""
    client = boto3.client("apigateway")
    api = client.create_rest_api(name="ballast")["id"]
    root = client.get_resources(restApiId=api)["items"][0]["id"]
    client.put_method(restApiId=api, resourceId=root, httpMethod="GET", authorizationType="NONE")
    client.put_integration(restApiId=api, resourceId=root, httpMethod="GET", type="MOCK")
    client.create_deployment(restApiId=api, stageName="api")
    record = checkout / ".chalice" / "deployed" / "dev.json"
    record.parent.mkdir(exist_ok=True)
    rows = [{"resource_type": "rest_api", "rest_api_id": api}]
    record.write_text(json.dumps({"resources": rows}))
    return str(api)


def rest_rate(api: str) -> float:
    """Requests a second that the REST API lets through."""
    settings: Any = boto3.client("apigateway").get_stage(restApiId=api, stageName="api")
    return float(settings["methodSettings"]["*/*"]["throttlingRateLimit"])


def alarms() -> set[str]:
    rows = boto3.client("cloudwatch").describe_alarms()["MetricAlarms"]
    return {row["AlarmName"].removeprefix("ballast-dev-") for row in rows}


def told_address() -> tuple[str, int]:
    wiring.reset()
    account = wiring.api_ports().ledger.account()
    return account.public_url, account.n_lanes


def test_without_an_edge_the_one_door_is_throttled_watched_and_told(
    cutter: Cutter, checkout: Path
) -> None:
    said: list[str] = []
    api = with_rest_api(checkout)
    url = run(cutter, checkout, said, edge=False)["url"]
    throttles = throttles_for(200.0, concurrency=1_000, has_edge=False)
    assert url == f"https://{api}.execute-api.us-east-1.amazonaws.com/api"
    assert told_address() == (url, 0)
    assert rest_rate(api) == throttles.rest.rate
    assert alarms() >= BEHIND_THE_EDGE  # no edge's alarm stands for these
    assert not alarms() & AT_THE_EDGE
    assert any(f"${worst_usd_per_day_of_rest(throttles):,.2f} a day" in line for line in said)
    assert "RestFlood" in told_of_rest(throttles, 200.0)[1]


@pytest.mark.parametrize("again", [CORE, {"edge": False}])
def test_what_does_not_deploy_the_edge_leaves_it_the_one_door(
    cutter: Cutter, checkout: Path, again: dict[str, bool]
) -> None:
    """`core` once more must not open the REST API, nor send machines to another address."""
    said: list[str] = []
    api = with_rest_api(checkout)
    url = run(cutter, checkout, said)["url"]
    wiring.reset()
    wiring.api_ports().ledger.set_public_url("")  # as if the run had been cut off before its end
    assert run(cutter, checkout, said, **again)["url"] == url
    assert told_address() == (url, N_LANES)
    assert rest_rate(api) == 1
    assert alarms() >= AT_THE_EDGE
    assert not alarms() & BEHIND_THE_EDGE


@pytest.mark.parametrize("is_core_first", [True, False])
def test_plain_chalice_deploy_before_or_after_core_ends_with_an_address(
    cutter: Cutter, checkout: Path, *, is_core_first: bool
) -> None:
    said: list[str] = []
    if is_core_first:  # by a pipeline, which nobody can be asked in
        first = run(cutter, checkout, said, vast_key=None, **CORE)
        assert (first["url"], first["admin_key"][:4]) == ("", "blk.")
        assert any("`ballast secret set VAST_API_KEY --stage dev`" in line for line in said)
        assert any("once more, so that machines learn" in line for line in said)
    chalice(checkout)("deploy", "dev", said.append, root=checkout)
    api = with_rest_api(checkout)
    url = run(cutter, checkout, said, **CORE)["url"]
    assert api in url
    assert told_address() == (url, 0)
    edge = run(cutter, checkout, said)["url"]  # and on to the edge
    assert told_address() == (edge, N_LANES)
    assert rest_rate(api) == 1


def test_functions_of_another_checkout_are_not_given_a_wrong_address(
    cutter: Cutter, checkout: Path
) -> None:
    said: list[str] = []
    chalice(checkout)("deploy", "dev", said.append, root=checkout)
    assert run(cutter, checkout, said, **CORE)["url"] == ""
    assert any("run this where `chalice deploy` ran" in line for line in said)
    assert told_address() == ("", 0)


def test_a_deployment_asks_once_who_is_told_of_trouble(cutter: Cutter, checkout: Path) -> None:
    said: list[str] = []
    run(cutter, checkout, said, **CORE)
    assert any("nobody is told of trouble yet" in line for line in said)
    run(cutter, checkout, said, mail=lambda: "no address", **CORE)
    assert any("'no address' is no e-mail address" in line for line in said)
    run(cutter, checkout, said, mail=lambda: "owner@example.com", **CORE)
    (known,) = wiring.api_ports().receivers.receivers()
    assert (known.address, known.channel) == ("owner@example.com", "email")
    run(cutter, checkout, said, mail=_not_again, **CORE)


def _not_again() -> str:
    raise AssertionError("somebody is told already")


def test_keys_for_a_stage_that_is_not_deployed_are_refused_in_one_sentence(cutter: Cutter) -> None:
    with pytest.raises(SystemExit, match=r"`python -m infra\.deploy core --stage typo`"):
        make_first_keys(["--stage", "typo"])
    assert boto3.client("dynamodb").list_tables()["TableNames"] == []

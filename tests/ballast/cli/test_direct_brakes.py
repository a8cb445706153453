"""The brakes past the server: nobody who floods its doors keeps the owner from them."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest

from ballast.cli.__main__ import run
from ballast.cli.remote.direct import OWNER
from chalicelib import wiring
from chalicelib.adapters.aws.tables import create_tables
from chalicelib.core.model.scopes import ACCOUNT_SCOPE
from chalicelib.ports.bundles import ApiPorts
from chalicelib.services.owner.groups import create_group
from chalicelib.wire.management import parse_endpoint_changes
from fakes.console.server import Console
from tests.ballast.cli.conftest import Ballast

STAGE = "flooded"


@pytest.fixture
def ports(aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiPorts]:
    """The stage's tables in an account that the test may reach; no server."""
    for name in ("BALLAST_URL", "BALLAST_API_KEY", "BALLAST_TABLE_PREFIX", "BALLAST_ROLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BALLAST_STAGE", STAGE)
    create_tables(boto3.client("dynamodb", region_name="us-east-1"), f"ballast-{STAGE}")
    wiring.reset()
    yield wiring.api_ports()
    wiring.reset()


def test_freeze_and_unfreeze_need_no_server(
    ports: ApiPorts, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["freeze", "--direct", "--stage", STAGE]) == 0
    assert f"The account of stage {STAGE} is frozen" in capsys.readouterr().out
    assert ports.ledger.account().is_frozen
    assert run(["unfreeze", "--direct", "--yes", "--stage", STAGE]) == 0
    assert not ports.ledger.account().is_frozen
    told = ports.events.tail(ACCOUNT_SCOPE, limit=10)
    assert {(event.actor, event.message) for event in told} == {
        ("aws-credentials", "account no longer frozen"),
        ("aws-credentials", "account frozen"),
    }


def test_one_group_is_frozen_by_its_name(ports: ApiPorts) -> None:
    create_group(ports, OWNER, parse_endpoint_changes({"endpoint_name": "chat"}), 0.0)
    assert run(["freeze", "chat", "--direct", "--stage", STAGE]) == 0
    (group,) = ports.groups.list_groups()
    assert group.frozen
    assert not ports.ledger.account().is_frozen
    assert run(["freeze", "none", "--direct", "--stage", STAGE]) == 1


def test_a_panic_ends_without_the_server(ports: ApiPorts) -> None:
    ports.ledger.set_flags(is_panicking=True)
    assert run(["panic", "--clear", "--yes", "--direct", "--stage", STAGE]) == 0
    assert not ports.ledger.account().is_panicking


@pytest.mark.parametrize(("words", "path"), [
    (["freeze"], "/api/v0/freeze"),
    (["unfreeze"], "/api/v0/freeze"),
    (["panic", "--yes"], "/api/v0/panic"),
    (["panic", "--clear", "--yes"], "/api/v0/panic"),
])  # fmt: skip
def test_who_is_turned_away_at_the_door_is_told_the_other_way(
    ballast: Ballast, console: Console, words: list[str], path: str
) -> None:
    """API Gateway's throttle answers 429."""
    console.refusals[path] = (429, "Too Many Requests")
    result = ballast(*words)
    assert result.code == 3
    assert "more come than it lets through" in result.err
    assert f"`ballast {words[0]} --direct --stage" in result.err


@pytest.mark.parametrize("words", [["freeze"], ["unfreeze", "--yes"], ["panic", "--yes"]])
@pytest.mark.parametrize("code", ["InternalServerError", "ProvisionedThroughputExceededException"])
def test_who_asks_while_the_tables_fail_is_sent_to_what_needs_none(
    ballast: Ballast, console: Console, words: list[str], code: str
) -> None:
    """The API's own answer: tests/api/test_operations.py. `--direct` would ask the same tables."""
    said = {"success": False, "error": "storage_unavailable", "msg": f"DynamoDB: {code}"}
    path = "/api/v0/panic" if "panic" in words else "/api/v0/freeze"
    console.failures[path] = (503, said)
    result = ballast(*words)
    assert result.code == 3
    assert code in result.err
    assert "nothing is rented or started" in result.err
    assert "ballast panic --vast-key-only" in result.err
    assert "--direct" not in result.err


@pytest.mark.parametrize("words", [["freeze"], ["panic", "--yes"], ["panic", "--clear", "--yes"]])
@pytest.mark.parametrize("status", [401, 403])
def test_whose_key_ran_out_in_an_emergency_is_told_what_needs_none(
    ballast: Ballast, console: Console, words: list[str], status: int
) -> None:
    body = '{"success": false, "msg": "Key not accepted: this api_key has expired"}'
    console.refusals[f"/api/v0/{words[0]}"] = (status, body)
    result = ballast(*words)
    assert result.code == 4
    assert "has expired" in result.err
    assert f"`ballast {words[0]} --direct --stage …` needs AWS credentials and no key" in result.err

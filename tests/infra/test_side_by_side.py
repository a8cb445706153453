"""Old code beside newer: through the function's own entry, an older scaler leaves all as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from chalicelib import wiring
from chalicelib.adapters.aws.tables import LEDGER
from infra.bootstrap import Caps, bootstrap
from lab.local.gateway.lambda_context import LambdaContext
from tests.infra.recorded_life import PREFIX, STAGE, recorded_account
from tests.security.canaries import Evidence, dump_tables

LEDGER_TABLE = LEDGER.full_name(PREFIX)


@pytest.fixture
def entry(aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`app.py` on a deployment's tables; nobody answers for Vast."""
    monkeypatch.setenv("BALLAST_VAST_URL", "http://127.0.0.1:1")
    with recorded_account(monkeypatch):
        bootstrap(STAGE, Caps(), public_url="https://ballast.example")
        import app

        yield app


def dump() -> list[tuple[str, bytes]]:
    evidence = Evidence()
    dump_tables(evidence, boto3.client("dynamodb"), PREFIX)
    return sorted(evidence.found)


def write_schema_version(number: int) -> None:
    """What a deployment of that version leaves in the account item."""
    client = boto3.client("dynamodb")
    items = client.scan(TableName=LEDGER_TABLE)["Items"]
    (account,) = (item for item in items if item["item"]["S"] == "account")
    client.put_item(TableName=LEDGER_TABLE, Item={**account, "schema_version": {"N": str(number)}})
    wiring.reset()


@pytest.mark.parametrize("function", ["scaler", "scaling_loop"])
def test_code_older_than_the_state_changes_nothing_and_emits_no_figures(
    entry: Any, function: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_schema_version(99)
    before = dump()
    event: dict[str, object] = {} if function == "scaler" else schedule_event()
    assert getattr(entry, function)(event, LambdaContext(function, 60.0)) == {}
    assert dump() == before
    assert "RoundDurationS" not in capsys.readouterr().out  # so the alarm RoundsMissing tells


def test_code_as_new_as_the_state_works(entry: Any, capsys: pytest.CaptureFixture[str]) -> None:
    before = dump()
    assert entry.scaler({}, LambdaContext("scaler", 9.0)) == {}
    assert dump() != before
    printed = capsys.readouterr().out
    assert "RoundDurationS" in printed or "RoundsFailed" in printed


def schedule_event() -> dict[str, object]:
    """What EventBridge sends each minute."""
    return {
        "version": "0",
        "id": "0",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "123456789012",
        "time": "2027-01-15T12:00:00Z",
        "region": "us-east-1",
        "resources": [],
        "detail": {},
    }

"""The runbook's answers to stolen keys: another signing key, another pepper, another admin key."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest

from chalicelib import wiring
from infra.bootstrap import main
from tests.infra.recorded_life import PREFIX, STAGE, Life, serving_life

REQUEST = {"endpoint": "llm", "request_idx": 0, "cost": 1}


@pytest.fixture
def life(aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    """A group that serves."""
    with serving_life(monkeypatch, min_load=50, max_workers=3) as life:
        yield life


def keys_of_workers() -> set[str]:
    """The signing keys by which the rented workers know us."""
    rows = boto3.client("dynamodb").scan(TableName=f"{PREFIX}-workers")["Items"]
    return {row["key_id"]["S"] for row in rows}


def test_a_rotated_signing_key_stops_nobody_and_is_everybodys_after_an_update(
    life: Life, capsys: pytest.CaptureFixture[str]
) -> None:
    (old,) = keys_of_workers()
    main(["--stage", STAGE, "--rotate-signing-key"])
    new = life._ports().signer.newest().key_id
    assert new != old
    assert new in capsys.readouterr().out
    assert "url" in life.call("hot", "POST", "/route/", REQUEST)  # a warm container
    life.apps["hot"] = life._app("hot")
    assert "url" in life.call("hot", "POST", "/route/", REQUEST)  # and a new one
    life.rounds(30)
    assert keys_of_workers() == {old}
    (autogroup,) = life.call("management", "GET", "/api/v0/autojobs/")["results"]
    life.call("management", "POST", "/update_workers/", {"workergroup_id": autogroup["id"]})
    for _ in range(60):
        if keys_of_workers() == {new}:
            break
        life.rounds(10)
    assert keys_of_workers() == {new}
    assert "url" in life.call("hot", "POST", "/route/", REQUEST)


def test_after_what_proves_keys_is_replaced_no_old_key_works_and_a_new_one_does(
    life: Life, capsys: pytest.CaptureFixture[str]
) -> None:
    boto3.client("dynamodb").delete_item(
        TableName=f"{PREFIX}-keys", Key={"key_id": {"S": "pepper#caller"}}
    )
    wiring.reset()  # as the command's own process begins
    main(["--stage", STAGE, "--new-admin-key"])
    life.apps = {name: life._app(name) for name in life.apps}
    assert life.send("management", "GET", "/api/v0/endptjobs/")["statusCode"] == 401
    life.key = capsys.readouterr().out.split()[-1]
    life.call("management", "GET", "/api/v0/endptjobs/")

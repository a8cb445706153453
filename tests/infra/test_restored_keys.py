"""Keys after a restore: what was made or changed since the backup waits for the owner's word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from infra.bootstrap import main
from infra.restore import hold_keys
from tests.infra.recorded_life import PREFIX, STAGE, Life, serving_life

KEYS = "/api/v0/keys/"


@pytest.fixture
def life(aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    with serving_life(monkeypatch, min_load=50, max_workers=2) as life:
        yield life


def items(table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = boto3.client("dynamodb").scan(
        TableName=f"{PREFIX}-{table}", ConsistentRead=True
    )["Items"]
    return found


def replace_items(table: str, before: list[dict[str, Any]], *key: str) -> None:
    """As a restore to a point in time does."""
    client = boto3.client("dynamodb")
    for item in items(table):
        client.delete_item(TableName=f"{PREFIX}-{table}", Key={part: item[part] for part in key})
    for item in before:
        client.put_item(TableName=f"{PREFIX}-{table}", Item=item)


def new_key(life: Life, name: str) -> tuple[str, str]:
    body = {"name": name, "verbs": ["route", "read"], "max_requests_per_s": 50}
    answer = life.call("management", "POST", KEYS, body)
    return answer["key"], answer["result"]["key_id"]


def status_of(life: Life, key: str) -> int:
    """Of a container that knows nothing."""
    life.apps["hot"] = life._app("hot")
    body = {"endpoint": "llm", "cost": 1}
    reply = life.send("hot", "POST", "/route/", body, Authorization=f"Bearer {key}")
    return int(reply["statusCode"])


def hold(life: Life) -> list[str]:
    said: list[str] = []
    hold_keys(life._scaler_ports(life.scaler_ports.marketplace), said.append)
    return said


def test_only_what_changed_since_the_backup_is_held_and_a_word_of_the_owner_frees_it(
    life: Life,
) -> None:
    (same, _), (revoked, revoked_id), (limited, limited_id) = (
        new_key(life, name) for name in ("same", "revoked", "limited")
    )
    backup = items("keys")
    made, _ = new_key(life, "made since")
    life.call("management", "DELETE", f"{KEYS}{revoked_id}/")
    life.call("management", "PUT", f"{KEYS}{limited_id}/", {"max_requests_per_s": 1})
    replace_items("keys", backup, "key_id")
    assert status_of(life, revoked) == 200  # why it must not stay so
    said = hold(life)
    statuses = [status_of(life, key) for key in (same, revoked, limited, made)]
    assert statuses == [200, 401, 401, 401]
    assert {line.split()[1] for line in said} == {revoked_id, limited_id}
    life.apps["management"] = life._app("management")
    row = life.call("management", "PUT", f"{KEYS}{limited_id}/", {"confirm": True})["result"]
    assert (row["is_held"], row["max_requests_per_s"]) == (False, 50)
    assert hold(life) == [line for line in said if revoked_id in line]
    assert [status_of(life, key) for key in (same, revoked, limited)] == [200, 401, 200]


def test_without_the_audit_trail_every_key_is_held_and_a_new_admin_key_opens_the_door(
    life: Life, capsys: pytest.CaptureFixture[str]
) -> None:
    key, key_id = new_key(life, "tenant")
    replace_items("events", [], "scope", "at_id")
    said = hold(life)
    assert status_of(life, key) == 401
    life.apps["management"] = life._app("management")
    assert life.send("management", "GET", KEYS)["statusCode"] == 401
    assert any("no trail says" in line for line in said)
    main(["--stage", STAGE, "--new-admin-key"])
    life.key = capsys.readouterr().out.split()[-1]
    life.apps["management"] = life._app("management")
    life.call("management", "PUT", f"{KEYS}{key_id}/", {"confirm": True})
    assert status_of(life, key) == 200
    hold(life)
    life.apps["management"] = life._app("management")
    assert life.send("management", "GET", KEYS)["statusCode"] == 200


def test_a_groups_own_key_that_was_rotated_since_the_backup_stays_void(life: Life) -> None:
    (group,) = life.call("management", "GET", "/api/v0/endptjobs/")["results"]
    backup = items("config")
    life.call("management", "PUT", f"/api/v0/endptjobs/{group['id']}/", {"rotate_key": True})
    replace_items("config", backup, "kind", "id")
    hold(life)
    assert status_of(life, group["api_key"]) == 401
    life.apps["management"] = life._app("management")
    (group,) = life.call("management", "GET", "/api/v0/endptjobs/")["results"]
    assert status_of(life, group["api_key"]) == 200

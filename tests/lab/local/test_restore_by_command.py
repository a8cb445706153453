"""The runbook's table-loss on a running system: backup, restore, the owner's word, by commands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from ballast.cli.__main__ import run
from lab.local.system.local_system import LocalSystem
from lab.local.system.owner import Owner, wait_until

CACHED_S = 60.0  # a router may know a key for 30 s


@pytest.fixture
def ballast(
    system: LocalSystem,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Any:
    """The owner's command against the system; gives what it printed as JSON."""
    monkeypatch.setenv("BALLAST_URL", system.url)
    monkeypatch.setenv("BALLAST_API_KEY", system.account_key)
    monkeypatch.setenv("BALLAST_CONFIG", str(tmp_path / "config.json"))

    def call(*words: str) -> Any:
        assert run([*words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return call


def backup(system: LocalSystem) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = system.dynamodb().scan(
        TableName=f"{system.table_prefix}-keys", ConsistentRead=True
    )["Items"]
    return found


def put_back(system: LocalSystem, before: list[dict[str, Any]]) -> None:
    """As a restore to a point in time does: every row as it was, and no other."""
    client, table = system.dynamodb(), f"{system.table_prefix}-keys"
    for item in backup(system):
        client.delete_item(TableName=table, Key={"key_id": item["key_id"]})
    for item in before:
        client.put_item(TableName=table, Item=item)


@pytest.mark.long  # half a minute until routers forget what they knew of a key
def test_keys_made_or_changed_after_the_backup_are_refused_until_the_owner_says_so(
    system: LocalSystem, ballast: Any
) -> None:
    owner = Owner(system.url, system.account_key)
    endpoint_id = owner.create_group("restored", min_load=0.0, cold_workers=0, max_workers=1)

    def status(key: str) -> int:
        headers, body = {"Authorization": f"Bearer {key}"}, {"endpoint": "restored", "cost": 1}
        answer = requests.post(f"{system.url}/route/", json=body, headers=headers, timeout=30)
        return answer.status_code

    def new(name: str) -> tuple[str, str]:
        made = ballast("create", "key", "--name", name, "--endpoint-name", "restored")
        return str(made["key"]), str(made["result"]["key_id"])

    (same, same_id), (revoked, revoked_id), (limited, limited_id) = map(
        new, ("same", "gone", "limited")
    )
    before = backup(system)
    made_since, _ = new("made since")
    ballast("delete", "key", revoked_id, "--yes")
    ballast("update", "key", limited_id, "--max-requests-per-s", "1")
    put_back(system, before)
    restored = subprocess.run(
        [sys.executable, "-m", "infra.restore", "--stage", system.environment["BALLAST_STAGE"],
         "--make-tables"],
        env=dict(system.environment), capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    told = set(re.findall(r"^key (\S+) .*held:", restored.stdout, re.MULTILINE))
    assert {revoked_id, limited_id} <= told
    assert same_id not in told
    refused = [revoked, limited, made_since]
    wait_until("refusals", lambda: [status(key) for key in refused] == [401] * 3, CACHED_S)
    assert status(same) == 200
    rows = {row["key_id"]: row for row in ballast("show", "keys")}
    assert {key_id for key_id, row in rows.items() if row["is_held"]} == told
    ballast("update", "key", limited_id, "--confirm")
    wait_until("the owner's word", lambda: status(limited) == 200, CACHED_S)
    ballast("delete", "key", revoked_id, "--yes")
    assert [status(key) for key in (same, revoked, made_since)] == [200, 401, 401]
    owner.delete_group(endpoint_id)

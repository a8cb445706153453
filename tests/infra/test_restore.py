"""The restore drill: tables lost, machines claimed again by their labels, nothing rented twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest

from chalicelib.core.fleet.intents import label_for, token_from
from chalicelib.core.fleet.pacing import Verb
from infra.bootstrap import Caps, bootstrap
from infra.restore import (
    BACKED_UP,
    Machine,
    RestoreError,
    Standing,
    make_tables,
    pepper_exists,
    report,
    restore,
)
from tests.infra.aws_lines import blocks, call
from tests.infra.recorded_life import PREFIX, STAGE, Life, serving_life

URL = "https://ballast.example"
KEYS_OF_TABLES = {
    "workers": ("endpoint_id", "instance_id"),
    "routing": ("endpoint_id", "item"),
    "ledger": ("account", "item"),
    "events": ("scope", "at_id"),
    "config": ("kind", "id"),
    "keys": ("key_id",),
}
REBUILT = ("workers", "routing", "ledger", "events")  # `config` and `keys` come from their backups


@pytest.fixture
def life(aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    """A group that serves with some machines; its owner has stopped the functions."""
    with serving_life(monkeypatch, seconds=50, min_load=150, max_workers=4) as life:
        assert len(life.market.instances) >= 2
        assert is_served(life)
        yield life


def dynamodb() -> Any:
    return boto3.client("dynamodb", region_name="us-east-1")


def lose(*tables: str) -> None:
    client = dynamodb()
    for table in tables:
        name = f"{PREFIX}-{table}"
        for item in client.scan(TableName=name)["Items"]:
            key = {part: item[part] for part in KEYS_OF_TABLES[table]}
            client.delete_item(TableName=name, Key=key)


def rows() -> set[int]:
    items = dynamodb().scan(TableName=f"{PREFIX}-workers")["Items"]
    return {int(item["instance_id"]["N"]) for item in items}


def n_calls(life: Life, verb: Verb) -> int:
    return sum(1 for call in life.market.calls if call.verb is verb)


def is_served(life: Life) -> bool:
    """Whether a container that knows nothing grants a request."""
    life.apps["hot"] = life._app("hot")
    request = {"endpoint": "llm", "request_idx": 0, "cost": 1}
    return "url" in life.call("hot", "POST", "/route/", request)


def has_pepper() -> bool:
    return pepper_exists(dynamodb(), PREFIX)


def test_after_the_loss_of_four_tables_every_machine_has_its_row_and_serves(life: Life) -> None:
    machines, n_creates = set(life.market.instances), n_calls(life, Verb.CREATE)
    n_destroys = n_calls(life, Verb.DESTROY)
    lose(*REBUILT)
    assert bootstrap(STAGE, Caps(), public_url=URL) is None  # `make deploy`: the keys are there
    found = restore(life.scaler_ports, has_pepper=has_pepper())
    assert {m.standing for m in found} == {Standing.RESTORED}
    assert {m.instance_id for m in found} == machines == rows()
    assert report(found, has_pepper=True, public_url=URL, say=list[str]().append)
    life.rounds(180)
    assert set(life.market.instances) == machines == rows()
    assert n_calls(life, Verb.CREATE) == n_creates
    assert n_calls(life, Verb.DESTROY) == n_destroys
    assert is_served(life)


def test_a_second_run_changes_nothing_and_a_dry_run_only_tells(life: Life) -> None:
    lose("workers", "ledger")
    before = rows()
    told = restore(life.scaler_ports, has_pepper=True, dry_run=True)
    assert {m.standing for m in told} == {Standing.MISSING}
    assert rows() == before == set()
    restore(life.scaler_ports, has_pepper=True)
    again = restore(life.scaler_ports, has_pepper=True)
    assert {m.standing for m in again} == {Standing.KNOWN}
    assert not life.scaler_ports.ledger.account().is_frozen


def test_a_lost_pepper_is_said_and_machines_are_listed_for_a_human(life: Life) -> None:
    lose(*KEYS_OF_TABLES)
    said: list[str] = []
    found = restore(life.scaler_ports, has_pepper=has_pepper())
    assert not report(found, has_pepper=False, public_url=URL, say=said.append)
    for instance in life.market.instances.values():
        assert any(f"instance {instance.instance_id}  llm - " in line for line in said)
    assert any("pepper is lost" in line for line in said)
    assert rows() == set()
    assert not has_pepper()  # asking made no new one


def test_a_new_pepper_proves_nothing_and_touches_nothing(life: Life) -> None:
    lose("workers", "ledger", "keys")
    assert bootstrap(STAGE, Caps(), public_url=URL)  # a redeploy made new keys
    ports = life._scaler_ports(life.scaler_ports.marketplace)
    found = restore(ports, has_pepper=has_pepper())
    assert {m.standing for m in found} == {Standing.UNPROVEN}
    said: list[str] = []
    assert not report(found, has_pepper=True, public_url=URL, say=said.append)
    assert any("left alone" in line for line in said)
    assert rows() == set()


def test_a_group_with_a_name_longer_than_a_label_is_known_as_configured(life: Life) -> None:
    name = "a-name-longer-than-a-label-holds" * 3
    groups = life.scaler_ports.groups
    (group,) = groups.list_groups()
    groups.put_group(
        replace(group, name=name, revision=group.revision + 1), expected_revision=group.revision
    )
    token = token_from("0123456789abcdef", life.scaler_ports.secrets.mac)
    for instance in life.market.instances.values():
        instance.label = label_for(name, token)
    lose("workers", "ledger")
    told = restore(life.scaler_ports, has_pepper=True, dry_run=True)
    assert {m.standing for m in told} == {Standing.MISSING}


def test_machines_of_groups_that_nobody_configured_are_told(life: Life) -> None:
    lose("workers", "ledger", "config")
    found = restore(life.scaler_ports, has_pepper=True)
    assert {m.standing for m in found} == {Standing.NO_GROUP}
    said: list[str] = []
    assert not report(found, has_pepper=True, public_url="", say=said.append)
    assert any("config" in line for line in said)
    assert any("public URL" in line for line in said)


def test_a_whole_fleet_is_reported_as_whole() -> None:
    known = [Machine(1, "llm - x", Standing.KNOWN)]
    assert report(known, has_pepper=True, public_url=URL, say=list[str]().append)


def items(table: str) -> list[Any]:
    found = dynamodb().scan(TableName=f"{PREFIX}-{table}")["Items"]
    return sorted(found, key=repr)


def as_runbook_says(lines: list[str], *, earlier: str) -> None:
    """Run a block of the runbook's; `earlier` is a moment before the damage."""
    arn = ""
    for line in lines:
        told = call(
            line.replace("ballast-prod", PREFIX)
            .replace("THE-ARN-ABOVE", arn)
            .replace("2026-11-21T10:00:00Z", earlier)
            .replace("SYSTEM", "USER")  # moto makes none by itself when a table is deleted
        )
        arn = told or arn


def test_a_table_that_is_gone_comes_back_by_the_runbooks_commands(life: Life) -> None:
    gone, _ = blocks("runbook.md", "table-loss")
    before = items("config")
    dynamodb().create_backup(TableName=f"{PREFIX}-config", BackupName="as AWS makes one")
    dynamodb().delete_table(TableName=f"{PREFIX}-config")
    with pytest.raises(RestoreError, match=f"{PREFIX}-config is gone: restore it first"):
        make_tables(dynamodb(), PREFIX, list[str]().append)
    as_runbook_says(gone, earlier="")
    assert items("config") == before


def test_a_table_that_is_damaged_comes_back_under_its_name(life: Life) -> None:
    _, damaged = blocks("runbook.md", "table-loss")
    before = items("config")
    call(
        f"aws dynamodb update-continuous-backups --table-name {PREFIX}-config "
        "--point-in-time-recovery-specification '{\"PointInTimeRecoveryEnabled\": true}'"
    )
    as_runbook_says(damaged, earlier="2026-11-21T10:00:00Z")
    assert items("config") == before
    assert f"{PREFIX}-config-before" not in dynamodb().list_tables()["TableNames"]


def test_tables_that_are_gone_are_made_again_with_backups_and_protection(life: Life) -> None:
    machines = set(life.market.instances)
    for lost in REBUILT:
        dynamodb().delete_table(TableName=f"{PREFIX}-{lost}")
    said: list[str] = []
    make_tables(dynamodb(), PREFIX, said.append)
    assert f"{PREFIX}-events" in said[0]
    for table in BACKED_UP:
        name = table.full_name(PREFIX)
        backups = dynamodb().describe_continuous_backups(TableName=name)
        recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
        assert recovery["PointInTimeRecoveryStatus"] == "ENABLED"
        assert dynamodb().describe_table(TableName=name)["Table"]["DeletionProtectionEnabled"]
    assert bootstrap(STAGE, Caps(), public_url=URL) is None
    found = restore(life.scaler_ports, has_pepper=has_pepper())
    assert {m.instance_id for m in found if m.standing is Standing.RESTORED} == machines

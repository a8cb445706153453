"""CloudFormation: keys and tables get the properties that their template states."""

from __future__ import annotations

import json
from typing import Any

from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import Table
from moto.kms.models import Key, kms_backends

from lab.local.moto_plus.correcting import instead_of

CREATE, UPDATE = "create_from_cloudformation_json", "update_from_cloudformation_json"


@instead_of(Key, CREATE)
def _create_key(
    _cls: Any, _stock: Any, _name: str, document: Any, account: str, region: str, **_: Any
) -> Any:
    """Stock moto makes every key SYMMETRIC_DEFAULT and keeps a policy that DescribeKey rejects."""
    properties = document["Properties"]
    policy = properties.get("KeyPolicy")
    key = kms_backends[account][region].create_key(
        policy=policy if isinstance(policy, str | None) else json.dumps(policy),
        key_usage=properties.get("KeyUsage", "ENCRYPT_DECRYPT"),
        key_spec=properties.get("KeySpec", "SYMMETRIC_DEFAULT"),
        description=properties.get("Description", ""),
        tags=properties.get("Tags", []),
    )
    key.key_rotation_status = properties.get("EnableKeyRotation", False)
    key.enabled = properties.get("Enabled", True)
    return key


@instead_of(Table, CREATE)
def _create_table(
    _cls: Any, stock: Any, name: str, document: Any, account: str, region: str, **more: Any
) -> Any:
    """Stock moto ignores a table's TTL, recovery and protection."""
    table = stock(name, document, account, region, **more)
    backend, properties = dynamodb_backends[account][region], document["Properties"]
    if ttl := properties.get("TimeToLiveSpecification"):
        backend.update_time_to_live(name, ttl)
    if recovery := properties.get("PointInTimeRecoverySpecification"):
        backend.update_continuous_backups(name, recovery)
    return _protected(table, properties)


@instead_of(Table, UPDATE)
def _update_table(
    _cls: Any, _stock: Any, *, original_resource: Any, cloudformation_json: Any, **_: Any
) -> Any:
    """Stock moto cannot change a table."""
    return _protected(original_resource, cloudformation_json["Properties"])


def _protected(table: Any, properties: dict[str, Any]) -> Any:
    protected = str(properties.get("DeletionProtectionEnabled", False))
    table.deletion_protection_enabled = protected.lower() == "true"
    return table

"""CloudFormation: keys and tables get the properties that their template states."""

from __future__ import annotations

import json
from typing import Any

from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import Table
from moto.kms.models import Key, kms_backends


def correct() -> None:
    """Correct what moto's CloudFormation makes of AWS::KMS::Key and AWS::DynamoDB::Table."""
    Key.create_from_cloudformation_json = classmethod(_create_key)
    _complete_tables()


def _create_key(
    cls: Any,
    /,
    resource_name: str,
    cloudformation_json: dict[str, Any],
    account_id: str,
    region_name: str,
    **kwargs: Any,
) -> Any:
    """Stock moto makes every key SYMMETRIC_DEFAULT and keeps a policy that DescribeKey rejects."""
    del cls, resource_name, kwargs
    properties = cloudformation_json["Properties"]
    policy = properties.get("KeyPolicy")
    key = kms_backends[account_id][region_name].create_key(
        policy=policy if isinstance(policy, str | None) else json.dumps(policy),
        key_usage=properties.get("KeyUsage", "ENCRYPT_DECRYPT"),
        key_spec=properties.get("KeySpec", "SYMMETRIC_DEFAULT"),
        description=properties.get("Description", ""),
        tags=properties.get("Tags", []),
    )
    key.key_rotation_status = properties.get("EnableKeyRotation", False)
    key.enabled = properties.get("Enabled", True)
    return key


def _complete_tables() -> None:
    """Stock moto ignores a table's TTL, recovery and protection, and cannot change a table."""
    stock_create = Table.create_from_cloudformation_json.__func__

    def create_table(
        cls: Any,
        /,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> Any:
        table = stock_create(
            cls, resource_name, cloudformation_json, account_id, region_name, **kwargs
        )
        properties = cloudformation_json["Properties"]
        protected = properties.get("DeletionProtectionEnabled", False)
        table.deletion_protection_enabled = str(protected).lower() == "true"
        backend = dynamodb_backends[account_id][region_name]
        if ttl := properties.get("TimeToLiveSpecification"):
            backend.update_time_to_live(resource_name, ttl)
        if recovery := properties.get("PointInTimeRecoverySpecification"):
            backend.update_continuous_backups(resource_name, recovery)
        return table

    def update_table(
        cls: Any,
        /,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> Any:
        del cls, new_resource_name, account_id, region_name
        protected = cloudformation_json["Properties"].get("DeletionProtectionEnabled", False)
        original_resource.deletion_protection_enabled = str(protected).lower() == "true"
        return original_resource

    Table.create_from_cloudformation_json = classmethod(create_table)
    Table.update_from_cloudformation_json = classmethod(update_table)

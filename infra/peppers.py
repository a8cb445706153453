"""Secrets of one purpose each, made before the functions that need them; and what was before.

One pepper used to serve all purposes, and callers' keys ended with a MAC under it. Those keys go
on: their rows get the hashes of what they end with, so that no function needs the pepper.
Whoever may still unwrap it could make them again, so the owner is advised to replace them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from chalicelib.adapters.aws.secret_box import (
    CALLER,
    FORMER_CONTEXT,
    FORMER_ITEM,
    PURPOSES,
    make_mac,
)
from chalicelib.adapters.aws.tables import KEYS
from chalicelib.core.model.caller_key import ROUTE, own_key_id
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.keys import CallerKey
from chalicelib.services.keys import proof_hash


def make_peppers(ports: ApiPorts) -> None:
    """One secret a purpose, whichever are not there yet.

    Raises:
        KeysUnavailableError: DynamoDB or KMS cannot be used with these credentials.
    """
    for purpose in PURPOSES:
        if purpose != CALLER:
            ports.secrets.mac(purpose, "")
    ports.secrets.prove("")


def take_over_former_keys(ports: ApiPorts, dynamodb: Any, kms: Any, prefix: str, alias: str) -> int:
    """Keep the keys that were made under the former pepper; how many, 0 where there is none.

    May be repeated: what was taken over once, or made since, stays as it is.
    """
    table, caller = KEYS.full_name(prefix), {"key_id": {"S": f"pepper#{CALLER}"}}
    item = dynamodb.get_item(TableName=table, Key=FORMER_ITEM).get("Item")
    if item is None or "former" in dynamodb.get_item(TableName=table, Key=caller)["Item"]:
        return 0
    pepper = kms.decrypt(
        KeyId=alias, CiphertextBlob=item["wrapped"]["B"], EncryptionContext=FORMER_CONTEXT
    )["Plaintext"]
    rows = [*ports.keys.list(), *_own_keys(ports)]
    for row in rows:
        hashes = {
            str(generation): proof_hash(make_mac(pepper, "caller", f"{row.key_id}.{generation}"))
            for generation in range(max(1, row.revoked_generations_below), row.generation + 1)
        }
        ports.keys.put(replace(row, former_hashes=hashes, revision=row.revision + 1))
    dynamodb.update_item(
        TableName=table,
        Key=caller,
        UpdateExpression="SET former = :yes",
        ExpressionAttributeValues={":yes": {"BOOL": True}},
    )
    return len(rows)


def _own_keys(ports: ApiPorts) -> Iterator[CallerKey]:
    """Groups' own keys had no rows: they get one each, for the generation that counts now."""
    for group in ports.groups.list_groups():
        yield CallerKey(
            key_id=own_key_id(group.endpoint_id),
            name=f"own key of {group.name}, former kind",
            verbs=frozenset({ROUTE}),
            endpoint_id=group.endpoint_id,
            generation=group.key_generation,
            revoked_generations_below=group.key_generation,
            created_at=ports.clock.now(),
        )

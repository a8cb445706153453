"""Keys that were made under one pepper for all purposes go on, and only they."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest

from chalicelib import wiring
from chalicelib.adapters.aws.secret_box import FORMER_CONTEXT, FORMER_ITEM, make_mac
from chalicelib.core.model.caller_key import CallerKeyError
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.ports.keys import CallerKey
from chalicelib.services.keys import KeyMemory, check_key, issue_key, revoke_key
from infra.bootstrap import make_secrets
from tests.conftest import TABLE_PREFIX

STAGE = "test"
VERBS = frozenset({"route", "read", "admin"})


@pytest.fixture
def pepper(dynamodb: object, kms: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[bytes]:
    """A deployment of before: one pepper, rows without hashes."""
    monkeypatch.setenv("BALLAST_STAGE", STAGE)
    wiring.reset()
    wrapped = boto3.client("kms").generate_data_key(
        KeyId=f"alias/ballast-{STAGE}", NumberOfBytes=32, EncryptionContext=FORMER_CONTEXT
    )
    boto3.client("dynamodb").put_item(
        TableName=f"{TABLE_PREFIX}-keys",
        Item={**FORMER_ITEM, "wrapped": {"B": wrapped["CiphertextBlob"]}},
    )
    yield wrapped["Plaintext"]
    wiring.reset()


def former(pepper: bytes, key_id: str, generation: int = 1) -> str:
    mac = make_mac(pepper, "caller", f"{key_id}.{generation}")
    return f"blk.{key_id}.{generation}.{mac}"


def is_good(text: str) -> bool:
    ports = wiring.api_ports()
    try:
        check_key(ports, KeyMemory(), text, ports.clock.now())
    except CallerKeyError:
        return False
    return True


def test_former_keys_are_taken_over_once(pepper: bytes) -> None:
    row = CallerKey(
        key_id="a-roa-old",
        name="old",
        verbs=VERBS,
        endpoint_id=None,
        generation=3,
        revoked_generations_below=2,
        created_at=1.0,
        revision=1,
    )
    wiring.api_ports().keys.put(row)
    assert make_secrets(STAGE) == 1
    new, new_row = issue_key(wiring.api_ports(), name="new", verbs=VERBS)
    assert make_secrets(STAGE) == 0
    wiring.reset()  # as a new container
    texts = [former(pepper, "a-roa-old", generation) for generation in (1, 2, 3, 4)]
    assert [is_good(text) for text in texts] == [False, True, True, False]
    assert is_good(new)
    assert not is_good(former(pepper, new_row.key_id))
    assert not is_good(former(pepper, "a-roa-ghost"))
    revoke_key(wiring.api_ports(), "a-roa-old")
    assert not is_good(texts[2])


def test_a_groups_own_key_goes_on_until_its_generation_is_raised(pepper: bytes) -> None:
    ports = wiring.api_ports()
    ports.groups.add_group(EndpointGroup(endpoint_id=7, name="llm", created_at=1.0))
    assert make_secrets(STAGE) == 1
    wiring.reset()
    own = "e7-r-own"
    assert is_good(former(pepper, own))
    assert not is_good(former(pepper, own, 2))

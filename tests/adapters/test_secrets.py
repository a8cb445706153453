"""The Vast key: read when needed, kept a while, shown nowhere."""

from __future__ import annotations

import boto3
import pytest

from chalicelib.adapters.aws.secrets import KEPT_S, SecretText
from chalicelib.ports.errors import KeysUnavailableError
from fakes.ports.clock import ManualClock

NAME = "ballast-test/vast-api-key"


def test_the_text_is_read_lazily_and_kept_until_a_rotation_is_due(aws: None) -> None:
    client, clock = boto3.client("secretsmanager", region_name="us-east-1"), ManualClock()
    secret = SecretText(client, NAME, clock)
    client.create_secret(Name=NAME, SecretString=" first\n")
    assert secret.read() == "first"
    client.put_secret_value(SecretId=NAME, SecretString="second")
    assert secret.read() == "first"
    clock.advance(KEPT_S)
    assert secret.read() == "second"
    assert "second" not in repr(secret)


@pytest.mark.parametrize("text", [None, "  "])
def test_a_secret_that_is_missing_or_empty_says_which(aws: None, text: str | None) -> None:
    client = boto3.client("secretsmanager", region_name="us-east-1")
    if text is not None:
        client.create_secret(Name=NAME, SecretString=text)
    with pytest.raises(KeysUnavailableError, match=NAME):
        SecretText(client, NAME, ManualClock()).read()

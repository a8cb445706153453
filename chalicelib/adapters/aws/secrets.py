"""The Vast key: read from Secrets Manager when first needed, kept a few minutes, never shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.ports.clock import Clock
from chalicelib.ports.errors import KeysUnavailableError

if TYPE_CHECKING:
    from types_boto3_secretsmanager import SecretsManagerClient

KEPT_S = 300.0
"""How long a value is kept: a rotated key is in use after this time without a deploy."""


class SecretText:
    """A secret's text. Its repr names the secret, never the value."""

    def __init__(self, client: SecretsManagerClient, name: str, clock: Clock) -> None:
        self._client = client
        self._name = name
        self._clock = clock
        self._text = ""
        self._read_at = float("-inf")

    def read(self) -> str:
        """The text without surrounding blanks.

        Raises:
            KeysUnavailableError: it cannot be read, or is empty.
        """
        now = self._clock.monotonic()
        if now - self._read_at >= KEPT_S:
            self._text = self._fetch()
            self._read_at = now
        return self._text

    def __repr__(self) -> str:
        return f"SecretText({self._name!r})"

    def _fetch(self) -> str:
        try:
            answer = self._client.get_secret_value(SecretId=self._name)
        except (BotoCoreError, ClientError) as error:
            # botocore's messages name the secret and the reason, not the value.
            raise KeysUnavailableError(f"secret {self._name}: {error}") from error
        text = answer.get("SecretString", "").strip()
        if not text:
            raise KeysUnavailableError(f"secret {self._name} is empty; put the Vast key there")
        return text

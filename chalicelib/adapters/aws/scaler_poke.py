"""Poking and asking the scaler function through Lambda's Invoke API."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.ports.errors import PortError
from chalicelib.ports.scaler_poke import from_answer
from chalicelib.wire.trace import HEADER

logger = logging.getLogger("ballast")


class LambdaScalerPoke:
    """ScalerPoke by invoking the scaler function: as an event to poke, waiting to ask."""

    def __init__(
        self,
        make_client: Callable[[], Any],
        function_name: str,
        get_traceparent: Callable[[], str] = str,
    ) -> None:
        self._make_client = make_client
        self._function_name = function_name
        self._get_traceparent = get_traceparent

    @cached_property
    def _client(self) -> Any:
        return self._make_client()  # a client costs 40 ms, and many containers never poke

    def poke(self, endpoint_id: int, reason: str) -> None:
        """Ask for a round; the schedule makes up for a poke that fails."""
        payload = self._payload({"poke": endpoint_id, "reason": reason})
        try:
            self._client.invoke(
                FunctionName=self._function_name, InvocationType="Event", Payload=payload
            )
        except (ClientError, BotoCoreError) as error:
            logger.warning("poke_failed", extra={"problem": type(error).__name__})

    def ask(self, question: Mapping[str, object]) -> Mapping[str, object]:
        """The scaler's answer.

        Raises:
            MarketplaceError: Vast could not answer.
            PortError: the scaler could not be reached, or failed.
        """
        try:
            reply = self._client.invoke(
                FunctionName=self._function_name, Payload=self._payload(question)
            )
            text = reply["Payload"].read()
        except (ClientError, BotoCoreError) as error:
            raise PortError(f"the scaler cannot be reached: {type(error).__name__}") from error
        if reply.get("FunctionError"):
            raise PortError("the scaler failed to answer; see its log")
        return from_answer(json.loads(text))

    def _payload(self, event: Mapping[str, object]) -> bytes:
        header = self._get_traceparent()
        return json.dumps({**event, HEADER: header} if header else dict(event)).encode()


class SilentScalerPoke:
    """ScalerPoke of a deployment without a scaler function to call."""

    def poke(self, endpoint_id: int, reason: str) -> None:
        """Nothing: the schedule alone drives rounds."""

    def ask(self, question: Mapping[str, object]) -> Mapping[str, object]:
        """Nobody answers.

        Raises:
            PortError: always.
        """
        raise PortError(f"{question.get('ask')}: no scaler; set BALLAST_SCALER_FUNCTION")

"""Notices by SNS, which mails them to whoever subscribed to the deployment's topic."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.ports.notifier import Notice, NotifierError

if TYPE_CHECKING:
    from types_boto3_sns import SNSClient

_MAX_SUBJECT = 100  # SNS refuses longer ones, and control characters


class SnsNotifier:
    """Publishes to one topic. `client` is boto3's SNS client with short timeouts."""

    name = "sns"

    def __init__(self, client: SNSClient, topic_arn: str) -> None:
        self._client = client
        self._topic_arn = topic_arn

    def send(self, notice: Notice) -> None:
        """Publish.

        Raises:
            NotifierError: SNS refused or is down.
        """
        facts = json.dumps(dict(notice.facts), indent=2, sort_keys=True, default=str)
        try:
            self._client.publish(
                TopicArn=self._topic_arn,
                Subject=_printable(f"Ballast: {notice.title}")[:_MAX_SUBJECT],
                Message=f"{notice.text}\n\nScope: {notice.scope}\n"
                f"What to do: {notice.runbook}\n\n{facts}\n",
            )
        except (ClientError, BotoCoreError) as error:
            raise NotifierError(f"SNS did not publish: {error}") from error


def _printable(text: str) -> str:
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)

"""The whole HTTP app over fakes, called with API Gateway events as an HTTP API sends them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from chalicelib.api.entry import BallastApp
from chalicelib.api.routes.blueprints import Wired, blueprints_for
from chalicelib.ports.bundles import ApiPorts
from chalicelib.services.keys import issue_key
from fakes.ports.clock import FakeRandomness, ManualClock
from fakes.ports.event_log import FakeEventLog, FakeSeriesLog
from fakes.ports.group_repository import FakeGroupRepository
from fakes.ports.key_repository import FakeKeyRepository
from fakes.ports.ledger import FakeLedger
from fakes.ports.notifier import FakeReceivers
from fakes.ports.quotas import FakeQuotaRepository
from fakes.ports.routing_view import FakeRoutingViewRepository
from fakes.ports.scaler_poke import FakeScalerPoke
from fakes.ports.secret_box import FakeSecretBox
from fakes.ports.signer import FakeSigner
from fakes.ports.waiting import FakeWaitingRepository
from fakes.ports.worker_repository import FakeWorkerRepository
from lab.local.gateway.lambda_context import LambdaContext

ALL_VERBS = ("route", "read", "admin")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer. `json` is None for other bodies."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.text)


class Api:
    """The app over fakes; `key` is a key of the account with all verbs."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.groups = FakeGroupRepository()
        self.workers = FakeWorkerRepository()
        self.events = FakeEventLog()
        self.series = FakeSeriesLog()
        self.poke = FakeScalerPoke()
        self.ledger = FakeLedger()
        self.keys = FakeKeyRepository()
        self.secrets = FakeSecretBox()
        self.views = FakeRoutingViewRepository()
        self.waiting = FakeWaitingRepository()
        self.receivers = FakeReceivers()
        self.ports = ApiPorts(
            clock=self.clock,
            randomness=FakeRandomness(),
            workers=self.workers,
            views=self.views,
            waiting=self.waiting,
            keys=self.keys,
            quotas=FakeQuotaRepository(),
            signer=FakeSigner(),
            secrets=self.secrets,
            poke=self.poke,
            events=self.events,
            groups=self.groups,
            ledger=self.ledger,
            series=self.series,
            receivers=self.receivers,
        )
        self.app = BallastApp("ballast")
        wired = Wired(
            hot_ports=lambda: self.ports,
            api_ports=lambda: self.ports,
            root_certificate=lambda: "-----BEGIN CERTIFICATE-----\n",
            deployment={"stage": "test", "is_simulated": True},
        )
        for blueprint in blueprints_for("", wired):
            self.app.register_blueprint(blueprint)
        self.key = self.new_key(*ALL_VERBS)

    def new_key(self, *verbs: str, endpoint_id: int | None = None) -> str:
        """A fresh key's text."""
        text, _ = issue_key(self.ports, name="test", verbs=verbs, endpoint_id=endpoint_id)
        return text

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request; `key` "" stands for the account's, None sends none; bytes go as they are."""
        raw = body if isinstance(body, bytes) else b"" if body is None else _encoded(body)
        bearer = {} if key is None else {"Authorization": f"Bearer {key or self.key}"}
        event = event_of(method, path, raw, {**bearer, **(headers or {})})
        answer = self.app(event, LambdaContext("app", 29.0))
        return Answer(answer["statusCode"], answer["headers"], answer["body"])

    def create_endpoint(self, name: str = "llm", **params: object) -> int:
        """The id of a new endpoint group."""
        answer = self.call("POST", "/api/v0/endptjobs/", {"endpoint_name": name, **params})
        assert answer.status == 200, answer.text
        return int(answer.json["result"])

    def create_autogroup(self, endpoint_id: int, **fields: object) -> int:
        """The id of a new autogroup."""
        body = {"endpoint_id": endpoint_id, "template_hash": "abc", **fields}
        answer = self.call("POST", "/api/v0/autojobs/", body)
        assert answer.status == 200, answer.text
        return int(answer.json["id"])

    def state(self) -> object:
        """Everything that a request could have changed, for comparing."""
        return (
            dict(self.groups.groups),
            dict(self.groups.autogroups),
            dict(self.workers.rows),
            dict(self.keys.rows),
            self.ledger.account_now,
            len(self.events.events),
            dict(self.waiting.rows),
        )


def event_of(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """An event of an HTTP API (payload format 1.0) whose only route is `$default`."""
    bare, _, query = path.partition("?")
    try:
        text, is_base64 = body.decode(), False
    except UnicodeDecodeError:
        text, is_base64 = base64.b64encode(body).decode(), True
    return {
        "version": "1.0",
        "resource": "$default",
        "path": bare,
        "httpMethod": method,
        "headers": dict(headers),
        "multiValueQueryStringParameters": parse_qs(query, keep_blank_values=True) or None,
        "pathParameters": None,
        "stageVariables": None,
        "body": text or None,
        "isBase64Encoded": is_base64,
        "requestContext": {"resourcePath": "$default", "httpMethod": method, "stage": "$default"},
    }


def _encoded(body: object) -> bytes:
    return json.dumps(body).encode()

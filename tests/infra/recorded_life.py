"""A whole life of the deployment on corrected moto, each AWS call noted under its function."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
import pytest

from chalicelib import wiring
from chalicelib.adapters.aws.clients import aws_session
from chalicelib.adapters.aws.tables import create_tables
from chalicelib.api.entry import BallastApp
from chalicelib.api.routes.blueprints import Wired, blueprints_for
from chalicelib.ports.bundles import ApiPorts, ScalerPorts
from chalicelib.ports.marketplace import Marketplace
from chalicelib.services.rounds.loop import scaling_loop
from chalicelib.services.rounds.questions import answer
from fakes.market.market import Market
from fakes.market.market_config import CALM, PROMPT, MarketConfig
from fakes.ports.clock import ManualClock
from fakes.ports.notifier import FakeNotifier
from fakes.worlds.marketplace import FakeMarketplace
from infra.bootstrap import Caps, bootstrap
from lab.local.gateway.lambda_context import LambdaContext
from tests.api.over_fakes import event_of

NOON = 1_800_014_400.0
STAGE = "test"
PREFIX = f"ballast-{STAGE}"
Call = tuple[str, str]  # (IAM action, table or other resource)


class Recorder:
    """Notes (action, resource) of every AWS call under the function of the moment."""

    def __init__(self) -> None:
        self.function = ""
        self.calls: dict[str, set[Call]] = {}

    def attach(self, session: Any) -> None:
        """Be told of every call of clients that this botocore session makes from now on."""
        session.register("before-call", self.note)

    @contextmanager
    def as_function(self, name: str) -> Iterator[None]:
        """Calls inside are this function's; outside they are the test's own."""
        before, self.function = self.function, name
        yield
        self.function = before

    def note(self, model: Any, params: Mapping[str, Any], **_: object) -> None:
        """Handler of botocore's before-call event."""
        if not self.function:
            return
        service = model.service_model.service_name
        body = params.get("body") or b""
        request = json.loads(body) if body and service in ("dynamodb", "kms") else {}
        for call in _calls(service, model.name, request):
            self.calls.setdefault(self.function, set()).add(call)


def _calls(service: str, operation: str, request: Mapping[str, Any]) -> Iterator[Call]:
    if service == "lambda":
        yield f"lambda:{operation}Function", service
    elif service == "kms":
        context = {"ballast": "signing"} if operation == "Sign" else request["EncryptionContext"]
        yield f"kms:{operation}", context["ballast"]
    elif service != "dynamodb":
        yield f"{service}:{operation}", service
    elif operation == "TransactWriteItems":
        for item in request["TransactItems"]:
            ((kind, inner),) = item.items()
            action = "ConditionCheckItem" if kind == "ConditionCheck" else f"{kind}Item"
            yield f"dynamodb:{action}", _table(inner["TableName"])
    elif operation == "BatchWriteItem":
        for table in request["RequestItems"]:
            yield "dynamodb:BatchWriteItem", _table(table)
    else:
        yield f"dynamodb:{operation}", _table(request["TableName"])


def _table(name: str) -> str:
    return name.rsplit("-", 1)[1]


class Life:
    """The deployment's functions over real adapters; the market and the clock are ours."""

    def __init__(
        self,
        recorder: Recorder,
        sell: Callable[[Market, ManualClock], Marketplace] = FakeMarketplace,
        template_env: str = "-e A=1",
    ) -> None:
        """`sell` makes the marketplace of a market; `template_env` is the template's."""
        self.recorder = recorder
        self.clock = ManualClock(NOON)
        self.market = Market(MarketConfig(timings=PROMPT, odds=CALM, price_move_sigma=0.0), seed=1)
        template = {"name": "TGI", "image": "tgi:1", "env": template_env}
        self.template_hash = str(self.market.templates.add(template, NOON)["hash_id"])
        self.key = bootstrap("test", Caps(), public_url="https://ballast.example") or ""
        self.scaler_ports = self._scaler_ports(sell(self.market, self.clock))
        self.apps = {name: self._app(name) for name in ("hot", "reports", "management")}

    def _ports(self) -> ApiPorts:
        """Ports of a fresh container, so that no function profits from another's caches."""
        wiring.reset()
        self.recorder.attach(aws_session())
        return dataclasses.replace(wiring.api_ports(), clock=self.clock)

    def _scaler_ports(self, marketplace: Marketplace) -> ScalerPorts:
        ports = self._ports()
        shared = {f.name: getattr(ports, f.name) for f in dataclasses.fields(ApiPorts)}
        return ScalerPorts(
            **shared,
            marketplace=marketplace,
            notifiers=(FakeNotifier(),),
        )

    def _app(self, function: str) -> BallastApp:
        app, ports = BallastApp(f"ballast-{function}"), self._ports()
        wired = Wired(
            hot_ports=lambda: ports,
            api_ports=lambda: ports,
            root_certificate=lambda: "-----BEGIN CERTIFICATE-----\n",
            deployment={"stage": "test", "is_simulated": True},
        )
        role = "" if function == "management" else function
        for blueprint in blueprints_for(role, wired):
            app.register_blueprint(blueprint)
        return app

    def call(
        self, function: str, method: str, path: str, body: object = None, **headers: str
    ) -> Any:
        """One HTTP request to a function, with the admin's key; gives the parsed answer."""
        reply = self.send(function, method, path, body, **headers)
        assert reply["statusCode"] == 200, (method, path, reply)
        text = reply["body"]
        return json.loads(text) if text[:1] in "[{" else text

    def send(
        self, function: str, method: str, path: str, body: object = None, **headers: str
    ) -> dict[str, Any]:
        """One HTTP request; gives API Gateway's reply, whatever its status."""
        raw = json.dumps(body).encode() if body is not None else b""
        sent = {"Authorization": f"Bearer {self.key}", **headers}
        with self.recorder.as_function(function):
            return self.apps[function](event_of(method, path, raw, sent), LambdaContext("f", 29.0))

    def create_group(self, **params: object) -> tuple[int, int]:
        """A group named `llm` with one autogroup: their ids."""
        group = {"endpoint_name": "llm", "cold_workers": 0, **params}
        endpoint_id = self.call("management", "POST", "/api/v0/endptjobs/", group)["result"]
        autogroup = {"endpoint_id": endpoint_id, "template_hash": self.template_hash}
        made = self.call("management", "POST", "/api/v0/autojobs/", autogroup)
        return endpoint_id, made["id"]

    def rounds(self, seconds: float) -> None:
        """The scaler works for a while; the market and the workers live on."""
        ends_at = self.clock.now() + seconds
        while self.clock.now() < ends_at:
            with self.recorder.as_function("scaler"):
                scaling_loop(self.scaler_ports, deadline_at=self.clock.now() + 1)
            self.clock.advance(10.0)
            self.market.advance(self.clock.now())
            self.report()

    def ask(self, **question: object) -> None:
        """A question of management's."""
        with self.recorder.as_function("scaler"):
            answer(self.scaler_ports, question)

    def report(self, **changes: object) -> None:
        """Every running worker reports."""
        for instance in self.market.instances.values():
            if instance.actual_status != "running":
                continue
            token = instance.order.env.get("MASTER_TOKEN", "")
            body = {
                "id": instance.instance_id,
                "mtoken": token,
                "ticket": "D",
                "version": "1.0.0",
                "boot_id": f"{instance.instance_id:016x}",
                "seq": int(self.clock.now()),
                "max_perf": 100.0,
                "error_msg": "",
                **changes,
            }
            self.call("reports", "POST", "/worker_status/", body)
            basic = base64.b64encode(f"w:{token}".encode()).decode()
            self.call("hot", "GET", "/pubkey/", Authorization=f"Basic {basic}")


def read_as_of_many_groups(life: Life) -> None:
    """What a round reads where a question for each group would take too long."""
    with life.recorder.as_function("scaler"):
        assert life.scaler_ports.workers.list_all()
        life.scaler_ports.waiting.list_all(polled_since=0.0)
        assert life.scaler_ports.workers.find(1, 1) is None  # as for a row of a group that grew


def doubt(life: Life, request_idx: int) -> None:
    """Two clients fail on the same worker."""
    new = {"name": "other", "verbs": ["route"]}
    other = life.call("management", "POST", "/api/v0/keys/", new)["key"]
    repeat = {"endpoint": "llm", "request_idx": request_idx, "cost": 10}
    life.call("hot", "POST", "/route/", repeat)
    life.call("hot", "POST", "/route/", repeat, Authorization=f"Bearer {other}")


def observe(life: Life, endpoint_id: int, autogroup_id: int) -> None:
    """Everything that management reads."""
    for path in ("logs", "workers", "stats"):
        life.call("management", "POST", f"/get_endpoint_{path}/", {"id": endpoint_id})
        life.call("management", "POST", f"/get_autogroup_{path}/", {"id": autogroup_id})
    life.call("management", "GET", "/api/v0/endptjobs/")
    life.call("management", "GET", "/api/v0/autojobs/")
    life.call("management", "GET", "/api/v0/status/")
    life.call("management", "GET", f"/api/v0/spend/?endpoint_id={endpoint_id}&days=2")
    life.call("management", "GET", f"/api/v0/events/?endpoint_id={endpoint_id}&limit=10")
    life.call("management", "GET", "/api/v0/explain/?round=last")
    worker = next(iter(life.market.instances))
    life.call("management", "GET", f"/api/v0/explain/?instance_id={worker}")
    life.ask(ask="plan", endpoint_id=endpoint_id)
    life.ask(ask="balance")


def steer(life: Life, endpoint_id: int, autogroup_id: int) -> None:
    """Everything that management writes."""
    made = life.call("management", "POST", "/api/v0/keys/", {"name": "app", "verbs": ["route"]})[
        "result"
    ]
    life.call("management", "GET", "/api/v0/keys/")
    life.call("management", "PUT", f"/api/v0/keys/{made['key_id']}/", {"rotate": True})
    life.call("management", "DELETE", f"/api/v0/keys/{made['key_id']}/")
    life.call("management", "PUT", f"/api/v0/endptjobs/{endpoint_id}/", {"min_load": 20})
    life.call("management", "PUT", f"/api/v0/autojobs/{autogroup_id}/", {"gpu_ram": 20})
    life.call("management", "POST", "/update_workers/", {"workergroup_id": autogroup_id})
    life.call("management", "PUT", "/api/v0/account/", {"max_usd_per_hour": 4})
    for frozen in (True, False):
        life.call("management", "POST", "/api/v0/freeze/", {"frozen": frozen})


@contextmanager
def serving_life(
    monkeypatch: pytest.MonkeyPatch, seconds: float = 100.0, **params: object
) -> Iterator[Life]:
    """A group that has had time to rent what it was given, and to stop what it does not need."""
    with recorded_account(monkeypatch) as recorder:
        life = Life(recorder)
        life.create_group(**params)
        life.rounds(seconds)
        yield life


@contextmanager
def recorded_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """Ballast's tables and key in an empty account; every AWS call made in it is recorded."""
    for name, value in {
        "BALLAST_STAGE": STAGE,
        "BALLAST_SCALER_FUNCTION": "",
        "BALLAST_TABLE_PREFIX": PREFIX,
        "BALLAST_KMS_ALIAS": f"alias/{PREFIX}",
    }.items():
        monkeypatch.setenv(name, value)
    wiring.reset()
    create_tables(boto3.client("dynamodb", region_name="us-east-1"), PREFIX)
    kms = boto3.client("kms", region_name="us-east-1")
    kms.create_alias(
        AliasName=f"alias/{PREFIX}", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"]
    )
    yield Recorder()
    wiring.reset()

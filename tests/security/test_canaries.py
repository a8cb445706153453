"""Planted secrets through a whole life: found where they are meant to be, and nowhere else.

Meant to hold them: Secrets Manager (Vast key), the Authorization header to Vast (Vast key), the
market's own templates and instances (HF_TOKEN, registry password, MASTER_TOKEN), the answer that
shows a new caller's key once, and a worker's own environment. Nothing else, whatever goes wrong.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from werkzeug.test import Client

from chalicelib.adapters.aws.secrets import SecretText
from chalicelib.adapters.vast.client import VastMarketplace
from chalicelib.adapters.vast.http import VastAnswer, VastRequest
from chalicelib.api.telemetry import JsonFormatter
from fakes.market.market import Market
from fakes.ports.clock import ManualClock
from lab.local.market.marketplace_processes import ProcessDriver
from lab.local.market.marketplace_server import MarketplaceApp
from lab.local.market.marketplace_world import MarketWorld
from lab.local.processes.process_watchdog import ProcessWatchdog
from tests.infra.recorded_life import (
    PREFIX,
    Life,
    Recorder,
    doubt,
    observe,
    recorded_account,
    steer,
)
from tests.security.canaries import Canary, Evidence, dump_tables

VAST_KEY = "vastkey0CANARY0e7d1c0ffee5e9f2ab"
HF_TOKEN = "hf_CANARYmodelHubTokenZx91"
REGISTRY_PASSWORD = "CANARY-registry-pass-77"
PROMPT = "CANARY prompt: my heart rate is 61"
DOCKER_SAYS = f"docker run -e HF_TOKEN={HF_TOKEN} -e REGISTRY_PASSWORD='{REGISTRY_PASSWORD}'"


@dataclass
class EchoingVast:
    """Vast over the pretend market's real HTTP application, as talkative as it can be.

    Every listed machine's status quotes Docker's command line; `is_echoing` makes it refuse each
    call and quote the whole request.
    """

    client: Client
    is_echoing: bool = False
    requests: list[VastRequest] = field(default_factory=list)

    def __call__(self, request: VastRequest) -> VastAnswer:
        self.requests.append(request)
        if self.is_echoing:
            sent = {"Authorization": f"Bearer {request.api_key}", "body": request.body}
            message = f"{DOCKER_SAYS} {json.dumps(sent)}"
            body = {"success": False, "error": "auth_error", "msg": message}
            return VastAnswer(401, json.dumps(body))
        answer = self.client.open(
            request.url.removeprefix("http://127.0.0.1:1"),
            method=request.method,
            query_string=dict(request.params),
            json=request.body,
            headers={"Authorization": f"Bearer {request.api_key}", "Host": "127.0.0.1:1"},
        )
        listed = answer.json
        if isinstance(listed, dict) and isinstance(listed.get("instances"), list):
            for row in listed["instances"]:
                row["status_msg"] = DOCKER_SAYS
        return VastAnswer(answer.status_code, json.dumps(listed))


@pytest.fixture
def recorder(aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    with recorded_account(monkeypatch) as recorder:
        yield recorder


@pytest.fixture
def life(recorder: Recorder, tmp_path: Path) -> Iterator[Life]:
    """A deployment on real adapters, with canaries for secrets."""
    secret = f"{PREFIX}/vast-api-key"
    secrets = boto3.client("secretsmanager", region_name="us-east-1")
    secrets.create_secret(Name=secret, SecretString=VAST_KEY)
    template_env = f"-e HF_TOKEN={HF_TOKEN} -e REGISTRY_PASSWORD={REGISTRY_PASSWORD}"
    with ProcessWatchdog() as watchdog:

        def sell(market: Market, clock: ManualClock) -> VastMarketplace:
            world = MarketWorld(market, ProcessDriver(tmp_path, watchdog), now=clock.now)
            return VastMarketplace(
                url="http://127.0.0.1:1",
                api_key=SecretText(secrets, secret, clock).read,
                clock=clock,
                send=EchoingVast(Client(MarketplaceApp(world, VAST_KEY))),
            )

        yield Life(recorder, sell, template_env)


def vast_of(life: Life) -> EchoingVast:
    marketplace = cast(VastMarketplace, life.scaler_ports.marketplace)
    return cast(EchoingVast, marketplace._send)


def keys_at_rest() -> list[Canary]:
    """Plaintexts of pepper and signing key, by the rights of whoever may unwrap them."""
    kms = boto3.client("kms", region_name="us-east-1")
    dynamodb = boto3.client("dynamodb", region_name="us-east-1")
    items = dynamodb.scan(TableName=f"{PREFIX}-keys")["Items"]
    found = []
    for item in (item for item in items if "wrapped" in item):
        key_id = item["key_id"]["S"]
        kind, _, name = key_id.partition("#")
        is_signing = kind == "signing"
        context = {"ballast": kind, "key_id": name} if is_signing else {"ballast": name}
        blob = bytes(item["wrapped"]["B"])
        plain = kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"]
        # Of the key pair the middle, where its primes are; its ends are the same for any key.
        found.append(Canary(key_id, plain if len(plain) == 32 else plain[700:732]))
    assert len(found) == 5, "four secrets of one purpose each, and one signing key"
    return found


def bad_requests(life: Life, caller_key: str, token: str) -> Iterator[dict[str, Any]]:
    """Replies to requests that carry secrets and are refused."""
    forged = caller_key[:-4] + ("AAAA" if caller_key[-4:] != "AAAA" else "BBBB")
    for key in (caller_key, forged):
        yield life.send("management", "GET", "/api/v0/keys/", Authorization=f"Bearer {key}")
        yield life.send("hot", "POST", f"/route/?api_key={key}", {"endpoint": "nothing here"})
        yield life.send("hot", "POST", "/route/", {"endpoint": "llm", "api_key": key, "cost": "x"})
    for flags in (
        f"--login '-u me -p {REGISTRY_PASSWORD} ghcr.io'",
        f"--env '-e HF_TOKEN={HF_TOKEN}'",
        f"--env '-e REGISTRY_PASSWORD={REGISTRY_PASSWORD}'",
        f"--env '-e MASTER_TOKEN={token}'",
    ):
        body = {"endpoint_name": "llm", "template_hash": "abc", "launch_args": flags}
        yield life.send("management", "POST", "/api/v0/autojobs/", body)
    yield life.send("reports", "POST", "/worker_status/", {"id": "x", "mtoken": token})


def test_no_secret_is_found_where_it_is_not_meant_to_be(
    life: Life, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, "ballast")
    evidence = Evidence()
    endpoint_id, autogroup_id, caller_key = start(life)
    token = next(i.order.env["MASTER_TOKEN"] for i in life.market.instances.values())
    canaries = [
        Canary("Vast key", VAST_KEY.encode()),
        Canary("HF_TOKEN", HF_TOKEN.encode()),
        Canary("registry password", REGISTRY_PASSWORD.encode()),
        Canary("prompt", PROMPT.encode()),
        Canary("admin key", life.key.rpartition(".")[2].encode()),
        Canary("caller key", caller_key.rpartition(".")[2].encode()),
        Canary("MASTER_TOKEN", token.rpartition(".")[2].encode()),
        *keys_at_rest(),
    ]
    refused = list(bad_requests(life, caller_key, token))
    assert all(400 <= reply["statusCode"] < 500 for reply in refused), refused
    observe(life, endpoint_id, autogroup_id)
    steer(life, endpoint_id, autogroup_id)
    vast_of(life).is_echoing = True
    life.call("management", "PUT", f"/api/v0/endptjobs/{endpoint_id}/", {"min_load": 250})
    life.rounds(60)
    refused.append(life.send("management", "POST", "/api/v0/plan/", {"endpoint_id": endpoint_id}))
    life.report(error_msg="out of memory")
    assert dump_tables(evidence, boto3.client("dynamodb", region_name="us-east-1"), PREFIX) > 20
    for reply in refused:
        evidence.add(f"answer {reply['statusCode']}", reply["body"])
    note_logs(evidence, caplog, capsys)
    for shown in (life, life.scaler_ports, vast_of(life).requests):
        evidence.add("repr", repr(shown))
    assert not evidence.leaks(canaries)
    assert_found_where_meant(life, canaries)
    evidence.add("planted", f"Basic {base64.b64encode(f'w:{token}'.encode()).decode()}")
    assert evidence.leaks(canaries) == {("planted", "MASTER_TOKEN")}


def start(life: Life) -> tuple[int, int, str]:
    """A group with ready workers, and a caller's key; prompts in requests for a route."""
    group = {"endpoint_name": "llm", "min_load": 50, "cold_workers": 1, "max_workers": 5}
    endpoint_id = int(life.call("management", "POST", "/api/v0/endptjobs/", group)["result"])
    autogroup = {"endpoint_id": endpoint_id, "template_hash": life.template_hash}
    autogroup_id = int(life.call("management", "POST", "/api/v0/autojobs/", autogroup)["id"])
    new = {"name": "app", "verbs": ["route"]}
    caller_key = str(life.call("management", "POST", "/api/v0/keys/", new)["key"])
    request = {"endpoint": "llm", "request_idx": 0, "cost": 10, "payload": {"inputs": PROMPT}}
    bearer = f"Bearer {caller_key}"
    waiting = life.call("hot", "POST", "/route/", request, Authorization=bearer)
    life.rounds(120)
    again = {**request, "request_idx": waiting["request_idx"]}
    grant = life.call("hot", "POST", "/route/", again, Authorization=bearer)
    assert "url" in grant
    doubt(life, grant["request_idx"])
    return endpoint_id, autogroup_id, caller_key


def note_logs(
    evidence: Evidence, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every record as either formatter of the functions writes it, and what was printed."""
    formatters = (JsonFormatter(), LambdaPowertoolsFormatter())
    assert len(caplog.records) > 10
    for record in caplog.records:
        for formatter in formatters:
            evidence.add(f"log {record.name}", formatter.format(record))
    printed = capsys.readouterr()
    evidence.add("stdout", printed.out)
    evidence.add("stderr", printed.err)


def assert_found_where_meant(life: Life, canaries: list[Canary]) -> None:
    """The scan would see the canaries: it does where they belong."""
    meant = Evidence()
    for request in vast_of(life).requests:
        meant.add("header to Vast", request.api_key)
        meant.add("create", request.body)
    for instance in life.market.instances.values():
        meant.add("market", dict(instance.order.env))
    assert meant.leaks(canaries) >= {
        ("header to Vast", "Vast key"),
        ("create", "MASTER_TOKEN"),
        ("market", "MASTER_TOKEN"),
        ("market", "HF_TOKEN"),
        ("market", "registry password"),
    }

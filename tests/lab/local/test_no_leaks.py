"""Planted secrets through the whole running system: every file, table and error body is searched.

The control plane, the market, and one instance with its launch script, supervisor, model server and
PyWorker are real processes here. Meant to hold secrets: a process's own environment, the market's
templates, and the request that carries them. No file, no table, no answer.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import psutil
import pytest
import requests

from ballast.client.errors import WorkerRefusedError
from ballast.client.sdk import Client
from chalicelib.settings import Settings
from lab.local.market.images import make_environment
from lab.local.system.local_system import LocalSystem
from lab.local.system.owner import MarketView, Owner, wait_until
from tests.lab.local.test_launch import local_values, publish, served_bundle, supervisor_of
from tests.security.canaries import Canary, Evidence, dump_tables

PROMPT = "CANARY prompt: my heart rate is 61"
HF_TOKEN = "hf_CANARYmodelHubTokenZx92"
GROUP = "no-leaks"


@dataclass
class Leaky:
    """One serving instance, and the answers that were refused."""

    system: LocalSystem
    workspace: Path
    caller_key: str
    refused: list[str] = field(default_factory=list)

    def supervisor(self) -> psutil.Process:
        process = supervisor_of(self.workspace)
        assert process
        return process

    def canaries(self) -> list[Canary]:
        """The planted secrets, and those the control plane made."""
        token = self.supervisor().environ()["MASTER_TOKEN"]
        return [
            Canary("prompt", PROMPT.encode()),
            Canary("HF_TOKEN", HF_TOKEN.encode()),
            Canary("caller key", self.caller_key.rpartition(".")[2].encode()),
            Canary("MASTER_TOKEN", token.rpartition(".")[2].encode()),
        ]

    def container_log(self) -> Path:
        """What launch script, supervisor and PyWorker print."""
        (instance,) = MarketView(self.system.market_url).instances(GROUP)
        (log,) = self.system.state_directory.rglob(f"instance-{instance['id']}/container.log")
        return log

    def evidence(self) -> Evidence:
        """Everything that is kept: files of all processes, tables, and what was answered."""
        evidence = Evidence()
        for folder in (self.system.state_directory, self.workspace):
            for path in _files(folder):
                with suppress(FileNotFoundError):  # the disk of a machine given back
                    evidence.add(str(path), path.read_bytes())
        environment = self.system.environment
        dynamodb = boto3.client(
            "dynamodb",
            region_name=environment["AWS_DEFAULT_REGION"],
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )
        assert (
            dump_tables(evidence, dynamodb, Settings.from_environment(environment).table_prefix) > 5
        )
        for body in self.refused:
            evidence.add("error body", body)
        return evidence


def _files(folder: Path) -> Iterator[Path]:
    """What was written there; not the packages that are installed."""
    for path in folder.rglob("*"):
        if path.is_file() and "site-packages" not in path.parts:
            yield path


@pytest.fixture
def leaky(system: LocalSystem, tmp_path: Path) -> Iterator[Leaky]:
    make_environment(tmp_path)
    env = {**local_values(tmp_path), "USE_SSL": "false", "HF_TOKEN": HF_TOKEN}
    template = publish(system, env, served_bundle(system))
    owner, market = Owner(system.url, system.account_key), MarketView(system.market_url)
    endpoint_id = owner.create_group(GROUP, min_load=1.0, cold_workers=0, max_workers=1)
    owner.create_autogroup(GROUP, template, test_workers=1)
    wait_until(
        "a ready worker",
        lambda: owner.ready_workers(endpoint_id),
        240.0,
        shown=lambda: (owner.workers(endpoint_id), market.instances(GROUP)),
    )
    new = owner.call("POST", "/api/v0/keys/", {"name": GROUP, "verbs": ["route"]})
    yield Leaky(system, tmp_path, str(new["key"]))
    owner.delete_group(endpoint_id)
    wait_until("nothing rented", lambda: not market.instances(GROUP), 120.0)


def test_no_secret_is_in_any_log_table_or_error_body(leaky: Leaky) -> None:
    use_and_misuse(leaky)
    canaries = leaky.canaries()
    assert leaky.supervisor().environ()["HF_TOKEN"] == HF_TOKEN  # so it was really there
    evidence = leaky.evidence()
    places = {place for place, _ in evidence.found}
    logs = {str(leaky.container_log()), str(leaky.workspace / "model.log")}
    assert logs <= places
    assert {"gateway.log", "access.log", "scaler.log", "market.log"} <= {
        Path(place).name for place in places
    }
    assert not evidence.leaks(canaries)

    for log in logs:  # of launch script, supervisor and PyWorker; of the model server
        with Path(log).open("ab") as file:
            file.write(b"planted: Basic " + base64.b64encode(b"w:" + PROMPT.encode()) + b"\n")
    assert leaky.evidence().leaks(canaries) == {(log, "prompt") for log in logs}


def use_and_misuse(it: Leaky) -> None:
    """Good requests, and every kind that is refused, all with secrets in them."""
    payload = {"inputs": PROMPT, "parameters": {"max_new_tokens": 4}}
    with Client(it.caller_key, it.system.url) as client:
        with client.request(GROUP, "/generate", payload, cost=4, timeout_s=120) as answer:
            answer.content()
            url = answer.worker_url
        with client.stream(GROUP, "/generate_stream", payload, cost=4, timeout_s=120) as answer:
            answer.content()
        for wrong in ({"inputs": [PROMPT]}, {"inputs": PROMPT, "parameters": PROMPT}):
            with pytest.raises(WorkerRefusedError) as caught:
                client.request(GROUP, "/generate", wrong, cost=4, timeout_s=120)
            it.refused.append(caught.value.body.decode())
    key, forged = it.caller_key, it.caller_key[:-4] + "0000"
    ask = {"endpoint": GROUP, "payload": payload}
    route = f"{it.system.url}/route/"
    for address, body in (
        (f"{url}/generate", {"auth_data": {"signature": PROMPT}, "payload": payload}),
        (f"{url}/generate", PROMPT),
        (f"{route}?api_key={key}", {**ask, "endpoint": "nobody"}),
        (route, {**ask, "api_key": forged}),
        (route, {**ask, "api_key": key, "cost": "dear"}),
    ):
        reply = requests.post(address, json=body, timeout=60)
        assert 400 <= reply.status_code < 500, reply.text
        it.refused.append(reply.text)

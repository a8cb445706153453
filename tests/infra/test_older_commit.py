"""Upgrade from an older commit of this repository and back: real code of both, one state.

The local AWS, the market and its workers live through it all; functions and scaler come from the
older checkout, then from both side by side behind one address, from this one alone, and back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests

from lab.local.gateway.gateway import FAULTS_FILE_VARIABLE
from lab.local.processes.children import Children, listen, url_of
from lab.local.system.environment import DUMMY_VAST_KEY, STAGE, base_environment
from lab.local.system.owner import MarketView, Owner, patiently, wait_until
from lab.local.system.templates import TGI_SIMULATED, register_templates

ROOT = Path(__file__).parent.parent.parent
OLDER = os.environ.get("BALLAST_OLDER_COMMIT", "HEAD~40")
SCALE, PATIENCE_S = 20.0, 300.0
GUNICORN = ("--workers", "1", "--threads", "8", "--worker-class", "gthread", "--timeout", "0")


NAMES = ("front", "aws", "scaler", "market")


@dataclass
class Deployment:
    """Addresses that outlive the code behind them."""

    directory: Path
    everything: Children
    sockets: dict[str, Any] = field(default_factory=lambda: {n: listen() for n in NAMES})
    running: dict[Path, Children] = field(default_factory=dict)

    def environment(self) -> Mapping[str, str]:
        urls = {name: url_of(socket) for name, socket in self.sockets.items()}
        return base_environment(
            os.environ,
            aws_url=urls["aws"],
            lambda_url=urls["scaler"],
            market_url=urls["market"],
            url=urls["front"],
        ) | {
            "BALLAST_ROUND_INTERVAL_S": "1",
            "BALLAST_PACING_SCALE": str(1 / SCALE),
            FAULTS_FILE_VARIABLE: str(self.directory / "faults.json"),
        }

    def serve(self, children: Children, name: str, arguments: list[str], cwd: Path) -> None:
        fd = self.sockets[name].fileno()
        role = {"BALLAST_ROLE": "scaler"} if name == "scaler" else {}
        children.start(name, arguments, {**self.environment(), **role}, fd=fd, cwd=cwd)

    def start_surroundings(self) -> None:
        for name in ("aws", "market"):
            self.serve(self.everything, name, self.arguments(name), ROOT)

    def arguments(self, name: str) -> list[str]:
        fd = str(self.sockets[name].fileno())
        if name == "market":
            state = ["--state", str(self.directory / "instances"), "--time-scale", str(SCALE)]
            program = ["-m", "lab.local.market.marketplace_server", "--api-key", DUMMY_VAST_KEY]
            return [*program, "--fd", fd, *state]
        if name == "scaler":
            return ["-m", "lab.local.system.scaler_process", "--fd", fd]
        module = {"aws": "lab.local.system.aws_server", "front": "lab.local.gateway.gateway"}[name]
        return [
            "-m",
            "gunicorn",
            f"{module}:create_application()",
            "--bind",
            f"fd://{fd}",
            *GUNICORN,
        ]

    def start(self, code: Path) -> None:
        """Functions and scaler of a checkout, behind the addresses of all."""
        self.running[code] = children = Children(self.directory / f"logs-{code.name}")
        for name in ("front", "scaler"):
            self.serve(children, name, self.arguments(name), code)

    def stop(self, code: Path) -> None:
        self.running.pop(code).stop()

    def rows(self, table: str) -> list[dict[str, Any]]:
        """What a table holds, whoever wrote it."""
        session = boto3.Session("testing", "testing", region_name="us-east-1")
        dynamodb = session.client("dynamodb", endpoint_url=url_of(self.sockets["aws"]))
        return list(dynamodb.scan(TableName=f"ballast-{STAGE}-{table}")["Items"])


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """The older commit's files."""
    target = tmp_path / "older"
    target.mkdir()
    archive = subprocess.run(["git", "archive", OLDER], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", str(target)], input=archive.stdout, check=True)
    return target


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(tmp_path, Children(tmp_path / "logs"))
    made.start_surroundings()
    yield made
    for code in list(made.running):
        made.stop(code)
    made.everything.stop()
    for socket in made.sockets.values():
        socket.close()


def bootstrap_by(code: Path, environment: Mapping[str, str]) -> str:
    """A first deployment by a checkout's own code; gives the admin key."""
    done = subprocess.run(
        [sys.executable, "-m", "lab.local.system.bootstrap"],
        cwd=code,
        env=dict(environment),
        check=True,
        capture_output=True,
    )
    return str(json.loads(done.stdout)["account_key"])


def make_secrets_of(stage: str, environment: Mapping[str, str]) -> None:
    """What this code needs of secrets, and the keys of before taken over."""
    code = f"from infra.bootstrap import make_secrets; make_secrets({stage!r})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=dict(environment), check=True)


def is_served(owner: Owner) -> bool:
    """Whether a route is granted and the worker takes the ticket."""
    ask = {"endpoint": "llm", "cost": 8}
    ticket = patiently(lambda: owner.call("POST", "/route/", ask), PATIENCE_S)
    if "url" not in ticket:
        return False
    payload = {"inputs": "hello", "parameters": {"max_new_tokens": 8}}
    body = {"auth_data": ticket, "payload": payload}
    return requests.post(f"{ticket['url']}/generate", json=body, timeout=30).ok


@pytest.mark.long
def test_upgrade_and_rollback_keep_machines_keys_and_groups(
    deployment: Deployment, older: Path
) -> None:
    owner = Owner(
        url_of(deployment.sockets["front"]), bootstrap_by(older, deployment.environment())
    )
    market = MarketView(url_of(deployment.sockets["market"]))
    deployment.start(older)
    template = register_templates(market.market_url, [TGI_SIMULATED])[TGI_SIMULATED.name]
    owner.call("PUT", "/api/v0/account/", {"max_usd_per_hour": 7})
    owner.create_group("llm", min_load=1.0, cold_workers=0, max_workers=1)
    owner.create_autogroup("llm", template, test_workers=1)
    wait_until("the older code serves", lambda: is_served(owner), PATIENCE_S)
    machines = {row["id"] for row in market.instances()}

    def status() -> dict[str, Any]:
        answer = patiently(lambda: owner.call("GET", "/api/v0/status/"), PATIENCE_S)
        return answer["account"]  # type: ignore[no-any-return]

    def still_so(what: str) -> None:
        wait_until(what, lambda: is_served(owner), PATIENCE_S)
        assert {row["id"] for row in market.instances()} == machines
        (group,) = patiently(owner.groups, PATIENCE_S)
        assert group["endpoint_name"] == "llm"
        assert status()["caps"]["usd_per_hour"] == 7

    def makes_rounds(what: str) -> None:
        """It reads what the other's rounds left, and leaves something itself."""
        since = time.time()
        wait_until(what, lambda: (status()["scaler"]["last_round_at"] or 0.0) > since, PATIENCE_S)

    make_secrets_of(STAGE, deployment.environment())  # `make deploy` does so before the functions
    deployment.start(ROOT)
    for _ in range(10):
        still_so("both serve side by side")
    deployment.stop(older)
    makes_rounds("this code makes rounds alone")
    still_so("this code serves alone")
    owner.call("PUT", f"/api/v0/endptjobs/{owner.groups()[0]['id']}/", {"target_util": 0.8})
    deployment.start(older)
    deployment.stop(ROOT)
    makes_rounds("the older code makes rounds again")
    still_so("the older code serves again")
    owner.delete_group(owner.groups()[0]["id"])
    rows = deployment.rows("workers")
    wait_until(
        "nothing rented",
        lambda: not market.instances(),
        PATIENCE_S,
        shown=lambda: f"{rows} and then {deployment.rows('workers')}",
    )

"""0.2.0 and an artificial next version side by side under traffic, and back: nobody notices.

Both routers, both scalers and workers of both run at once on the same tables and the same market.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import requests

from lab.local.gateway.gateway import FAULTS_FILE_VARIABLE
from lab.local.processes.children import Child, listen, url_of
from lab.local.system.local_system import LocalSystem, Options, access_log_path, local_system
from lab.local.system.owner import MarketView, Owner, wait_until
from lab.local.system.templates import TGI_SIMULATED, register_templates
from tests.lab.local.next_version import make_next_version

GROUP = "versions"
BODY = {"inputs": "hello", "parameters": {"max_new_tokens": 4}}
MOST = 4


@dataclass
class Traffic:
    """Requests to every router in turn, each answered by a worker; what failed, in words."""

    owners: list[Owner]
    failures: list[str] = field(default_factory=list)
    n_answered: int = 0
    _ends: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Traffic:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join(120)

    def _run(self) -> None:
        turn = 0
        while not self._ends.is_set():
            turn += 1
            owner = self.owners[turn % len(self.owners)]
            try:
                ticket = owner.ticket(GROUP, cost=4)
                answer = requests.post(
                    ticket["url"] + "/generate",
                    json={"auth_data": ticket, "payload": BODY},
                    timeout=60,
                )
                answer.raise_for_status()
                self.n_answered += 1
            except Exception as error:  # noqa: BLE001  whatever fails is told
                self.failures.append(f"{owner.url}: {error!r}"[:500])
            time.sleep(0.1)


def start_next(system: LocalSystem, tree: Path, tmp_path: Path) -> tuple[Owner, list[Child]]:
    """The next version's router and scaler, beside ours."""
    front, scaler = listen(), listen()
    environment = dict(system.environment) | {
        "AWS_ENDPOINT_URL_LAMBDA": url_of(scaler),
        FAULTS_FILE_VARIABLE: str(tmp_path / "next-faults.json"),
        "GUNICORN_CMD_ARGS": f"--access-logfile {tmp_path / 'next-access.log'}"
        " --access-logformat '%(t)s %(m)s %(U)s %(s)s'",
    }
    application = "lab.local.gateway.gateway:create_application()"
    gateway = system.children.start(
        "gateway-next",
        [
            *("-m", "gunicorn", application, "--bind", f"fd://{front.fileno()}"),
            *("--threads", "4", "--worker-class", "gthread", "--timeout", "0"),
            *("--graceful-timeout", "2", "--no-control-socket", "--log-level", "warning"),
        ],
        environment,
        fd=front.fileno(),
        cwd=tree,
    )
    loop = system.children.start(
        "scaler-next",
        ["-m", "lab.local.system.scaler_process", "--fd", str(scaler.fileno()), "--pause", "1"],
        environment | {"BALLAST_ROLE": "scaler"},
        fd=scaler.fileno(),
        cwd=tree,
    )
    url = url_of(front)
    for listener in (front, scaler):
        listener.close()
    return Owner(url, system.account_key), [gateway, loop]


def stored_group(system: LocalSystem, endpoint_id: int) -> dict[str, Any]:
    """The group's item as it lies in the table."""
    answer = system.dynamodb().get_item(
        TableName=f"{system.table_prefix}-config",
        Key={"kind": {"S": "group"}, "id": {"S": str(endpoint_id)}},
        ConsistentRead=True,
    )
    body: dict[str, Any] = json.loads(answer["Item"]["body"]["S"])
    return body


def who_decided(system: LocalSystem) -> str:
    """The version whose round wrote the memory last."""
    blob = system.dynamodb().get_item(
        TableName=f"{system.table_prefix}-ledger",
        Key={"account": {"S": "main"}, "item": {"S": "blob#round#000"}},
    )["Item"]["data"]["B"]
    return str(json.loads(zlib.decompress(bytes(blob)))["written_by"])


def each_decides_in_turn(system: LocalSystem) -> None:
    """Our scaler stands still until the next version's decides, then goes on until it does again.

    What it finds then is a lease that it lost, and a memory of another form.
    """
    pid = system.children.pids()["scaler"]
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until("a round of the next version", lambda: who_decided(system) == "0.3.0", 120.0)
    finally:
        os.kill(pid, signal.SIGCONT)
    pid = system.children.pids()["scaler-next"]
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until("a round of ours", lambda: who_decided(system) == "0.2.0", 120.0)
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.long
def test_two_versions_run_side_by_side_and_back_without_one_failed_request(tmp_path: Path) -> None:
    tree = make_next_version(tmp_path / "next")
    options = Options(time_scale=60.0, round_interval_s=1.0)
    with local_system(options, print) as system:
        ours, market = Owner(system.url, system.account_key), MarketView(system.market_url)
        theirs, started = start_next(system, tree, tmp_path)
        wait_until("the next version's router", lambda: theirs.groups() == [], 60.0)
        of_next = replace(
            TGI_SIMULATED,
            name="tgi, next version",
            onstart=f"export PYTHONPATH={tree} REPORT_ADDR={theirs.url}\n{TGI_SIMULATED.onstart}",
        )
        hashes = register_templates(system.market_url, [TGI_SIMULATED, of_next])
        endpoint_id = ours.create_group(GROUP, min_load=1.0, cold_workers=0, max_workers=MOST)
        for name in (TGI_SIMULATED.name, of_next.name):
            ours.create_autogroup(GROUP, hashes[name], test_workers=1)
        wait_until(
            "a ready worker of each version",
            lambda: len(ours.ready_workers(endpoint_id)) >= 2,
            240.0,
            shown=lambda: ours.workers(endpoint_id),
        )
        with Traffic([ours, theirs]) as traffic:
            time.sleep(5.0)
            theirs.call("PUT", f"/api/v0/endptjobs/{endpoint_id}/", {"max_queue_time": 31.0})
            assert stored_group(system, endpoint_id)["params"]["greenness"] == 0.5
            ours.call("PUT", f"/api/v0/endptjobs/{endpoint_id}/", {"max_queue_time": 32.0})
            kept = stored_group(system, endpoint_id)["params"]
            assert (kept["greenness"], kept["max_queue_time"]) == (0.5, 32.0)
            keys = [
                owner.call("POST", "/api/v0/keys", {"name": "k", "verbs": ["route"]})
                for owner in (ours, theirs)
            ]
            for owner, key in zip((theirs, ours), keys, strict=True):
                text = str(key.get("api_key") or key.get("key"))
                Owner(owner.url, text).ticket(GROUP, cost=4)
            each_decides_in_turn(system)
            assert traffic.n_answered > 20
        assert traffic.failures == []

        with Traffic([ours]) as back:  # the rollback: the next version is gone
            for child in started:
                child.process.terminate()
                child.process.wait(20)
                system.children.forget(child)
            time.sleep(10.0)
            assert back.n_answered > 5
        assert back.failures == []
        assert len(market.instances(GROUP)) <= MOST
        logs = [path.read_text() for path in (system.state_directory / "logs").glob("*.log")]
        told = "\n".join(logs)
        for word in ("Traceback", "round failed", "Internal Server Error"):
            assert word not in told, told[max(0, told.find(word) - 500) :][:3000]
        for log in (access_log_path(system.state_directory), tmp_path / "next-access.log"):
            assert not [line for line in log.read_text().splitlines() if " 500" in line]
        ours.delete_group(endpoint_id)
        wait_until(
            "nothing rented",
            lambda: not market.instances(GROUP),
            240.0,
            shown=lambda: market.instances(GROUP),
        )

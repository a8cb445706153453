"""A published template on the local system: bundle, checks, dependencies, TLS, answer, kill."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests

from ballast.client.sdk import Client
from ballast.templates import load_template
from chalicelib.api.routes.bundle import FOLDER, read_bundle
from fakes.certificate_authority import CertificateAuthority
from lab.local.market.images import make_environment
from lab.local.system.environment import DUMMY_VAST_KEY
from lab.local.system.local_system import LocalSystem
from lab.local.system.owner import MarketView, Owner, wait_until
from lab.local.system.templates import FAST_MODEL
from tests.workers.world import free_port, serve

PROMPT = {"inputs": "hello", "parameters": {"max_new_tokens": 8}}
RESTART_TIMEOUT_S = 120.0
GONE_TIMEOUT_S = 240.0


def publish(system: LocalSystem, env: Mapping[str, str], sha256: str) -> str:
    """Do what `ballast template publish tgi` does; gives the template's hash."""
    answer = requests.post(
        f"{system.market_url}/api/v0/template/",
        json=load_template("tgi").to_request(env, sha256),
        headers={"Authorization": f"Bearer {DUMMY_VAST_KEY}"},
        timeout=60,
    )
    return str(answer.json()["template"]["hash_id"])


def served_bundle(system: LocalSystem) -> str:
    return str(requests.get(f"{system.url}/bundle/", timeout=60).json()["sha256"])


def local_values(workspace: Path) -> dict[str, str]:
    """What differs here from a rented GPU: disk, a fast model server, a short benchmark."""
    port = free_port()
    return {
        "MODEL_ID": "simulated",
        "MODEL_COMMAND": f"python -m {FAST_MODEL} --port {port}",
        "MODEL_SERVER_URL": f"http://127.0.0.1:{port}",
        "MODEL_LOG": str(workspace / "model.log"),
        "WORKSPACE_DIR": str(workspace),
        "WORKER_HOST": "127.0.0.1",
        "BENCHMARK_ROUNDS": "1",
        "BENCHMARK_CONCURRENCY": "2",
        "REPORT_EVERY": "2",
    }


def supervisor_of(workspace: Path) -> psutil.Process | None:
    """The supervisor that runs from this disk."""
    for process in psutil.process_iter(["cmdline"]):
        with suppress(psutil.Error):
            is_one = "workers.pyworker.supervision.supervisor" in (process.info["cmdline"] or [])
            if is_one and process.cwd().startswith(str(workspace)):
                return process
    return None


def answer_of(client: Client, group: str) -> str:
    with client.request(group, "/generate", PROMPT, cost=8, timeout_s=180) as answer:
        body = answer.json()
    assert isinstance(body, dict)
    return str(body["generated_text"])


def serve_and_survive(
    system: LocalSystem, group: str, workspace: Path, template: str
) -> tuple[str, str]:
    """The answers over the pinned certificate before and after the supervisor was killed."""
    owner, market = Owner(system.url, system.account_key), MarketView(system.market_url)
    endpoint_id = owner.create_group(group, min_load=1.0, cold_workers=0, max_workers=1)
    owner.create_autogroup(group, template, test_workers=1)
    wait_until(
        "a ready worker",
        lambda: owner.ready_workers(endpoint_id),
        360.0,
        shown=lambda: (owner.workers(endpoint_id), market.instances()),
    )
    with Client(system.account_key, system.url) as client:
        url = owner.ticket(group, cost=8)["url"]
        with pytest.raises(requests.exceptions.SSLError):  # nobody else vouches for it
            requests.get(f"{url}/ping", timeout=60)
        first = answer_of(client, group)
        before = supervisor_of(workspace)
        assert before
        os.kill(before.pid, signal.SIGKILL)
        wait_until(
            "another supervisor",
            lambda: supervisor_of(workspace) not in (None, before),
            RESTART_TIMEOUT_S,
        )
        second = answer_of(client, group)
    owner.delete_group(endpoint_id)
    wait_until("nothing rented", lambda: not market.instances(group), GONE_TIMEOUT_S)
    return first, second


@pytest.mark.parametrize(
    "environment", ["brought", pytest.param("installed", marks=pytest.mark.long)]
)
async def test_a_published_template_launches_a_worker_that_answers(
    system: LocalSystem, tmp_path: Path, environment: str
) -> None:
    """The environment of our lock is there, or pip makes it, checked by hash."""
    if environment == "brought":
        make_environment(tmp_path)
    async with serve(CertificateAuthority().application()) as signer:
        env = {**local_values(tmp_path), "SIGN_CERT_URL": f"{signer}/sign_cert/"}
        env |= {"TLS_CERT": str(tmp_path / "tls.crt"), "TLS_KEY": str(tmp_path / "tls.key")}
        template = publish(system, env, served_bundle(system))
        group = f"launch-{environment}"
        answers = await asyncio.to_thread(serve_and_survive, system, group, tmp_path, template)
    assert [len(answer.split()) for answer in answers] == [8, 8]


def test_a_bundle_that_the_deployment_does_not_have_is_told_to_the_owner(
    system: LocalSystem, tmp_path: Path
) -> None:
    """The worker's error is in the group's log in words, and the machine is given back."""
    owner, market = Owner(system.url, system.account_key), MarketView(system.market_url)
    template = publish(system, {**local_values(tmp_path), "USE_SSL": "false"}, "0" * 64)
    endpoint_id = owner.create_group("launch-old", min_load=1.0, cold_workers=0, max_workers=1)
    owner.create_autogroup("launch-old", template, test_workers=1)

    def log() -> str:
        return str(owner.call("POST", "/get_endpoint_logs/", {"endpoint": "launch-old"}))

    assert wait_until(
        "told in words",
        lambda: "does not have the worker bundle this template pins" in log(),
        240.0,
        shown=log,
    )
    owner.delete_group(endpoint_id)
    assert wait_until("nothing rented", lambda: not market.instances("launch-old"), GONE_TIMEOUT_S)


def test_the_bundle_is_served_as_it_was_built(system: LocalSystem) -> None:
    bundle = read_bundle(FOLDER)
    assert bundle
    sha256, data = bundle
    assert served_bundle(system) == sha256
    answer = requests.get(f"{system.url}/bundle/{sha256}.tar.gz", timeout=60)
    assert answer.content == data
    assert answer.headers["Content-Type"] == "application/gzip"

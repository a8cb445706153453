"""The supervisor as a real process: kills survived, and causes told in words."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import psutil
import pytest
from aiohttp import web

from fakes.certificate_authority import CertificateAuthority
from fakes.control_plane_server import ControlPlaneServer
from tests.workers.world import environment, free_port, serve, until

INTERVAL_S = 10.0
"""Within it a killed process runs again: the control plane's own interval between reports."""
PYWORKER = "workers.pyworker"
MODEL_SERVER = "lab.local.model.model_server"


@dataclass
class Instance:
    """A supervised instance."""

    control_plane: ControlPlaneServer
    process: asyncio.subprocess.Process
    log: Path

    def child(self, word: str) -> psutil.Process | None:
        """The supervisor's child with this word in its command line."""
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # it just ended
                if word in child.cmdline():
                    return child
        return None

    async def running(self, word: str) -> psutil.Process:
        """The same, once it is there."""
        await until(lambda: self.child(word), f"{word} runs")
        child = self.child(word)
        assert child
        return child

    def runs_again(self, word: str, before: int) -> bool:
        child = self.child(word)
        return child is not None and child.pid != before

    def errors(self) -> list[object]:
        return [report["error_msg"] for report in self.control_plane.reports]


def told_by_pyworker(it: Instance) -> bool:
    return any(r["error_msg"] and "max_perf" in r for r in it.control_plane.reports)


def is_alive(pid: int) -> bool:
    """Whether it runs; one that nobody has collected yet does not."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@asynccontextmanager
async def supervised(tmp_path: Path, **env: str) -> AsyncIterator[Instance]:
    control_plane = ControlPlaneServer()
    model_port = free_port()
    async with serve(control_plane.application()) as url:
        variables = environment(url, f"http://127.0.0.1:{model_port}", tmp_path) | {
            "BACKEND": "tgi",
            "MODEL_ID": "local",
            "MODEL_LOG": str(tmp_path / "logs" / "model.log"),
            "MODEL_COMMAND": f"{sys.executable} -m lab.local.model.model_server"
            f" --port {model_port} --tokens-per-s 9999",
            "BENCHMARK_ROUNDS": "1",
            "BENCHMARK_CONCURRENCY": "1",
            "PATH": os.environ["PATH"],
        }
        log = tmp_path / "supervisor.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "workers.pyworker.supervision.supervisor"),
                env={name: value for name, value in (variables | env).items() if value},
                stderr=output,
            )
        try:
            yield Instance(control_plane, process, log)
        finally:
            if process.returncode is None:
                process.terminate()
            await asyncio.wait_for(process.wait(), 60)


async def test_each_killed_process_runs_again_within_an_interval(tmp_path: Path) -> None:
    async with supervised(tmp_path) as it:
        reports = it.control_plane.reports
        await until(lambda: reports and reports[-1]["max_perf"], "ready")

        for word in (PYWORKER, MODEL_SERVER):
            before = (await it.running(word)).pid
            os.kill(before, signal.SIGKILL)
            await until(partial(it.runs_again, word, before), f"{word} runs again", INTERVAL_S)
        n_before = len(reports)
        await until(
            lambda: any(r["max_perf"] and not r["error_msg"] for r in reports[n_before:]),
            "ready again",
        )
        assert len({report["boot_id"] for report in reports}) == 2


async def test_a_killed_supervisor_takes_its_processes_along(tmp_path: Path) -> None:
    """The launch script starts it anew; two PyWorkers on one port would be worse than none."""
    async with supervised(tmp_path) as it:
        children = [(await it.running(word)).pid for word in (PYWORKER, MODEL_SERVER)]
        it.process.send_signal(signal.SIGKILL)
        await until(lambda: not any(map(is_alive, children)), "all ended")
        assert await it.process.wait() == -signal.SIGKILL


async def test_a_model_server_that_keeps_dying_is_reported(tmp_path: Path) -> None:
    async with supervised(tmp_path, MODEL_COMMAND="/bin/false") as it:
        await until(lambda: any(it.errors()), "told")
        assert "the model server ended 3 times" in str(next(filter(None, it.errors())))
        # The PyWorker beside it says the same: its next report would have ended the error.
        await until(lambda: told_by_pyworker(it), "both say so")
        n_before = len(it.errors())
        await until(lambda: len(it.errors()) >= n_before + 3, "they go on")
        assert all("the model server ended" in str(error) for error in it.errors()[n_before:])


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"BACKEND": ""}, "BACKEND must be set; one of: comfyui, hello_world, openai, tgi"),
        ({"BACKEND": "tgj"}, "BACKEND ='tgj' is not known; one of: comfyui, hello_world"),
        ({"MODEL_LOG": ""}, "MODEL_LOG must be set in the template"),
        ({"MODEL_ID": ""}, "MODEL_ID must be set in the template"),
        ({"BENCHMARK_ROUTE": "/x"}, "BENCHMARK_ROUTE='/x' is no benchmark of tgi"),
        ({"BACKEND": "comfyui"}, "COMFY_MODEL must be set in the template"),
    ],
)
async def test_a_missing_variable_is_reported_in_words(
    tmp_path: Path, env: dict[str, str], message: str
) -> None:
    async with supervised(tmp_path, **env) as it:
        await until(lambda: it.errors(), "a report")
        assert message in str(it.errors()[0])
        assert not it.child(PYWORKER)


HUB_CASES = [
    ("", "GatedRepo", "HF_TOKEN must be set: the model meta-llama/Llama is gated"),
    ("hf_no_access", "GatedRepo", "HF_TOKEN has no access to the gated model"),
    ("hf_wrong", "", "HF_TOKEN is wrong"),
    ("hf_good", "RepoNotFound", "there is no model meta-llama/Llama"),
]


@pytest.mark.parametrize(("token", "code", "message"), HUB_CASES)
async def test_a_model_that_cannot_be_had_is_reported_before_anything_starts(
    tmp_path: Path, token: str, code: str, message: str
) -> None:
    async def whoami(request: web.Request) -> web.Response:
        return web.Response(status=401 if "wrong" in request.headers["Authorization"] else 200)

    async def auth_check(_request: web.Request) -> web.Response:
        return web.Response(status=403, headers={"X-Error-Code": code})

    hub = web.Application()
    hub.router.add_get("/api/whoami-v2", whoami)
    hub.router.add_get("/api/models/meta-llama/Llama/auth-check", auth_check)
    async with serve(hub) as hub_url:
        env = {"MODEL_ID": "meta-llama/Llama", "HF_TOKEN": token, "HF_ENDPOINT": hub_url}
        async with supervised(tmp_path, **env) as it:
            await until(lambda: it.errors(), "a report")
            assert message in str(it.errors()[0])
            assert "hf_" not in str(it.errors()[0])


async def test_an_empty_token_refuses_to_start(tmp_path: Path) -> None:
    async with supervised(tmp_path, MASTER_TOKEN="") as it:
        assert await asyncio.wait_for(it.process.wait(), 60) == 2
        assert "MASTER_TOKEN must be set and not empty" in it.log.read_text()


async def test_secrets_reach_only_the_process_that_needs_them(tmp_path: Path) -> None:
    async with supervised(tmp_path, HF_TOKEN="hf_secret") as it:
        pyworker, model = [await it.running(word) for word in (PYWORKER, MODEL_SERVER)]
        assert "HF_TOKEN" not in pyworker.environ()
        assert model.environ()["HF_TOKEN"] == "hf_secret"
        assert not {"MASTER_TOKEN", "REPORT_ADDR"} & model.environ().keys()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"hf_secret" not in path.read_bytes(), path


def test_the_launch_script_is_plain_posix_sh() -> None:
    script = Path(__file__).parents[2] / "workers" / "launch" / "start.sh"
    subprocess.run(["sh", "-n", str(script)], check=True)


async def test_the_worker_is_served_over_tls_with_the_signed_certificate(tmp_path: Path) -> None:
    """Vast's signer, here our own authority, signs for the worker's real address."""
    authority = CertificateAuthority()
    env = {
        "USE_SSL": "true",
        "TLS_CERT": str(tmp_path / "instance.crt"),
        "TLS_KEY": str(tmp_path / "instance.key"),
    }
    async with (
        serve(authority.application()) as signer,
        supervised(tmp_path, SIGN_CERT_URL=signer + "/sign_cert/", **env) as it,
        aiohttp.ClientSession() as http,
    ):
        await until(lambda: it.control_plane.reports, "a report")
        report = it.control_plane.last_report
        pinned = aiohttp.Fingerprint(bytes.fromhex(str(report["certificate_sha256"])))
        async with http.get(f"{report['url']}/ping", ssl=pinned) as answer:
            assert await answer.text() == "pong"
        assert authority.instance_ids == ["4711"]
        assert (tmp_path / "instance.key").stat().st_mode & 0o077 == 0

"""The launch script as a real process: what is fetched is checked, and what fails is told."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from ballast.templates import load_template, onstart
from fakes.control_plane_server import ControlPlaneServer
from lab.local.market.images import make_environment
from tests.workers.world import environment, free_port, serve, until
from workers.bundle import build_bundle

BUNDLE = build_bundle()
ROOT = Path(__file__).parents[2]
INTERVAL_S = 10.0


@dataclass
class Instance:
    """A rented instance whose onstart runs."""

    control_plane: ControlPlaneServer
    process: asyncio.subprocess.Process
    workspace: Path

    def errors(self) -> list[str]:
        return [str(report["error_msg"]) for report in self.control_plane.reports]

    async def expect_told(self, words: str) -> None:
        await until(lambda: any(words in error for error in self.errors()), words)

    def pid(self, word: str) -> int | None:
        """The process of this instance with this word in its command line."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                is_ours = str(self.workspace) in process.cwd()
                if is_ours and word in process.cmdline() and process.is_running():
                    return process.pid
        return None

    def supervisor(self) -> int | None:
        return self.pid("workers.pyworker.supervision.supervisor")

    async def another_supervisor(self, before: int) -> None:
        await until(lambda: self.supervisor() not in (None, before), "another one", INTERVAL_S)

    async def ready_after(self, n_reports: int) -> None:
        reports = self.control_plane.reports
        await until(lambda: any(r.get("max_perf") for r in reports[n_reports:]), "ready")


@asynccontextmanager
async def launched(tmp_path: Path, served: bytes | None, **env: str) -> AsyncIterator[Instance]:
    control_plane = ControlPlaneServer()
    if served is not None:
        control_plane.bundles[f"{BUNDLE.sha256}.tar.gz"] = served
    model_port = free_port()
    # The laboratory is not installed beside the product: it is found in the checkout alone.
    python = f"env PYTHONPATH={ROOT} {sys.executable}"
    model_server = f"{python} -m lab.local.model.model_server --port {model_port}"
    workspace = tmp_path / "workspace"
    make_environment(workspace)
    async with serve(control_plane.application()) as url:
        variables = environment(url, f"http://127.0.0.1:{model_port}", workspace) | {
            "MODEL_LOG": str(workspace / "model.log"),
            "BENCHMARK_ROUNDS": "1",
            "BENCHMARK_CONCURRENCY": "1",
            "BUNDLE_SHA256": BUNDLE.sha256,
            "WORKSPACE_DIR": str(workspace),
            "REPORT_EVERY": "1",
            "PYTHON": sys.executable,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(tmp_path / "of-the-image"),
        }
        if "BACKEND" not in env:
            variables |= {
                "BACKEND": "tgi",
                "MODEL_ID": "local",
                "MODEL_COMMAND": f"{model_server} --tokens-per-s 9999",
            }
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", onstart()), env=variables | env, cwd=tmp_path, start_new_session=True
        )
        try:
            yield Instance(control_plane, process, workspace)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            # What took the killed script's place lives in a session of its own.
            await until(lambda: not kill_all_of(workspace), "nothing of it is left", INTERVAL_S)


def kill_all_of(workspace: Path) -> bool:
    """Kill what was started in this workspace; whether there was anything."""
    found = False
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("WORKSPACE_DIR") == str(workspace):
                process.kill()
                found = found or process.status() != psutil.STATUS_ZOMBIE
    return found


async def test_a_launched_worker_becomes_ready_and_survives_the_kill_of_its_supervisor(
    tmp_path: Path,
) -> None:
    """From the pinned bundle and the environment there is; the image's own packages do no harm."""
    poisoned = tmp_path / "of-the-image" / "cryptography"
    poisoned.mkdir(parents=True)
    (poisoned / "__init__.py").write_text("raise ImportError('the image has another one')")
    async with launched(tmp_path, BUNDLE.data) as it:
        await it.ready_after(0)
        assert not [error for error in it.errors() if error]

        before = it.supervisor()
        assert before
        os.kill(before, signal.SIGKILL)
        await it.another_supervisor(before)
        await it.ready_after(len(it.errors()))


async def test_a_killed_launch_script_is_replaced_while_the_worker_serves_on(
    tmp_path: Path,
) -> None:
    async with launched(tmp_path, BUNDLE.data) as it:
        await it.ready_after(0)
        supervisor, pyworker = it.supervisor(), it.pid("workers.pyworker")
        assert supervisor
        it.process.kill()
        await until(lambda: it.pid("launch"), "one in its place", INTERVAL_S)
        assert it.pid("workers.pyworker") == pyworker

        os.kill(supervisor, signal.SIGKILL)
        await it.another_supervisor(supervisor)
        await it.ready_after(len(it.errors()))


async def test_the_template_of_hello_world_starts_a_model_server_and_all(tmp_path: Path) -> None:
    """It names no command: its back end brings a model server in the bundle."""
    template = load_template("hello_world")
    assert template.back_end == "hello_world"
    assert "MODEL_COMMAND" not in template.env
    async with launched(tmp_path, BUNDLE.data, BACKEND=template.back_end) as it:
        await it.ready_after(0)
        assert it.pid("workers.hello_world.model_server")


async def test_a_tampered_bundle_is_refused_and_told(tmp_path: Path) -> None:
    async with launched(tmp_path, BUNDLE.data + b"\0") as it:
        await it.expect_told("not the one this template pins")
        assert not (it.workspace / "ballast" / BUNDLE.sha256).exists()
        assert it.supervisor() is None

        it.control_plane.bundles[f"{BUNDLE.sha256}.tar.gz"] = BUNDLE.data
        await until(it.supervisor, "it goes on once the bundle is right")


async def test_a_bundle_the_control_plane_no_longer_has_is_told(tmp_path: Path) -> None:
    async with launched(tmp_path, None) as it:
        await it.expect_told("launch: the control plane does not have the worker bundle")


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"BUNDLE_SHA256": ""}, "launch: BUNDLE_SHA256 must be the 64 hex digits"),
        ({"WORKSPACE_DIR": "/dev/null"}, "launch: cannot write to WORKSPACE_DIR"),
        ({"BACKEND": "tgj"}, "BACKEND ='tgj' is not known"),
        ({"WORKER_PORT": "3000"}, "the template must publish -p 3000:3000"),
        ({"PUBLIC_IPADDR": ""}, "PUBLIC_IPADDR must be set"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL='LOUD' must be one of DEBUG, INFO"),
    ],
)
async def test_a_wrong_environment_is_told_in_words(
    tmp_path: Path, env: dict[str, str], words: str
) -> None:
    async with launched(tmp_path, BUNDLE.data, **env) as it:
        await it.expect_told(words)


async def test_an_image_with_an_old_python_is_told(tmp_path: Path) -> None:
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    async with launched(
        tmp_path, BUNDLE.data, PYTHON=str(old), WORKSPACE_DIR=str(tmp_path / "empty")
    ) as it:
        await it.expect_told("launch: the image needs Python 3.11")


async def test_a_supervisor_that_keeps_ending_is_told(tmp_path: Path) -> None:
    bare = make_environment(tmp_path / "bare")
    for path in bare.rglob("installed.pth"):
        path.unlink()
    async with launched(tmp_path, BUNDLE.data, WORKSPACE_DIR=str(tmp_path / "bare")) as it:
        await it.expect_told("launch: the supervisor keeps ending")


@pytest.mark.parametrize("name", ["REPORT_ADDR", "MASTER_TOKEN"])
async def test_without_address_or_token_it_ends_at_once(tmp_path: Path, name: str) -> None:
    async with launched(tmp_path, BUNDLE.data, **{name: ""}) as it:
        assert await asyncio.wait_for(it.process.wait(), 60) == 2

"""The extension guide's own code runs: copied out of the page as a new user would."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import aiohttp
from aiohttp import web

from chalicelib.wire.ticket import Claims
from fakes.control_plane_server import ControlPlaneServer
from tests.workers.world import environment, serve, until

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "internals" / "extension-guide.md"


def example() -> str:
    code = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(code) == 1
    return str(code[0])


def test_the_example_is_short() -> None:
    assert example().count("\n") < 80


async def test_a_back_end_written_by_the_guide_serves(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "workers", tmp_path / "workers")
    shutil.copytree(ROOT / "chalicelib" / "wire", tmp_path / "chalicelib" / "wire")
    (tmp_path / "chalicelib" / "__init__.py").touch()
    folder = tmp_path / "workers" / "translate"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Back end: texts."""\n')
    (folder / "server.py").write_text(example())

    async def translate(request: web.Request) -> web.Response:
        body = await request.json()
        return web.json_response({"text": body["input"].upper(), "language": body["target"]})

    async def health(_request: web.Request) -> web.Response:
        return web.Response()

    model = web.Application()
    model.router.add_post("/v1/translate", translate)
    model.router.add_get("/health", health)
    control_plane = ControlPlaneServer()
    async with (
        serve(control_plane.application()) as control_plane_url,
        serve(model) as model_url,
        aiohttp.ClientSession() as http,
    ):
        env = environment(control_plane_url, model_url, tmp_path) | {"BACKEND": "translate"}
        worker = subprocess.Popen(
            [sys.executable, "-m", "workers.pyworker"],
            env=env | {"PYTHONPATH": str(tmp_path)},
            cwd=tmp_path,
            stderr=subprocess.DEVNULL,
        )
        try:
            await until(lambda: control_plane.last_report.get("max_perf"), "ready")
            claims = _claims(control_plane, env["WORKER_PORT"])
            body = {
                "auth_data": control_plane.signer.ticket(claims),
                "payload": {"text": "hello", "to": "fr"},
            }
            async with http.post(claims.url + "/translate", json=body) as answer:
                assert await answer.json() == {"text": "HELLO", "language": "fr"}
            await until(lambda: control_plane.last_report["finished_workload"] == 5, "counted")
        finally:
            worker.kill()
            worker.wait()


def _claims(control_plane: ControlPlaneServer, port: str) -> Claims:
    return Claims(
        cost=5,
        endpoint="translate",
        endpoint_id=7,
        url=f"http://127.0.0.1:{port}",
        reqnum=1,
        request_idx=1,
        instance_id=4711,
        boot_id=str(control_plane.last_report["boot_id"]),
        issued_at=0.0,
        expires_at=4e9,
    )

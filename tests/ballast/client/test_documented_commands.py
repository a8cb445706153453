"""What READMEs and docs/clients.md tell to type is typed here, and does what they say."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import tomllib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from aiohttp import web

from ballast.loadtest.command import make_parser
from fakes.comfyui_server import ComfyUIServer
from fakes.scripted_model_server import ScriptedModelServer
from lab.local.model.model_server import ModelServer, Speed
from tests.ballast.client.fake_openai import FakeOpenAi
from tests.ballast.client.world import DEFAULT_CTRL_C, real_worker, servers, wait_until
from tests.workers.world import free_port
from workers.pyworker.back_end import BackEnd
from workers.pyworker.registry import back_end_names, load_back_end

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "clients.md"
TIMEOUT_S = 120


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)


def environment(home: Path, **env: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(home), **env}


def run(command: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """As an owner types it in the project's folder, but `folder` gets what is written."""
    return subprocess.run(
        ["sh", "-ec", command],
        env=environment(folder, **env),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def model_of(name: str) -> web.Application:
    """A stand-in for the model server of a back end."""
    if name == "tgi":
        return ModelServer(Speed(tokens_per_s=5000, n_slots=10), "GPU").application()
    if name == "openai":
        return FakeOpenAi().application()
    server = ComfyUIServer() if name == "comfyui" else ScriptedModelServer()
    return server.application()


def quick(name: str) -> BackEnd:
    back_end = load_back_end(name)
    return replace(
        back_end,
        benchmark=replace(back_end.benchmark, n_rounds=1, concurrency=1, max_concurrency=1),
    )


ANSWERS = {
    "tgi": r'\{"generated_text": " these are.*\}\n these are simulated words',
    "openai": r'\{.*"content": "Blue is a colour".*\}\nBlue is a colour\n',
    "comfyui": r"prompt-0\.png\ncustom-workflow-0\.png\n",
    "hello_world": r'\{"prompt": "Hello\?".*\}\ndata: 0\n',
}
SUMMARY = r"total 4 answered \(.*/minute\) by 1 workers(.|\n)*  first token  p50 .* p95 .* p99 "


@pytest.mark.parametrize("name", back_end_names())
def test_client_and_load_test_of_each_back_end_as_its_readme_says(
    name: str, tmp_path: Path
) -> None:
    (block,) = blocks(ROOT / "workers" / name / "README.md", "sh")
    assert f"workers.{name}.client" in block
    assert f"workers.{name}.test_load" in block
    log = tmp_path / "model.log"
    log.write_text("To see the GUI go to: http\ninfer server has started\n")
    with real_worker(tmp_path, quick(name), model_of(name), MODEL_LOG=str(log)) as (
        _,
        url,
    ):
        said = run(in_short(block), tmp_path, API_KEY="blk.key", BALLAST_URL=url)
    assert said.returncode == 0, said.stdout + said.stderr
    assert re.search(ANSWERS[name], said.stdout), said.stdout
    assert re.search(SUMMARY, said.stdout), said.stdout


def in_short(commands: str) -> str:
    """Fewer requests, faster."""
    short, n_changed = re.subn(r"-n \d+ -rps [\d.]+", "-n 4 -rps 12.5", commands)
    assert n_changed
    return short


def test_the_quick_start_of_the_clients_page(tmp_path: Path) -> None:
    commands = blocks(GUIDE, "sh")[0].replace("https://…", "$URL")
    model = model_of("tgi")
    with real_worker(tmp_path, quick("tgi"), model) as (_, url):
        said = run(in_short(commands), tmp_path, API_KEY="k", URL=url)
    assert said.returncode == 0, said.stderr
    assert re.search(ANSWERS["tgi"], said.stdout)
    assert re.search(SUMMARY, said.stdout)


def test_the_python_example_of_the_clients_page(tmp_path: Path) -> None:
    code = blocks(GUIDE, "python")[0]
    with real_worker(tmp_path, quick("tgi"), model_of("tgi")) as (_, url):
        (tmp_path / "example.py").write_text(
            code.replace("https://…", url).replace("blk.…", "blk.key")
        )
        said = run("python3 example.py", tmp_path)
    assert said.returncode == 0, said.stderr
    whole, *events = said.stdout.splitlines()
    assert "generated_text" in whole
    assert len(events) == 20
    assert json.loads(events[0])["token"]["text"] == " these"


def test_the_openai_example_of_the_clients_page(tmp_path: Path) -> None:
    code = blocks(GUIDE, "python")[1]
    port = free_port()
    assert "http://127.0.0.1:8090/v1" in code
    (tmp_path / "example.py").write_text(code.replace(":8090", f":{port}"))
    with real_worker(tmp_path, quick("openai"), model_of("openai")) as (_, url):
        words = [sys.executable, "-m", "ballast.proxy", "-e", "chat", "-k", "k", "-u", url]
        proxy = subprocess.Popen(
            [*words, "--port", str(port)], env=environment(tmp_path), stdout=subprocess.DEVNULL
        )
        try:
            wait_until(lambda: models_of(f"http://127.0.0.1:{port}/v1"), "it serves")
            said = run("python3 example.py", tmp_path)
        finally:
            proxy.terminate()
            proxy.wait(TIMEOUT_S)
    assert said.returncode == 0, said.stderr
    assert said.stdout == "Blue is a colour"


FLAGS = [
    "-n 3 -rps 12.5 --poisson --seed 1",
    "--trace trace.csv --speed 10 --json run.json --picture run.png",
]


@pytest.mark.parametrize("flags", FLAGS)
def test_the_load_tests_flags_do_what_the_table_says(tmp_path: Path, flags: str) -> None:
    (tmp_path / "trace.csv").write_text("at_s,tokens\n0,10\n1.5,20\n4,30\n")
    with real_worker(tmp_path, quick("tgi"), model_of("tgi")) as (it, url):
        command = f"python3 -m workers.tgi.test_load {flags} -k k -e e"
        said = run(command, tmp_path, BALLAST_URL=url)
        costs = [body["cost"] for body in it.control_plane.routes]
    assert said.returncode == 0, said.stderr
    assert "total 3 answered" in said.stdout
    if "--trace" in flags:
        assert costs == [10, 20, 30]
        written = json.loads((tmp_path / "run.json").read_text())
        assert [request["state"] for request in written["requests"]] == ["done"] * 3
        assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_has_every_flag_and_only_flags_there_are() -> None:
    rows = GUIDE.read_text().partition("| flag | meaning |")[2].partition("\n\n")[0]
    told = set(re.findall(r"(?<=[` ])--?[a-z]+", rows))
    known = {name for action in make_parser()._actions for name in action.option_strings}
    assert told <= known
    assert known - told == {"-h", "--help", *CONNECTION}


CONNECTION = {"-k", "--api-key", "-e", "--endpoint", "-u", "--url", "--worker-ca"}


def test_the_proxy_starts_as_the_clients_page_says_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    install, serve, _ = blocks(GUIDE, "sh")[1].split("\n")
    assert install == 'pip install ".[proxy]"'
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "proxy" in project["optional-dependencies"]
    command, _, told = serve.partition("# ")
    assert told.strip() == "http://127.0.0.1:8090/v1"
    port = free_port()
    with servers() as it:
        it.control_plane.next_grant = None  # whoever asks waits
        proxy = subprocess.Popen(
            [*DEFAULT_CTRL_C, "sh", "-ec", f"exec {command.strip()} --port {port}"],
            env=environment(tmp_path, API_KEY="blk.key", BALLAST_URL=it.control_plane_url),
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            url = f"http://127.0.0.1:{port}/v1"
            wait_until(lambda: models_of(url) == ["TGI-Llama3"], "it serves")
            ask = threading.Thread(target=ask_and_be_cut, args=(url,), daemon=True)
            ask.start()
            wait_until(lambda: it.control_plane.routes, "a request waits")
            assert it.control_plane.route_authorizations == ["Bearer blk.key"]
        finally:
            proxy.send_signal(signal.SIGINT)
            _, stderr = proxy.communicate(timeout=TIMEOUT_S)
        ask.join(TIMEOUT_S)
    assert "Traceback" not in stderr


def models_of(url: str) -> list[str]:
    try:
        return [m["id"] for m in requests.get(f"{url}/models", timeout=60).json()["data"]]
    except requests.ConnectionError:
        return []


def ask_and_be_cut(url: str) -> None:
    with suppress(requests.ConnectionError):
        requests.post(f"{url}/chat/completions", json={"messages": []}, timeout=TIMEOUT_S)

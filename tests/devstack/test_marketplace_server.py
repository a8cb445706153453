"""The marketplace server: rented instances are real processes, and none outlives its market."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests

from devstack.marketplace_server import RunningMarketplace, main, serve_marketplace
from devstack.marketplace_world import MarketSettings
from fakes.market_config import CALM, MarketConfig, Timings

INSTANT = MarketConfig(
    odds=CALM,
    timings=Timings(
        create_s=0.0,
        load_median_s=0.0,
        load_sigma=0.0,
        restart_median_s=0.0,
        restart_sigma=0.0,
        stop_s=0.0,
        destroy_s=0.0,
    ),
)
KEY = {"Authorization": "Bearer key"}
TIMEOUT_S = 20.0
SERVER = (
    "import http.server, os; http.server.HTTPServer(('127.0.0.1', int(os.environ['WORKER_PORT'])),"
    " http.server.SimpleHTTPRequestHandler).serve_forever()"
)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMarketplace]:
    """A market without delays."""
    state_dir = tmp_path_factory.mktemp("market")
    with serve_marketplace(MarketSettings(config=INSTANT, state_dir=state_dir)) as running:
        yield running


def call(
    market: RunningMarketplace, method: str, path: str, body: object = None
) -> requests.Response:
    """One call of Vast's API."""
    return requests.request(method, market.url + path, json=body, headers=KEY, timeout=10)


def control(market: RunningMarketplace, path: str, body: object = None) -> dict[str, object]:
    """One call of the control API."""
    method = "GET" if body is None else "POST"
    answer = requests.request(method, f"{market.url}/_market/{path}", json=body, timeout=10)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)


def rent(market: RunningMarketplace, onstart: str, env: dict[str, str] | None = None) -> int:
    """Rent the cheapest offer with a template of its own."""
    template = {"name": "t", "image": "i", "env": "-e FROM=template -e A=1", "onstart": onstart}
    answer = call(market, "POST", "/api/v0/template/", template).json()
    query = {"order": [["dph_total", "asc"]], "limit": 1}
    (offer,) = call(market, "POST", "/api/v0/bundles/", query).json()["offers"]
    body = {
        "template_hash_id": answer["template"]["hash_id"],
        "env": {"-p 3000:3000": "1", "-p 8080:8080": "1", "A": "2", **(env or {})},
        "label": "x",
        "disk": 10.0,
    }
    return int(call(market, "PUT", f"/api/v0/asks/{offer['id']}/", body).json()["new_contract"])


def truth(market: RunningMarketplace, instance_id: int) -> dict[str, object]:
    """The instance as it is."""
    rows = control(market, "instances")["instances"]
    assert isinstance(rows, list)
    return next((row for row in rows if row["id"] == instance_id), {})


def destroy(market: RunningMarketplace, instance_id: int) -> None:
    """Destroy, and wait until it is gone."""
    assert call(market, "DELETE", f"/api/v0/instances/{instance_id}/", {}).status_code == 200
    eventually(lambda: not truth(market, instance_id))


def log_of(market: RunningMarketplace, instance_id: int) -> str:
    """The container's log, as the vendor's CLI gets it."""
    asked = call(market, "PUT", f"/api/v0/instances/request_logs/{instance_id}/", {"tail": "100"})
    return requests.get(asked.json()["result_url"], timeout=10).text


def port_of(market: RunningMarketplace, instance_id: int) -> int:
    """Where the worker's port is mapped to."""
    ports = truth(market, instance_id)["ports"]
    assert isinstance(ports, dict)
    return int(ports["3000/tcp"][0]["HostPort"])


def is_listening(port: int) -> bool:
    """Whether somebody listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_container_sees_what_vast_would_tell_it_and_nothing_of_ours(
    market: RunningMarketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_OF_OURS", "1")
    instance_id = rent(market, "env; echo done")
    eventually(lambda: "done" in log_of(market, instance_id))
    env = dict(
        line.split("=", 1) for line in log_of(market, instance_id).splitlines() if "=" in line
    )
    port = env["WORKER_PORT"]
    assert env["CONTAINER_ID"] == str(instance_id)
    assert env["PUBLIC_IPADDR"] == "127.0.0.1"
    assert env["VAST_TCP_PORT_3000"] == env[f"VAST_TCP_PORT_{port}"] == port
    assert port == str(port_of(market, instance_id))
    others = {port, env["WORKER_HTTP_PORT"], env["MODEL_PORT"], env["VAST_TCP_PORT_8080"]}
    assert len(others) == 4
    assert (env["FROM"], env["A"]) == ("template", "2")
    assert env["GPU_NAME"]
    assert float(env["RELATIVE_PERF"]) > 0
    assert "CANARY_OF_OURS" not in env
    assert not any(name.startswith("-p") for name in env)
    destroy(market, instance_id)


def test_a_template_may_name_another_worker_port(market: RunningMarketplace) -> None:
    instance_id = rent(market, "env; echo done", {"WORKER_PORT": "8080"})
    eventually(lambda: "done" in log_of(market, instance_id))
    lines = log_of(market, instance_id).splitlines()
    port = next(line for line in lines if line.startswith("WORKER_PORT=")).partition("=")[2]
    assert f"VAST_TCP_PORT_8080={port}" in lines
    destroy(market, instance_id)


def test_stop_and_start_keep_the_disk_and_end_the_process(market: RunningMarketplace) -> None:
    instance_id = rent(market, f'echo boot >> boots; wc -l < boots; exec python -c "{SERVER}"')
    eventually(lambda: truth(market, instance_id)["actual_status"] == "running")
    port = port_of(market, instance_id)
    eventually(lambda: is_listening(port))
    path = f"/api/v0/instances/{instance_id}/"
    assert call(market, "PUT", path, {"state": "stopped"}).json() == {"success": True}
    eventually(lambda: not is_listening(port))
    eventually(lambda: truth(market, instance_id)["actual_status"] == "exited")
    assert call(market, "PUT", path, {"state": "running"}).json() == {"success": True}
    eventually(lambda: is_listening(port))
    assert log_of(market, instance_id).split() == ["1", "2"]
    assert port_of(market, instance_id) == port
    destroy(market, instance_id)
    assert not is_listening(port)


def test_the_whole_group_ends_even_if_it_ignores_requests(market: RunningMarketplace) -> None:
    """A child of `onstart` that ignores SIGTERM goes with its instance."""
    instance_id = rent(market, "trap '' TERM; sleep 1000 & echo $!; wait")
    eventually(lambda: log_of(market, instance_id).strip().isdecimal())
    child = int(log_of(market, instance_id))
    destroy(market, instance_id)
    eventually(lambda: not psutil.pid_exists(child))


def test_a_dead_host_takes_its_process_along_and_comes_back(market: RunningMarketplace) -> None:
    instance_id = rent(market, f'exec python -c "{SERVER}"')
    eventually(lambda: truth(market, instance_id)["actual_status"] == "running")
    port = port_of(market, instance_id)
    eventually(lambda: is_listening(port))
    control(market, "faults", {"fault": "host-dies", "on": True, "instance_id": instance_id})
    assert truth(market, instance_id)["actual_status"] == "offline"
    eventually(lambda: not is_listening(port))
    control(market, "faults", {"fault": "host-dies", "on": False})
    eventually(lambda: is_listening(port))
    destroy(market, instance_id)


def test_reboot_restarts_the_process(market: RunningMarketplace) -> None:
    instance_id = rent(market, "echo $$; exec sleep 1000")
    eventually(lambda: len(log_of(market, instance_id).split()) == 1)
    path = f"/api/v0/instances/reboot/{instance_id}/"
    assert call(market, "PUT", path, {}).json() == {"success": True}
    eventually(lambda: len(log_of(market, instance_id).split()) == 2)
    destroy(market, instance_id)


def test_time_passes_faster_for_bills(market: RunningMarketplace) -> None:
    instance_id = rent(market, "exec sleep 1000")
    eventually(lambda: truth(market, instance_id)["actual_status"] == "running")
    control(market, "time_scale", {"time_scale": 3_600.0})
    first, second = control(market, "bill"), control(market, "bill")
    eventually(lambda: float(str(control(market, "bill")["at"])) - float(str(first["at"])) > 0.2)
    third = control(market, "bill")
    control(market, "time_scale", {"time_scale": 1.0})
    hours = float(str(third["at"])) - float(str(first["at"]))
    spent = float(str(third["total_usd"])) - float(str(first["total_usd"]))
    assert spent == pytest.approx(hours * float(str(second["usd_per_hour"])), rel=1e-6)
    destroy(market, instance_id)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/v0/nothing/", None, 404),
        ("PATCH", "/api/v0/bundles/", {}, 405),
        ("POST", "/api/v0/bundles/", [1], 400),
        ("POST", "/api/v0/template/", {"name": "x"}, 400),
        ("PUT", "/api/v0/instances/", {"state": "running", "ids": "all"}, 400),
        ("PUT", "/api/v0/instances/1/", {"state": "asleep"}, 400),
        ("PUT", "/api/v0/instances/1/", {"state": "stopped"}, 404),
        ("GET", "/api/v0/instances/?owner=me", None, 410),
        ("GET", "/api/v1/instances/?select_filters={", None, 400),
        ("POST", "/_market/faults", {"fault": "typo"}, 400),
        ("POST", "/_market/faults", {"fault": "host-dies", "typo": 1}, 400),
        ("POST", "/_market/time_scale", {"time_scale": -1}, 400),
        ("POST", "/_market/offers", {"offer_id": 1, "usd_per_hour": 1}, 404),
    ],
)
def test_bad_input_is_refused_with_an_object(
    market: RunningMarketplace, method: str, path: str, body: object, status: int
) -> None:
    answer = call(market, method, path, body)
    assert answer.status_code == status
    assert answer.json()["success"] is False
    assert answer.headers["Content-Type"] == "application/json"


def test_paths_may_lack_or_double_their_slashes(market: RunningMarketplace) -> None:
    for path in ("/api/v0/users/current", "/api/v0/users/current/", "//api/v0/users/current"):
        assert call(market, "GET", path).json()["id"] == 1


def test_a_price_can_be_fixed(market: RunningMarketplace) -> None:
    (offer,) = call(market, "POST", "/api/v0/bundles/", {"limit": 1}).json()["offers"]
    control(market, "offers", {"offer_id": offer["id"], "usd_per_hour": 0.01})
    cheap = {"limit": 1, "order": [["dph_base", "asc"]]}
    (found,) = call(market, "POST", "/api/v0/bundles/", cheap).json()["offers"]
    assert (found["id"], found["dph_base"]) == (offer["id"], 0.01)
    control(market, "offers", {"offer_id": offer["id"], "usd_per_hour": None})


def test_only_its_key_opens_a_market() -> None:
    with serve_marketplace(MarketSettings(config=INSTANT), api_key="right") as running:
        url = f"{running.url}/api/v0/users/current/"
        wrong = requests.get(url, headers={"Authorization": "Bearer wrong"}, timeout=10)
        assert (wrong.status_code, wrong.json()["error"]) == (401, "auth_error")
        assert requests.get(url, timeout=10).status_code == 401
        assert requests.get(url, params={"api_key": "right"}, timeout=10).status_code == 200


def test_a_socket_that_others_can_reach_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        assert main(["--fd", str(os.dup(listener.fileno()))]) == 2
    assert "one machine only" in capsys.readouterr().err


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_its_market(sign: signal.Signals, tmp_path: Path) -> None:
    """Whatever ends the market, the instances' processes end too."""
    command = [sys.executable, "-m", "devstack.marketplace_server", "--time-scale", "10000"]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = subprocess.Popen(
            [*command, "--state", str(tmp_path), "--fd", str(listener.fileno())],
            stdout=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        )
    assert server.stdout is not None
    with server.stdout:
        first_line = json.loads(server.stdout.readline())
        assert first_line["pid"] == server.pid
        market = RunningMarketplace(first_line["market_url"], None)  # type: ignore[arg-type]
        instance_id = rent(market, "sleep 1000 & echo $!; wait")
        eventually(lambda: log_of(market, instance_id).strip().isdecimal())
        child = int(log_of(market, instance_id))
        server.send_signal(sign)
        assert server.wait(TIMEOUT_S) == (0 if sign is not signal.SIGKILL else -signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(child))

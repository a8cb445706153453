"""Rented instances are real processes, and none outlives its market."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lab.local.market.marketplace_server import RunningMarketplace
from tests.lab.local.market_calls import (
    SERVER,
    TIMEOUT_S,
    call,
    control,
    destroy,
    eventually,
    is_listening,
    log_of,
    port_of,
    rent,
    truth,
)


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


def test_a_launch_by_arguments_runs_them(market: RunningMarketplace) -> None:
    """The probe rents a bare image and gives it a command; the log shows what that printed."""
    offer = call(market, "POST", "/api/v0/bundles/", {"limit": 1}).json()["offers"][0]
    body = {"client_id": "me", "image": "alpine:3.20", "disk": 8, "label": "x",
            "runtype": "args", "args": ["sh", "-c", "echo by-arguments; sleep 60"]}  # fmt: skip
    rented = call(market, "PUT", f"/api/v0/asks/{offer['id']}/", body).json()
    instance_id = rented["new_contract"]
    eventually(lambda: "by-arguments" in log_of(market, instance_id))
    assert truth(market, instance_id)["actual_status"] == "running"  # what it runs goes on
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
    assert not truth(market, instance_id)


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


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_its_market(sign: signal.Signals, tmp_path: Path) -> None:
    """Whatever ends the market, the instances' processes end too."""
    command = [sys.executable, "-m", "lab.local.market.marketplace_server", "--time-scale", "10000"]
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

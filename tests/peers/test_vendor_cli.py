"""The vendor's command, unmodified, manages groups here: protocol.md E and H.1."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.ports.event_log import Event
from lab.local.gateway.gateway import application_over
from lab.local.gateway.gateway_faults import GatewayFaults
from tests.api.over_fakes import Api
from tests.peers.vendor_cli import VendorCli


class QuietHandler(WSGIRequestHandler):
    """Gives the raw path that gunicorn gives, and logs nothing."""

    def get_environ(self) -> dict[str, Any]:
        return {**super().get_environ(), "RAW_URI": self.path}

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def url(api: Api, tmp_path: Path) -> Iterator[str]:
    """The address of the app over fakes, behind the local gateway."""
    functions = SimpleNamespace(app=api.app, hot=api.app, reports=api.app)
    gateway = application_over(functions, GatewayFaults(tmp_path / "faults.json"))

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        # wsgiref's input never ends by itself; gunicorn's does.
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        return gateway({**environ, "wsgi.input": io.BytesIO(body)}, start_response)

    with make_server("127.0.0.1", 0, application, handler_class=QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def cli(api: Api, url: str, tmp_path: Path) -> VendorCli:
    return VendorCli(url, api.key, tmp_path)


def test_endpoints_are_created_shown_updated_and_deleted(api: Api, cli: VendorCli) -> None:
    out = cli.run(
        "create", "endpoint", "--endpoint_name", "ep1", "--target_util", "0.8",
        "--max_queue_time", "20", "--inactivity_timeout", "300", "--min_load", "100",
    )  # fmt: skip
    assert "'success': True" in out
    assert "'result': 100" in out
    (row,) = cli.raw("show", "endpoints")
    assert row["id"] == 100
    assert (row["target_util"], row["max_queue_time"], row["min_load"]) == (0.8, 20.0, 100.0)
    assert (row["cold_mult"], row["cold_workers"], row["max_workers"]) == (2.5, 5, 20)
    assert row["inactivity_timeout"] == 300
    assert "api_key" not in row  # the command hides it
    cli.run("update", "endpoint", "100", "--max_workers", "3", "--endpoint_state", "stopped")
    (row,) = cli.raw("show", "endpoints")
    assert (row["max_workers"], row["endpoint_state"]) == (3, "stopped")
    assert row["min_load"] == 100.0
    cli.run("delete", "endpoint", "100")
    (row,) = cli.raw("show", "endpoints")
    assert row["endpoint_state"] == "deleting"
    assert (100, "deleted") in api.poke.pokes


def test_workergroups_are_created_shown_updated_and_deleted(api: Api, cli: VendorCli) -> None:
    cli.run("create", "endpoint", "--endpoint_name", "ep1")
    out = cli.run(
        "create", "workergroup", "--template_hash", "abc", "--endpoint_name", "ep1",
        "--search_params", "gpu_ram>=23 num_gpus=1", "--launch_args", "--disk 64",
        "--gpu_ram", "24",
    )  # fmt: skip
    assert "'id': 101" in out
    (row,) = cli.raw("show", "workergroups")
    assert (row["id"], row["endpoint_id"], row["endpoint_name"]) == (101, 100, "ep1")
    assert (row["template_hash"], row["launch_args"], row["gpu_ram"]) == ("abc", "--disk 64", 24.0)
    query = {
        "gpu_ram": {"gte": 23000.0}, "num_gpus": {"eq": "1"}, "verified": {"eq": True},
        "rentable": {"eq": True}, "rented": {"eq": False},
    }  # fmt: skip
    assert row["search_query"] == query
    cli.run("update", "workergroup", "101", "--gpu_ram", "30")
    (row,) = cli.raw("show", "workergroups")
    assert (row["gpu_ram"], row["search_query"]) == (30.0, query)
    cli.run("delete", "workergroup", "101")
    assert cli.raw("show", "workergroups")[0]["state"] == "deleting"


def test_logs_workers_and_updates_are_reachable(api: Api, cli: VendorCli) -> None:
    api.create_endpoint("ep1")
    api.create_autogroup(100)
    for level in ("info0", "info1", "trace", "debug"):
        api.events.append(
            [
                Event(at=5.0, scope=scope, level=level, kind="test", message=f"a line of {level}")
                for scope in ("endpoint:100", "autogroup:101")
            ]
        )
    for n, name in enumerate(("info0", "info1", "trace", "debug")):
        text = cli.run("get", "endpt-logs", "100", "--level", str(n))
        assert f"a line of {name}" in text
        assert ("a line of debug" in text) == (name == "debug")
    assert "a line of trace" in cli.run("get", "wrkgrp-logs", "101", "--level", "2")
    whole = api.call("POST", "/get_endpoint_logs/", {"id": 100}).json["debug"]
    tail = cli.run("get", "endpt-logs", "100", "--level", "3", "--tail", "2")
    assert tail.strip().splitlines() == whole.splitlines()[-2:]
    api.workers.add(
        Worker(
            endpoint_id=100, instance_id=7, autogroup_id=101, created_at=1.0, perf=40.0,
            state=WorkerState.READY, gpu_name="RTX 4090",
        )
    )  # fmt: skip
    workers = cli.run("get", "endpt-workers", "100")
    assert "7" in workers
    assert "idle" in workers
    assert "1" in cli.run("update", "workers", "101")
    assert api.groups.autogroups[101].rollout_by is not None
    cli.run("update", "workers", "101", "--cancel")
    assert api.groups.autogroups[101].rollout_by is None


def test_errors_are_printed_as_text_and_a_bad_key_is_named(
    api: Api, cli: VendorCli, url: str, tmp_path: Path
) -> None:
    refused = VendorCli(url, "wrong", tmp_path / "other").run("show", "endpoints")
    assert "Key not accepted: it should start with blk." in refused
    assert "out of bounds" in cli.run(
        "create", "endpoint", "--endpoint_name", "ep1", "--target_util", "7"
    )

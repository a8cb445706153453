"""Calls of the marketplace server, as a program makes them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import requests

from fakes.market.market_config import CALM, MarketConfig, Timings
from lab.local.market.marketplace_server import RunningMarketplace

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
TIMEOUT_S = 60.0
SERVER = (
    "import http.server, os; http.server.HTTPServer(('127.0.0.1', int(os.environ['WORKER_PORT'])),"
    " http.server.SimpleHTTPRequestHandler).serve_forever()"
)


def call(
    market: RunningMarketplace, method: str, path: str, body: object = None
) -> requests.Response:
    """One call of Vast's API."""
    return requests.request(method, market.url + path, json=body, headers=KEY, timeout=30)


def control(market: RunningMarketplace, path: str, body: object = None) -> dict[str, object]:
    """One call of the control API."""
    method = "GET" if body is None else "POST"
    answer = requests.request(method, f"{market.url}/_market/{path}", json=body, timeout=30)
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
    return requests.get(asked.json()["result_url"], timeout=30).text


def port_of(market: RunningMarketplace, instance_id: int) -> int:
    """Where the worker's port is mapped to."""
    ports = truth(market, instance_id)["ports"]
    assert isinstance(ports, dict)
    return int(ports["3000/tcp"][0]["HostPort"])


def is_listening(port: int) -> bool:
    """Whether somebody listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

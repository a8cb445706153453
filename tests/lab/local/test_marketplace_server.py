"""The marketplace server: who may call, what is refused, and its control API."""

from __future__ import annotations

import os
import socket

import pytest
import requests

from lab.local.market.marketplace_server import RunningMarketplace, main, serve_marketplace
from lab.local.market.marketplace_world import MarketSettings
from tests.lab.local.market_calls import (
    INSTANT,
    call,
    control,
    destroy,
    eventually,
    rent,
    truth,
)


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
        assert (wrong.status_code, wrong.json()["error"]) == (404, "auth_error")
        assert requests.get(url, timeout=10).status_code == 401
        assert requests.get(url, params={"api_key": "right"}, timeout=10).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}]
)
def test_no_web_page_may_call(market: RunningMarketplace, headers: dict[str, str]) -> None:
    answer = requests.get(f"{market.url}/_market/bill", headers=headers, timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")


def test_a_socket_that_others_can_reach_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        assert main(["--fd", str(os.dup(listener.fileno()))]) == 2
    assert "one machine only" in capsys.readouterr().err

"""Faults of the local gateway: reports that never arrive, and nothing else that is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.local.gateway.gateway_faults import GatewayFaults


@pytest.fixture
def faults(tmp_path: Path) -> GatewayFaults:
    return GatewayFaults(tmp_path / "faults.json")


def switch(faults: GatewayFaults, **wish: object) -> int:
    return int(faults.control("POST", json.dumps(wish).encode())["statusCode"])


def test_own_ingest_down_refuses_every_report_and_nothing_else(faults: GatewayFaults) -> None:
    assert switch(faults, fault="own-ingest-down") == 200
    assert all(faults.strikes("reports") for _ in range(20))
    assert not faults.strikes("hot")
    assert not faults.strikes("app")
    assert switch(faults, fault="own-ingest-down", on=False) == 200
    assert not faults.strikes("reports")


def test_report_loss_loses_a_share(faults: GatewayFaults) -> None:
    assert switch(faults, fault="report-loss", share=0.3) == 200
    n_lost = sum(faults.strikes("reports") for _ in range(1_000))
    assert 200 < n_lost < 400


def test_all_processes_of_the_gateway_agree(tmp_path: Path) -> None:
    one, other = (GatewayFaults(tmp_path / "faults.json") for _ in range(2))
    switch(one, fault="own-ingest-down")
    assert other.strikes("reports")
    answer = json.loads(other.control("GET", b"")["body"])
    assert list(answer["active"]) == ["own-ingest-down"]


@pytest.mark.parametrize(
    "wish",
    [
        {"fault": "typo"},
        {"fault": "report-loss", "typo": 1},
        {"fault": "report-loss", "share": "x"},
    ],
)
def test_a_bad_wish_is_refused_and_changes_nothing(
    faults: GatewayFaults, wish: dict[str, object]
) -> None:
    assert switch(faults, **wish) == 400
    assert faults.control("POST", b"[]")["statusCode"] == 400
    assert faults.active() == {}

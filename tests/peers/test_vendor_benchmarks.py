"""The vendor's CLI looks at the market through our control plane and benchmarks a template."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.local.system.local_system import LocalSystem
from lab.local.system.owner import MarketView, Owner, wait_until
from lab.local.system.templates import TGI_SIMULATED, register_templates
from tests.peers.vendor_cli import VendorCli


@pytest.fixture
def cli(system: LocalSystem, tmp_path: Path) -> VendorCli:
    return VendorCli(system.url, system.account_key, tmp_path)


def test_offers_and_templates_are_found_with_vasts_names(
    system: LocalSystem, cli: VendorCli
) -> None:
    (hash_id,) = register_templates(system.market_url, [TGI_SIMULATED]).values()
    (template,) = cli.raw("search", "templates", f"hash_id={hash_id}")
    assert (template["hash_id"], template["name"]) == (hash_id, TGI_SIMULATED.name)
    assert "none-needed-here" not in str(template)  # its HF_TOKEN stays with the market
    dear = "gpu_name in [H200,B200] num_gpus=1"  # no group of these tests rents such a one
    offers = cli.raw("search", "offers", dear, "--limit", "3")
    assert 1 <= len(offers) <= 3
    assert {(offer["gpu_name"], offer["num_gpus"]) for offer in offers} <= {
        ("H200", 1),
        ("B200", 1),
    }
    assert all(0 < offer["dph_base"] <= offer["dph_total"] for offer in offers)
    assert cli.raw("search", "offers", "gpu_name=RTX_9999") == []


@pytest.mark.long
def test_run_benchmarks_rents_measures_and_returns(system: LocalSystem, cli: VendorCli) -> None:
    """Endpoint and workergroup made, worker polled, its price looked up, everything deleted."""
    owner, market = Owner(system.url, system.account_key), MarketView(system.market_url)
    (hash_id,) = register_templates(system.market_url, [TGI_SIMULATED]).values()
    printed = cli.run(
        *("run", "benchmarks", "--template_hash", hash_id, "--gpus", "RTX_3090"),
        *("-y", "--timeout", "300", "--raw"),
        timeout_s=400.0,
    )
    (row,) = json.loads(printed[printed.index("\n[") :])  # it talks before the JSON
    assert (row["gpu_name"], row["num_gpus"], row["status"]) == ("RTX 3090", 1, "ok")
    assert row["measured_perf"] > 0
    assert row["rental_dph"] > 0
    assert row["perf_per_dollar"] == pytest.approx(row["measured_perf"] / row["rental_dph"])
    wait_until("nothing rented", lambda: not _of_benchmarks(market), 240.0)
    wait_until(
        "its group forgotten",
        lambda: not [g for g in owner.groups() if g["endpoint_name"].startswith("benchmark")],
        240.0,
    )


def _of_benchmarks(market: MarketView) -> list[dict[str, object]]:
    return [row for row in market.instances() if str(row["label"]).startswith("benchmark")]

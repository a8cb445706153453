"""Market files: what they may say, and that a mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.market.market import Market
from fakes.market.market_config import GpuModel
from lab.local.market.market_file import DEFAULT_MARKET_FILE, MarketFileError, load_market_file
from lab.local.market.marketplace_server import main

FILE = """
credit_usd = 5.0
storage_usd_per_gb_month = [0.1, 0.2]
[timings]
create_s = 3.0
[odds]
boot_error = 0.5
[[models]]
name = "RTX 4090"
gpu_ram_gb = 24.0
usd_per_hour = 0.5
relative_perf = 1.0
dlperf = 100.0
gpus_per_machine = [1, 2]
[[templates]]
name = "hello"
image = "example/hello"
"""


def test_a_file_sets_what_it_names_and_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "market.toml"
    path.write_text(FILE)
    market = load_market_file(path)
    config = market.config
    assert (config.credit_usd, config.storage_usd_per_gb_month) == (5.0, (0.1, 0.2))
    assert (config.timings.create_s, config.timings.stop_s) == (3.0, 3.0)
    assert (config.odds.boot_error, config.odds.load_stuck) == (0.5, 0.04)
    assert config.models == (
        GpuModel(
            name="RTX 4090",
            gpu_ram_gb=24.0,
            usd_per_hour=0.5,
            relative_perf=1.0,
            dlperf=100.0,
            gpus_per_machine=(1, 2),
        ),
    )
    assert market.templates == ({"name": "hello", "image": "example/hello"},)


@pytest.mark.parametrize("path", sorted(DEFAULT_MARKET_FILE.parent.glob("*.toml")), ids=str)
def test_every_market_that_we_ship_has_many_models(path: Path) -> None:
    offers = Market(load_market_file(path).config).offers.search({}, 0.0)
    assert len({row["gpu_name"] for row in offers}) >= 8


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("credit = 5", "credit"),
        ("[timings]\nload = 1", "load"),
        ("[odds]\nluck = 1", "luck"),
        ("[[models]]\nnames = 1", "names"),
        ("[[models]]\nname = 'x'", "gpu_ram_gb"),
        ("= 5", "line 1"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "market.toml"
    path.write_text(text)
    with pytest.raises(MarketFileError, match=named):
        load_market_file(path)


def test_the_server_names_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--market", str(tmp_path / "nothing.toml")]) == 2
    assert "nothing.toml" in capsys.readouterr().err

"""The vendor's CLI, unmodified, drives the pretend market: protocol.md F is met."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from fakes.market.market_config import CALM, MarketConfig, Timings
from lab.local.market.marketplace_server import serve_marketplace
from lab.local.market.marketplace_world import MarketSettings
from tests.peers.vendor_cli import TIMEOUT_S, VendorCli

CONFIG = MarketConfig(
    odds=CALM,
    timings=Timings(
        create_s=0.0, load_median_s=0.0, restart_median_s=0.0, stop_s=0.0, destroy_s=0.0
    ),
)


class Cli(VendorCli):
    """The command, and how instances look through it."""

    def instances(self) -> list[dict[str, object]]:
        """All instances."""
        rows = self.raw("show", "instances")
        assert isinstance(rows, list)
        return rows

    def until(self, status: str) -> dict[str, object]:
        """The only instance, once it has this status."""
        end = time.monotonic() + TIMEOUT_S
        while True:
            (row,) = self.instances()
            if row["actual_status"] == status:
                return row
            assert time.monotonic() < end, row

    def until_log(self, instance_id: object, words: str) -> None:
        """Wait until the instance has written them: it runs a moment before it speaks."""
        end = time.monotonic() + TIMEOUT_S
        while words not in self.run("logs", str(instance_id)):
            assert time.monotonic() < end


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The CLI against a market without delays."""
    with serve_marketplace(MarketSettings(config=CONFIG, seed=3)) as running:
        yield Cli(running.url, "key", tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize("more", [(), ("--new",)])
def test_search_offers(cli: Cli, more: tuple[str, ...]) -> None:
    offers = cli.raw("search", "offers", "gpu_name=RTX_4090 num_gpus=1 gpu_ram>=23", *more)
    assert isinstance(offers, list)
    assert {(row["gpu_name"], row["num_gpus"]) for row in offers} == {("RTX 4090", 1)}
    assert "RTX_4090" in cli.run("search", "offers", "gpu_name in [RTX_4090,B200]", *more)
    assert cli.raw("search", "offers", "gpu_name=RTX_9999", *more) == []


def test_a_whole_life_by_the_vendors_hand(cli: Cli) -> None:
    """Template, create, show, logs, stop, start, reboot, label, destroy."""
    made = cli.run(
        *("create", "template", "--name", "hello", "--image", "example/hello"),
        *("--env", "-e GREETING=hello -p 3000:3000", "--disk_space", "16"),
        *("--onstart-cmd", "echo $GREETING from $CONTAINER_ID to $WHO; exec sleep 1000"),
    )
    assert "New Template" in made
    (template,) = _rows(cli.raw("search", "templates", "name=hello"))
    (offer, *_) = _rows(cli.raw("search", "offers", "num_gpus=1"))
    created = cli.raw(
        *("create", "instance", str(offer["id"]), "--template_hash", str(template["hash_id"])),
        *("--disk", "20", "--label", "by hand", "--env", "-e WHO=me"),
    )
    assert isinstance(created, dict)
    instance_id = created["new_contract"]
    row = cli.until("running")
    assert (row["id"], row["label"]) == (instance_id, "by hand")
    assert row["extra_env"] == {"GREETING": "hello", "-p 3000:3000": "1", "WHO": "me"}
    one = cli.raw("show", "instance", str(instance_id))
    assert isinstance(one, dict)
    assert one["template_hash_id"] == template["hash_id"]
    cli.until_log(instance_id, f"hello from {instance_id} to me")
    cli.run("stop", "instance", str(instance_id))
    assert cli.until("exited")["intended_status"] == "stopped"
    cli.run("start", "instance", str(instance_id))
    cli.until("running")
    cli.run("reboot", "instance", str(instance_id))
    cli.until("running")
    cli.run("label", "instance", str(instance_id), "renamed")
    assert cli.instances()[0]["label"] == "renamed"
    assert "renamed" in cli.run("show", "instances")
    cli.run("destroy", "instance", str(instance_id), "-y")
    end = time.monotonic() + TIMEOUT_S
    while cli.instances():
        assert time.monotonic() < end


def test_show_user(cli: Cli) -> None:
    user = cli.raw("show", "user")
    assert isinstance(user, dict)
    assert float(str(user["credit"])) > 0


def test_an_edited_template_gets_a_new_hash(cli: Cli) -> None:
    cli.run("create", "template", "--name", "edit", "--image", "example/one")
    (before,) = _rows(cli.raw("search", "templates", "name=edit"))
    old_hash = str(before["hash_id"])
    cli.run("update", "template", old_hash, "--name", "edit", "--image", "example/two")
    rows = _rows(cli.raw("search", "templates", "name=edit"))
    assert {row["image"] for row in rows} == {"example/one", "example/two"}
    assert len({row["hash_id"] for row in rows}) == 2


def _rows(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value

"""The ten-second test: in each broken state the first screen of phone and desk says what is wrong.

Real rounds over a made-up market break, the real status tells, the real page shows. With
`BALLAST_PICTURES` set to a folder, what the page showed is kept there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from chalicelib.adapters.vast.errors import refusal
from chalicelib.core.fleet.pacing import Verb
from chalicelib.ports.marketplace import RefusedError
from chalicelib.services.keys import Caller
from chalicelib.services.owner.views.observability import worker_row
from chalicelib.services.owner.views.status import read_status
from fakes.console.console_scenes import empty
from fakes.console.server import Console
from fakes.worlds.world import World
from tests.dashboard.page_waits import Open
from tests.faults.stories import run_rounds, serving_world

pytestmark = pytest.mark.browser

OWNER = Caller(key_id="a-roa-1", verbs=frozenset({"read", "admin"}), endpoint_id=None, generation=1)
SCREENS = {"390": (390, 844), "1440": (1440, 900)}


def cap() -> World:
    world = World(seed=2)
    run_rounds(world, 3)
    group = world.add_group(cold_workers=0, max_usd_per_hour=0.01)
    world.ask(group.endpoint_id, 3)
    run_rounds(world, 8)
    return world


def credit() -> World:
    world = World(seed=2)
    run_rounds(world, 3)
    group = world.add_group(cold_workers=0)
    world.marketplace.fail_next(Verb.CREATE, RefusedError("insufficient_credit", "no"), times=99)
    world.marketplace.account_credit_usd = lambda: 0.0  # type: ignore[method-assign]
    world.ask(group.endpoint_id, 3)
    run_rounds(world, 8)
    return world


def dead_hosts() -> World:
    world, _ = serving_world(2)
    for instance in list(world.market.instances.values())[:2]:
        world.processes[instance.instance_id].n_working = 3
    world.tick(20.0)
    for instance in list(world.market.instances.values())[:2]:
        instance.is_offline = True
    run_rounds(world, 8)
    return world


def market_down() -> World:
    world, _ = serving_world(2)
    page = "<html><body><h1>503 Service Unavailable</h1></body></html>"
    seen = refusal(Verb.LIST, 503, page, world.now)  # as the adapter reads such an answer
    assert seen is not None
    world.marketplace.fail_next(Verb.LIST, seen, times=999)
    run_rounds(world, 30)
    return world


def zombies() -> World:
    """Half of them report, and answer nothing but errors: as workers/ tells of such a server."""
    world, endpoint_id = serving_world(2)
    said = "answers fail: 500 CUDA error: device-side assert triggered"
    sick = world.processes[min(world.processes)]
    sick.lie = {"max_perf": 0.0, "error_msg": said}
    world.ask(endpoint_id, 6)
    run_rounds(world, 1)
    return world


def template_deleted() -> World:
    world = World(seed=2)
    run_rounds(world, 3)
    group = world.add_group(cold_workers=0)
    world.market.templates.rows.clear()
    world.ask(group.endpoint_id, 3)
    run_rounds(world, 8)
    return world


def frozen() -> World:
    world = World(seed=2)
    run_rounds(world, 3)
    group = world.add_group(cold_workers=0)
    world.ledger.set_flags(is_frozen=True)
    world.ask(group.endpoint_id, 3)
    run_rounds(world, 8)
    return world


def calm() -> World:
    world, _ = serving_world(2)
    return world


STATES: dict[str, tuple[Callable[[], World], str, str, str]] = {
    # state: how it comes about; the judgement; what is wrong; what to do, or who does it
    "cap": (cap, "Trouble", "a spending cap is reached", "is in use, and the cheapest offer needs"),
    "credit": (credit, "Trouble", "the Vast account has no credit left", "pay in at Vast"),
    "dead-hosts": (dead_hosts, "Trouble", "machines lost", "clients whose stream broke must ask"),
    "market-down": (market_down, "Trouble", "503", "until a whole list comes: wait"),
    "frozen": (frozen, "Trouble", "frozen by the owner", "unfreeze it to serve them"),
    "zombies": (
        zombies,
        "Attention",
        "answers fail: 500 CUDA error",
        "rebooted once, then replaced",
    ),
    "template-deleted": (
        template_deleted,
        "Trouble",
        "Vast knows no template",
        "give the autogroup the hash of one",
    ),
    "offline": (calm, "Not known for", "The server does not answer", "Shown: "),
}


def console_of(world: World) -> Console:
    """A console that tells what the scaler's tables hold."""
    console = empty()
    console.status = {"stage": "prod", "is_simulated": True, **read_status(
        world.ports, OWNER, world.now
    )}  # fmt: skip
    for group in console.status["groups"]:
        rows = world.workers.list(group["id"])
        console.workers[group["id"]] = [worker_row(row) for row in rows]
        console.endpoints[group["id"]] = {"id": group["id"]}
    return console


@pytest.mark.parametrize("state", STATES)
def test_the_first_screen_says_what_is_wrong_and_what_to_do(open_page: Open, state: str) -> None:
    make, judged, wrong, to_do = STATES[state]
    console = console_of(make())
    width, height = SCREENS["390"]
    with open_page(console, width=width, height=height) as page:
        if state == "offline":
            console.refusals["/api/v0/status"] = (503, "The server does not answer.")
            expect(page.locator("#freshness")).to_contain_text(wrong)
            expect(page.locator("#freshness")).to_contain_text(to_do)
        else:
            expect(page.locator(".answer").first).to_contain_text(wrong)
            expect(page.locator(".answer").first).to_contain_text(to_do)
            assert "<html>" not in page.locator("#answers").inner_text()
            # The terminal's status has the same words.
            [group] = console.status["groups"]
            assert any(wrong in one for one in group["health_reasons"])
            assert any(to_do in one for one in group["health_reasons"])
        for name, (width, height) in SCREENS.items():
            page.set_viewport_size({"width": width, "height": height})
            expect(page.locator(".answer .short").first).to_contain_text(judged)
            # All of it on the first screen, without scrolling.
            box = page.locator(".answer .short").first.bounding_box()
            assert box is not None
            assert box["y"] + box["height"] < height
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            keep_picture(page, f"{state}-{name}")


def keep_picture(page: Page, name: str) -> None:
    """A picture for docs/internals/experience.md, where one is wanted."""
    folder = os.environ.get("BALLAST_PICTURES")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"ten-seconds-{name}.png"))

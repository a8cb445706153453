"""The ten-second test: in each broken state the first screen of phone and desk says what is wrong.

Real rounds over a made-up market break, the real status tells, the real page shows. With
`BALLAST_PICTURES` set to a folder, what the page showed is kept there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from chalicelib.adapters.vast.errors import refusal
from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.fleet.troubles import MEANINGS, Trouble, TroubleKind, lasting, with_action
from chalicelib.core.model.endpoint_group import Interruptible
from chalicelib.ports.marketplace import RefusedError
from chalicelib.services.keys import Caller
from chalicelib.services.owner.facts import trouble_row
from chalicelib.services.owner.views.observability import worker_row
from chalicelib.services.owner.views.status import read_status
from fakes.console.console_scenes import empty, fleet
from fakes.console.server import Console
from fakes.worlds.world import World
from tests.dashboard.page_waits import Open
from tests.faults.stories import run_rounds, serving_world

pytestmark = pytest.mark.browser

OWNER = Caller(key_id="a-roa-1", verbs=frozenset({"read", "admin"}), endpoint_id=None, generation=1)
SCREENS = {"390": (390, 844), "1440": (1440, 900)}


def starving(
    before: Callable[[World], None] = lambda world: None,
    after: Callable[[World], None] = lambda world: None,
    **params: object,
) -> World:
    """Three clients ask a new group in vain: something is wrong before it is there, or after."""
    world = World(seed=2)
    run_rounds(world, 3)
    before(world)
    group = world.add_group("llm", cold_workers=0, **params)
    after(world)
    world.ask(group.endpoint_id, 3)
    run_rounds(world, 8)
    return world


def calm() -> World:
    world, _ = serving_world(2)
    return world


def cap() -> World:
    return starving(max_usd_per_hour=0.01)


def credit() -> World:
    def uses_it_up(world: World) -> None:
        no = RefusedError("insufficient_credit", "no")
        world.marketplace.fail_next(Verb.CREATE, no, times=99)
        world.marketplace.account_credit_usd = lambda: 0.0  # type: ignore[method-assign]

    return starving(uses_it_up)


def template_deleted() -> World:
    return starving(after=lambda world: world.market.templates.rows.clear())


def frozen() -> World:
    return starving(after=lambda world: world.ledger.set_flags(is_frozen=True))


def broken_template() -> World:
    """Every worker that boots says why it cannot load; it is told once three machines have."""

    def breaks(world: World) -> None:
        world.boot_error = "CUDA out of memory: the model does not fit"

    world = starving(breaks)
    run_rounds(world, 32)
    return world


def nothing_fits() -> World:
    def widen_too_far(world: World) -> None:
        groups = world.owner_ports.groups
        [one] = groups.list_autogroups()
        asked = replace(
            one, search_query={"gpu_name": {"eq": "RTX 9999"}}, revision=one.revision + 1
        )
        groups.put_autogroup(asked, expected_revision=one.revision)
        world.publish()

    return starving(after=widen_too_far)


def dead_hosts() -> World:
    world = calm()
    for instance in list(world.market.instances.values())[:2]:
        world.processes[instance.instance_id].n_working = 3
    world.tick(20.0)
    for instance in list(world.market.instances.values())[:2]:
        instance.is_offline = True
    run_rounds(world, 8)
    return world


def market_down() -> World:
    world = calm()
    page = "<html><body><h1>503 Service Unavailable</h1></body></html>"
    seen = refusal(Verb.LIST, 503, page, world.now)  # as the adapter reads such an answer
    assert seen is not None
    world.marketplace.fail_next(Verb.LIST, seen, times=999)
    run_rounds(world, 30)
    return world


def doubt() -> World:
    """Vast's list is empty once, though machines serve: nobody may believe it yet."""
    world = calm()
    world.market.switch_on("empty-list", world.now)
    run_rounds(world, 1)
    return world


def no_reports() -> World:
    """The way for reports is gone; the machines are there."""
    world = calm()
    world.report_loss = 1.0
    run_rounds(world, 16)
    return world


def outbid() -> World:
    """All machines are at bids, others bid more, and no cap leaves room for one on demand."""
    world = World(seed=3)
    kinds = {"max_workers": 6, "min_load": 300.0, "interruptible": Interruptible.MIXED}
    group = world.add_group("llm", cold_workers=0, **kinds)
    run_rounds(world, 12, every_s=5.0)
    run_rounds(world, 40, every_s=60.0)
    world.market.switch_on("outbid", world.now)
    run_rounds(world, 1)
    world.ask(group.endpoint_id, 6)
    run_rounds(world, 1, every_s=5.0)
    return world


def panicking() -> World:
    world = calm()
    world.ledger.set_flags(is_panicking=True)
    run_rounds(world, 1, every_s=2.0)
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


STATES: dict[str, tuple[Callable[[], World], str, str, str]] = {
    # state: how it comes about; the judgement; what is wrong; what to do, or who does it
    "cap": (cap, "Trouble", "a spending cap is reached", "is in use, and the cheapest offer needs"),
    "credit": (credit, "Trouble", "Vast account has no credit left", "pay in at Vast"),
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
    "broken-template": (
        broken_template,
        "Trouble",
        "CUDA out of memory: the model does not fit",
        "mend the template, then give the autogroup its new hash",
    ),
    "no-offers": (nothing_fits, "Trouble", "no offer of Vast's fits", "widen search_params"),
    "no-reports": (
        no_reports,
        "Trouble",
        "so many at once is a fault of the way to us",
        "look at the reports function",
    ),
    "doubt": (doubt, "Attention", "list of instances is not trusted", "until a second one agrees"),
    "outbid": (outbid, "Attention", "machines outbid", "what stands in is started or rented"),
    "panic": (panicking, "Trouble", "every instance is being destroyed", "End the panic"),
    "offline": (calm, "Not known for", "The server does not answer", "Shown: "),
    "silent-scaler": (calm, "Trouble", "The scaler has been silent for", "ballast doctor"),
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
        elif state == "silent-scaler":
            console.status["account"]["scaler"]["last_round_at"] -= 600.0
            expect(page.locator(".answer").first).to_contain_text(wrong)
            expect(page.locator(".answer").first).to_contain_text(to_do)
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
            expect(page.locator(".answer .short").first).to_be_in_viewport(ratio=1)
            expect(page.locator(".reasons").first).to_be_in_viewport(ratio=1)
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            keep_picture(page, f"{state}-{name}")


def test_what_is_wrong_for_all_groups_is_told_once_with_its_section_of_the_runbook(
    open_page: Open,
) -> None:
    world = credit()
    world.add_group("second", cold_workers=0)
    run_rounds(world, 4)
    with open_page(console_of(world)) as page:
        reasons = page.locator(".answer").first.locator("li", has_text="no credit left")
        expect(reasons).to_have_count(1)
        expect(reasons).to_contain_text("The Vast account has no credit left")
        expect(reasons).to_contain_text("(runbook: no-credit)")


def test_every_kind_of_trouble_has_its_words_its_way_out_and_its_section_on_the_page(
    open_page: Open,
) -> None:
    found = [
        with_action(Trouble(kind=kind, scope="endpoint:7", message=f"what {kind.value} is"))
        for kind in TroubleKind
    ]
    troubles = lasting({}, found, 0.0).values()
    console = fleet(2)
    [group] = console.status["groups"]
    group["health"] = "bad"
    group["troubles"] = [trouble_row(one) for one in troubles]
    group["health_reasons"] = [one.message for one in troubles]
    with open_page(console) as page:
        page.locator(".reasons summary").click()
        told = page.locator(".answer").first.locator("li").all_inner_texts()
    for kind, text in zip(TroubleKind, told, strict=True):
        assert text.startswith(f"TGI-Llama3: what {kind.value} is; ")
        assert MEANINGS[kind].action.replace("`", "") in text
        assert text.endswith(f"(runbook: {kind.value.replace('_', '-')})")


def keep_picture(page: Page, name: str) -> None:
    """A picture for docs/internals/experience.md, where one is wanted."""
    folder = os.environ.get("BALLAST_PICTURES")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"ten-seconds-{name}.png"))

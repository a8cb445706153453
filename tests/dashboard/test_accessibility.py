"""What axe-core finds on the page: nothing serious, in any scene, in light and dark.

`make test-browser` fetches axe-core from npm, pinned in the Makefile.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from fakes.console.console_scenes import empty, fleet
from fakes.console.server import Console
from tests.dashboard.page_waits import PLAN, Open

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[2] / ".venv/axe/node_modules/axe-core/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SERIOUS = ("serious", "critical")


def as_it_is(page: Page) -> None:
    """Nothing is clicked."""


def edits_a_group(page: Page) -> None:
    page.locator(".head").get_by_role("button", name="Edit").click()
    page.get_by_text("More parameters").click()
    page.get_by_role("button", name="Add a floor").click()


def edits_an_autogroup(page: Page) -> None:
    page.locator("td .tools").get_by_role("button", name="Edit").last.click()


def asks_for_the_words(page: Page) -> None:
    page.get_by_role("button", name="Destroy everything").click()
    expect(page.locator("#question")).to_be_visible()


def opens_the_caps(page: Page) -> None:
    page.get_by_role("button", name="Caps").click()


def refuses(page: Page) -> None:
    """An error that stays until it is dismissed."""
    page.locator(".head").get_by_role("button", name="Edit").click()
    page.get_by_label("Target utilisation").fill("7")
    expect(page.locator("dialog .error")).to_contain_text("allowed")


def makes_an_autogroup(page: Page) -> None:
    page.get_by_role("button", name="New autogroup").click()
    page.get_by_text("More parameters").click()


def waits_for_a_plan(page: Page) -> None:
    """What is waited for, above the page."""
    page.locator(".head").get_by_role("button", name="Plan").click()
    expect(page.locator("#under-way")).to_be_visible()


def asks_what_it_costs(page: Page) -> None:
    page.locator(".head").get_by_role("button", name="Resume").click()
    expect(page.locator("#question")).to_contain_text("machine 5")


def grows_old(page: Page) -> None:
    """The server is gone; an error was told."""
    page.route("**/api/**", lambda route: route.abort())
    expect(page.locator(".answer .short").first).to_contain_text("Not known for")
    page.get_by_role("button", name="Freeze everything").click()
    expect(page.locator("#problems li")).to_be_visible()


def slow() -> Console:
    console = fleet(2)
    console.delays_s["/api/v0/plan"] = 20.0
    return console


def at_rest() -> Console:
    console = fleet(2)
    console.status["groups"][0]["endpoint_state"] = "suspended"
    console.answers["/api/v0/preview"] = {"offers": None, "plan": PLAN, "must_ask": True}
    return console


def panicking() -> Console:
    console = fleet(2)
    console.status["account"] |= {"is_frozen": True, "is_panicking": True}
    return console


def refused() -> Console:
    console = fleet(2)
    console.refusals["/api/v0/preview"] = (400, "target_util: 7 is out of bounds; allowed: 0 to 1")
    return console


Scene = tuple[Callable[[], Console], Callable[[Page], None]]
SCENES: dict[str, Scene] = {
    "empty": (empty, as_it_is),
    "busy": (lambda: fleet(12), as_it_is),
    "500 workers": (lambda: fleet(500), as_it_is),
    "group form": (lambda: fleet(2), edits_a_group),
    "autogroup form": (lambda: fleet(2), edits_an_autogroup),
    "question": (lambda: fleet(2), asks_for_the_words),
    "caps": (lambda: fleet(2), opens_the_caps),
    "refused": (refused, refuses),
    "autogroup made": (lambda: fleet(2), makes_an_autogroup),
    "waits": (slow, waits_for_a_plan),
    "cost asked": (at_rest, asks_what_it_costs),
    "old": (lambda: fleet(2), grows_old),
    "panic": (panicking, as_it_is),
}


def findings(page: Page) -> list[str]:
    """Serious and critical violations, each with its rule and the first elements."""
    assert AXE.is_file(), f"{AXE} is missing: `make test-browser` fetches it"
    page.evaluate(AXE.read_text(encoding="utf-8"))
    result = page.evaluate(
        "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations', 'passes']})", RULES
    )
    assert len(result["passes"]) > 15  # it looked
    return [
        " ".join([one["impact"], one["id"], *(node["html"][:160] for node in one["nodes"][:3])])
        for one in result["violations"]
        if one["impact"] in SERIOUS
    ]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", SCENES)
def test_nothing_serious_is_found(name: str, dark: bool, open_page: Open) -> None:
    make, act = SCENES[name]
    with open_page(make(), dark=dark) as page:
        if make is not empty:
            expect(page.locator("td", has_text="210000").first).to_be_visible()
        act(page)
        assert findings(page) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_serious_is_found_before_signing_in_and_on_a_phone(
    width: int, open_page: Open
) -> None:
    with open_page(fleet(3), width=width, height=844, signs_in=False) as page:
        assert findings(page) == []
    with open_page(fleet(3), width=width, height=844) as page:
        expect(page.locator("td", has_text="210000").first).to_be_visible()
        assert findings(page) == []


def test_a_planted_fault_is_found(open_page: Open) -> None:
    with open_page(empty()) as page:
        page.evaluate("document.body.append(document.createElement('button'))")
        (found,) = findings(page)
    assert "button-name" in found

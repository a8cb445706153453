"""The page's deeds, carried out: a real browser on the whole running system, judged at the market.

Market, machines and model are simulated; page, control plane, scaler and workers are real.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from lab.local.system.local_system import LocalSystem, Options, local_system
from lab.local.system.owner import MarketView, Owner, wait_until
from lab.local.system.templates import TGI_SIMULATED, TGI_SIMULATED_8B, register_templates

pytestmark = pytest.mark.browser

PATIENCE_S = 180.0  # a machine is rented, loads and is measured; other tests share the computer
SCREENS = (("1440-light", 1440, 900, False), ("390-dark", 390, 844, True))


@pytest.fixture(scope="module")
def system() -> Iterator[LocalSystem]:
    with local_system(Options(time_scale=30.0, round_interval_s=1.0), print) as system:
        yield system


class Desk:
    """A signed-in page, and what its deeds came to at the market."""

    def __init__(
        self, page: Page, owner: Owner, market: MarketView, keep: Callable[[Page, str], None]
    ) -> None:
        self.page, self.owner, self.market, self.keep = page, owner, market, keep
        self.question, self.form = page.locator("#question"), page.locator("#dialog")
        self.head = page.locator(".head")

    def press(self, name: str, within: Locator | None = None) -> None:
        """Press a button by its whole name."""
        (within or self.page).get_by_role("button", name=name, exact=True).last.click()

    def agree(self, yes: str, *said: str, words: str = "") -> None:
        """Read a question and say yes; it is kept as a picture."""
        for text in said:
            expect(self.question).to_contain_text(text)
        self.keep(self.page, f"deeds-{yes.lower().replace(' ', '-')}")
        if words:
            self.question.get_by_role("textbox").fill(words)
        self.press(yes, self.question)
        expect(self.question).to_be_hidden()

    def running(self, group: str = "") -> list[int]:
        """The group's machines that Vast bills the GPU of."""
        rows = self.market.instances(group)
        return [int(one["id"]) for one in rows if one["intended_status"] == "running"]

    def until(self, what: str, is_so: Callable[[], object]) -> None:
        """Wait for the market or the API."""
        wait_until(what, is_so, PATIENCE_S, shown=lambda: self.market.instances())


def fill(form: Locator, **values: str) -> None:
    """Fill fields of a form by their names."""
    for name, value in values.items():
        form.locator(f"input[name={name}]").first.fill(value)


def a_group_is_made_and_rented(desk: Desk, first_hash: str) -> int:
    desk.press("New endpoint group")
    fill(desk.form, endpoint_name="shop", max_workers="4", cold_workers="0", min_load="100")
    desk.press("Create", desk.form)
    expect(desk.form).to_be_hidden()
    desk.press("New autogroup")
    fill(desk.form, template_hash="0" * 32, test_workers="1")
    expect(desk.form.locator(".preview")).to_contain_text("Vast knows no template")
    desk.press("Create", desk.form)
    expect(desk.question).to_contain_text("Vast knows no template")  # in vain: asked, and not made
    desk.press("Cancel", desk.question)
    fill(desk.form, template_hash=first_hash)
    desk.press("Create", desk.form)
    desk.agree(
        "Create", "rent", ", machine ", "first hour at most $", "Idle it would", "Caps leave: $"
    )
    desk.until("a machine", lambda: desk.running("shop"))
    (group,) = desk.owner.groups()
    desk.until("a ready worker", lambda: desk.owner.ready_workers(int(group["id"])))
    expect(desk.page.locator(".badge").first).to_have_text("dev")
    return int(group["id"])


def a_plan_is_shown_and_closed(desk: Desk) -> None:
    desk.press("Plan", desk.head)
    expect(desk.question).to_contain_text("The next round of shop")
    desk.agree("Close")


def an_error_stays_until_it_is_dismissed(desk: Desk) -> None:
    desk.page.locator("td .tools input").first.fill("200")
    desk.press("Set %")
    problem = desk.page.locator("#problems li")
    expect(problem).to_contain_text("percent")
    desk.page.wait_for_timeout(7000)  # three looks at the status
    expect(problem).to_be_visible()
    desk.keep(desk.page, "deeds-error")
    desk.page.set_viewport_size({"width": 390, "height": 844})
    expect(problem).to_be_in_viewport()  # wherever on the page the button was
    desk.page.set_viewport_size({"width": 1440, "height": 900})
    problem.get_by_role("button").click()
    expect(problem).to_have_count(0)


def caps_stop_and_start_again(desk: Desk, endpoint_id: int) -> None:
    desk.press("Caps")
    fill(desk.form, max_usd_per_hour="0.01")
    expect(desk.form.locator(".preview")).to_contain_text("drain")
    desk.press("Save", desk.form)
    desk.agree("Save", "drain instance")
    desk.until("all stopped by the cap", lambda: not desk.running("shop"))
    expect(desk.page.locator(".answer").first).to_contain_text("dollars per hour")
    desk.press("Caps")
    fill(desk.form, max_usd_per_hour="5")
    desk.press("Save", desk.form)
    desk.agree("Save", "max_usd_per_hour $0.01 → $5: more may be spent")
    desk.until("it serves again", lambda: desk.owner.ready_workers(endpoint_id))


def a_second_template_is_promoted_and_rolled_back(
    desk: Desk, endpoint_id: int, first_hash: str, second_hash: str
) -> None:
    before = set(desk.running("shop"))
    desk.press("New autogroup")
    fill(desk.form, template_hash=second_hash, test_workers="1", weight="0")
    desk.press("Create", desk.form)
    desk.agree("Create", "rent")
    desk.until("both serve", lambda: len(desk.owner.ready_workers(endpoint_id)) >= 2)
    desk.press("Promote")
    desk.agree("Promote", "It gets all requests", "of the others will drain and go")
    desk.until("the others are gone", lambda: not before & set(desk.running("shop")))
    row = desk.owner.call("GET", "/api/v0/autojobs/")["results"][-1]
    desk.owner.call("PUT", f"/api/v0/autojobs/{row['id']}/", {"template_hash": first_hash})
    desk.press("Roll back")
    desk.agree("Roll back", f"template_hash {first_hash} → {second_hash}")
    path = f"/api/v0/autojobs/{row['id']}/"
    desk.until(
        "the old template",
        lambda: desk.owner.call("GET", path)["result"]["template_hash"] == second_hash,
    )


def a_group_rests_and_works_again(desk: Desk, endpoint_id: int) -> None:
    desk.press("Pause", desk.head)
    desk.agree("Pause", "will drain and stop")
    desk.until("it rests", lambda: not desk.running("shop"))
    desk.press("Resume", desk.head)
    desk.agree("Resume", "first hour at most")
    desk.until("it serves", lambda: desk.owner.ready_workers(endpoint_id))


def frozen_nothing_moves(desk: Desk) -> None:
    desk.press("Freeze everything")
    expect(desk.page.locator(".badge.warn").first).to_contain_text("frozen")
    before = desk.market.instances()
    desk.press("Edit", desk.head)
    fill(desk.form, min_load="4000")
    desk.press("Save", desk.form)
    expect(desk.form).to_be_hidden()
    desk.page.wait_for_timeout(5000)
    assert [one["id"] for one in desk.market.instances()] == [one["id"] for one in before]
    desk.press("Unfreeze everything")
    desk.agree("Unfreeze", "an hour")
    expect(desk.page.locator(".badge.warn")).to_have_count(0)


def everything_is_destroyed(desk: Desk) -> None:
    desk.press("Destroy everything")
    desk.agree("Destroy everything", "Deployment dev:", words="destroy everything")
    desk.until("none is left", lambda: not desk.market.instances())
    # A machine that was rented a moment ago is gone only by a later list of Vast's: a minute.
    answer = desk.page.locator(".answer").first
    expect(answer).to_contain_text("no machine is left, by Vast's list", timeout=180_000)
    desk.keep(desk.page, "deeds-none-left")
    desk.press("End the panic")
    desk.agree("End it", "Groups rent and scale again")
    desk.until("it rents again", lambda: desk.running("shop"))


def a_group_is_deleted(desk: Desk) -> None:
    desk.press("Delete", desk.head)
    desk.agree("Delete", "an hour.", words="shop")
    desk.until("none of it is left", lambda: not desk.market.instances("shop"))
    desk.until("it is forgotten", lambda: not desk.owner.groups())
    expect(desk.page.locator(".answer .short").first).to_have_text("Nothing yet")


def test_what_the_page_asks_is_what_happens_at_the_market(
    browser: Browser, system: LocalSystem, shoot: Callable[[Page, str], None]
) -> None:
    templates = [TGI_SIMULATED, TGI_SIMULATED_8B]
    hashes = register_templates(system.market_url, templates)
    first, second = (hashes[one.name] for one in templates)
    page = browser.new_page(viewport={"width": 1440, "height": 900}, locale="en-GB")
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))

    def keep(page: Page, name: str) -> None:
        for screen, width, height, dark in SCREENS:
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme="dark" if dark else "light")
            # Charts follow the window a moment later.
            page.wait_for_function(
                "width => document.documentElement.scrollWidth <= width", arg=width
            )
            shoot(page, f"{name}-{screen}")
        page.set_viewport_size({"width": 1440, "height": 900})
        page.emulate_media(color_scheme="light")

    page.goto(f"{system.url}/dashboard")
    page.get_by_label("Key").fill(system.account_key)
    page.get_by_role("button", name="Sign in").click()
    owner, market = Owner(system.url, system.account_key), MarketView(system.market_url)
    desk = Desk(page, owner, market, keep)
    endpoint_id = a_group_is_made_and_rented(desk, first)
    a_plan_is_shown_and_closed(desk)
    an_error_stays_until_it_is_dismissed(desk)
    caps_stop_and_start_again(desk, endpoint_id)
    a_second_template_is_promoted_and_rolled_back(desk, endpoint_id, first, second)
    a_group_rests_and_works_again(desk, endpoint_id)
    frozen_nothing_moves(desk)
    everything_is_destroyed(desk)
    a_group_is_deleted(desk)
    page.close()
    assert problems == []

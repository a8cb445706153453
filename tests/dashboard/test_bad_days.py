"""What is between the page and the server fails: ended sessions, other tabs, slowness, strangers.

What was asked about is what happens, and what nobody knows is not shown as known.
"""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from fakes.console.console_scenes import fleet
from fakes.console.server import KEY, Console
from tests.dashboard.page_waits import PLAN, RENT, Open, two_more_looks, until

pytestmark = pytest.mark.browser

STATUS = "/api/v0/status"
PREVIEW = "/api/v0/preview"
GROUP = "/api/v0/endptjobs/7/"
HTML = b"<html><body><h1>Sign in to the hotel's network</h1></body></html>"
RENTALS = 20 * [RENT]
ENDED = {"success": False, "error": "auth_error", "msg": "Key not accepted: it was revoked"}


def edit(page: Page, most: str) -> None:
    """Open the group's form and type how many workers it may have."""
    page.locator(".head").get_by_role("button", name="Edit").click()
    page.locator("#dialog").get_by_label("Most workers").fill(most)


def press(page: Page, name: str, where: str) -> None:
    page.locator(where).get_by_role("button", name=name, exact=True).click()


def fails_signing_in_again(page: Page, console: Console) -> None:
    """The session ends: whatever is open closes, and a new key shows the fleet again."""
    console.failures |= dict.fromkeys((STATUS, PREVIEW, "/api/v0/panic"), (401, ENDED))
    expect(page.locator("#sign-in-error")).to_contain_text("it was revoked")
    expect(page.locator("dialog[open]")).to_have_count(0)
    expect(page.locator("#fleet")).to_be_hidden()
    console.failures.clear()
    page.get_by_label("Key").fill(KEY)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".answer").first).to_contain_text("Healthy")


def test_a_session_that_ends_in_the_midst_closes_what_is_open_and_does_nothing(
    open_page: Open,
) -> None:
    console = fleet(2)
    console.answers[PREVIEW] = {"offers": None, "plan": PLAN, "must_ask": True}
    with open_page(console) as page:
        edit(page, "9")
        fails_signing_in_again(page, console)  # while a form is open
        edit(page, "9")
        press(page, "Save", "#dialog")
        expect(page.locator("#question")).to_contain_text("machine 5")
        fails_signing_in_again(page, console)  # while a question over it is open
        page.get_by_role("button", name="Destroy everything").click()
        page.locator("#question").get_by_role("textbox").fill("destroy everything")
        fails_signing_in_again(page, console)  # while the words are typed
        assert not console.sent("PUT", GROUP)
        assert not console.sent("POST", "/api/v0/panic")
        page.get_by_role("button", name="Sign out").click()
        expect(page.locator("#sign-in-error")).to_be_empty()


def test_what_another_tab_saved_is_not_overwritten_unseen(open_page: Open) -> None:
    console = fleet(2)
    console.answers[PREVIEW] = {"offers": None, "must_ask": False}
    with open_page(console) as page:
        form = page.locator("#dialog")
        edit(page, "9")
        console.endpoints[7] |= {"min_load": 300.0, "max_workers": 30, "revision": 5}
        press(page, "Save", "#dialog")
        error = form.get_by_role("alert")
        expect(error).to_contain_text("changed meanwhile (min_load 100 → 300, max_workers 20 → 30)")
        expect(form.get_by_label("Minimum load").first).to_have_value("300")  # theirs
        expect(form.get_by_label("Most workers")).to_have_value("9")  # what was typed
        press(page, "Save", "#dialog")
        expect(form).to_be_hidden()
        assert console.sent("PUT", GROUP)[-1] == {"max_workers": 9, "revision": 5}
        assert console.endpoints[7]["min_load"] == 300.0
        page.get_by_role("button", name="Caps").click()
        form.get_by_label("Cap, $ per hour").fill("50")
        console.status["account"]["caps"]["usd_per_hour"] = 1.0  # lowered by somebody else
        press(page, "Save", "#dialog")
        expect(error).to_contain_text("max_usd_per_hour 5 → 1")
        assert console.status["account"]["caps"]["usd_per_hour"] == 1.0
        press(page, "Save", "#dialog")
        expect(form).to_be_hidden()
        assert console.status["account"]["caps"]["usd_per_hour"] == 50


def test_what_was_asked_about_is_not_done_to_what_became_of_it(open_page: Open) -> None:
    console = fleet(2)
    console.status["groups"][0]["endpoint_state"] = "suspended"
    console.endpoints[7]["endpoint_state"] = "suspended"
    console.answers[PREVIEW] = {"offers": None, "plan": PLAN, "must_ask": True}
    with open_page(console) as page:
        press(page, "Resume", ".head")
        expect(page.locator("#question")).to_contain_text("machine 5")
        console.endpoints[7] |= {"max_workers": 200, "revision": 5}
        press(page, "Resume", "#question")
        expect(page.locator("#problems")).to_contain_text("changed since it was read")
        assert console.endpoints[7]["endpoint_state"] == "suspended"


def test_a_server_that_is_away_leaves_what_was_asked_unknown_and_names_the_way_without_it(
    open_page: Open,
) -> None:
    console = fleet(2)
    with open_page(console) as page:
        page.route("**/api/**", lambda route: route.abort())
        page.route("**/get_endpoint_workers/", lambda route: route.abort())
        expect(page.locator(".answer .short").first).to_contain_text("Not known for")
        press(page, "Freeze everything", "header")
        problems = page.locator("#problems")
        expect(problems).to_contain_text("Freeze everything: The server does not answer. Whether")
        press(page, "Destroy everything", "header")
        page.locator("#question").get_by_role("textbox").fill("destroy everything")
        press(page, "Destroy everything", "#question")
        expect(problems).to_contain_text("ballast panic --direct --stage dev")
        expect(page.locator("#badges")).not_to_contain_text("panic")  # asked is not done
        page.unroute_all()
        expect(page.locator(".answer .short").first).to_have_text("Healthy")
        expect(page.locator("#freshness")).to_be_empty()


def test_a_slow_server_is_waited_for_in_words_and_asked_once(open_page: Open) -> None:
    console = fleet(2)
    console.answers[PREVIEW] = {"offers": None, "plan": PLAN, "must_ask": True}
    console.status["groups"][0]["endpoint_state"] = "suspended"
    with open_page(console) as page:
        console.delays_s = {PREVIEW: 2.5}
        press(page, "Resume", ".head")
        expect(page.locator("#under-way")).to_have_text("Resume: waiting for the server …")
        press(page, "Resume", ".head")  # in vain: the first press is still on its way
        press(page, "Edit", ".head")  # waits for its turn
        press(page, "Destroy everything", "header")  # does not wait for anything
        question = page.locator("#question")
        question.get_by_role("textbox").fill("destroy")
        until(page, lambda: console.sent("POST", PREVIEW))
        page.wait_for_timeout(3000)  # the answer about resuming has come
        expect(question).to_contain_text("Destroy every machine")  # and takes nobody's place
        expect(question.get_by_role("textbox")).to_have_value("destroy")
        press(page, "Cancel", "#question")
        expect(question).to_contain_text("Resume TGI-Llama3?")
        press(page, "Cancel", "#question")
        expect(page.locator("#dialog")).to_be_visible()
        press(page, "Cancel", "#dialog")
        expect(page.locator("dialog[open]")).to_have_count(0)
        expect(page.locator("#under-way")).to_be_hidden()
        asked = [body for body in console.sent("POST", PREVIEW) if "active" in str(body)]
        assert len(asked) == 1


def test_an_answer_that_comes_late_shows_nothing_over_a_newer_one(open_page: Open) -> None:
    console = fleet(2)
    with open_page(console) as page:
        looks = len(console.sent("GET", STATUS))
        console.status["groups"][0]["health_reasons"] = ["told in the old answer"]
        console.delays_s = {STATUS: 3.0}
        until(page, lambda: len(console.sent("GET", STATUS)) > looks)
        console.delays_s = {}
        console.status["groups"][0]["health_reasons"] = ["told in the new answer"]
        page.get_by_role("button", name="15 min").click()  # looks again
        expect(page.locator(".answer").first).to_contain_text("told in the new answer")
        seen: list[str] = []
        page.expose_function("saw", lambda text: seen.append(text))
        page.evaluate(
            "new MutationObserver(() => saw(document.querySelector('.answer').textContent))"
            ".observe(document.getElementById('answers'), {childList: true})"
        )
        page.wait_for_timeout(4000)
        assert seen
        assert not any("old answer" in one for one in seen)
        console.delays_s = {STATUS: 1.5}
        looks = len(console.sent("GET", STATUS))
        until(page, lambda: len(console.sent("GET", STATUS)) > looks)
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_timeout(2000)
        expect(page.locator("#fleet")).to_be_hidden()  # the answer came after signing out


def test_strangers_and_full_doors_are_told_apart_from_ballast(open_page: Open) -> None:
    console = fleet(2)
    with open_page(console) as page:
        freshness = page.locator("#freshness")
        console.raw[STATUS] = (200, "text/html", HTML)
        expect(freshness).to_contain_text("What answered (HTTP 200) is not Ballast")
        expect(page.locator(".answer .short").first).to_contain_text("Not known for")
        console.raw[STATUS] = (200, "application/json", b'{"ok": true}')
        expect(freshness).to_contain_text("it tells no status")
        console.raw[STATUS] = (429, "application/json", b'{"message": "Too Many Requests"}')
        expect(freshness).to_contain_text("more come than are let through")
        looks = len(console.sent("GET", STATUS))
        page.wait_for_timeout(9000)
        assert len(console.sent("GET", STATUS)) - looks <= 2  # it asks ever more rarely
        console.raw.clear()
        expect(freshness).to_be_empty()
        console.raw[PREVIEW] = (200, "text/html", HTML)
        edit(page, "9")
        press(page, "Save", "#dialog")
        expect(page.locator("#question")).to_contain_text("cannot be told now: What answered")
        press(page, "Cancel", "#question")


def test_a_part_that_fails_is_told_and_the_rest_stays_true(open_page: Open) -> None:
    console = fleet(2)
    console.refusals["/get_endpoint_workers/"] = (503, "the database throttles")
    with open_page(console) as page:
        expect(page.locator("#freshness")).to_contain_text("Parts of this page are older: the data")
        expect(page.locator(".answer .short").first).to_have_text("Healthy")
        expect(page.locator(".decisions li").first).to_be_visible()
        expect(page.locator("#group")).not_to_contain_text("No worker")  # unknown is not none
        two_more_looks(page, console)
        expect(page.locator("body.stale")).to_have_count(0)
        console.refusals.clear()
        expect(page.locator("#freshness")).to_be_empty()
        expect(page.locator("td", has_text="210000").first).to_be_visible()


def test_a_browsers_clock_that_is_wrong_changes_no_age(open_page: Open) -> None:
    console = fleet(2)
    with open_page(console, signs_in=False) as page:
        page.add_init_script("{ const now = Date.now; Date.now = () => now() + 3600_000; }")
        page.reload()
        page.get_by_label("Key").fill(KEY)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator(".answer").first).to_contain_text("The scaler looked 3.0s ago.")
        two_more_looks(page, console)
        expect(page.locator("#freshness")).to_be_empty()
        expect(page.locator("body.stale")).to_have_count(0)


def test_everything_is_done_by_keyboard_and_a_second_enter_changes_nothing(
    open_page: Open,
) -> None:
    console = fleet(2)
    with open_page(console) as page:
        page.locator(".head").get_by_role("button", name="Pause").focus()
        page.keyboard.press("Enter")
        question = page.locator("#question")
        expect(question.get_by_role("button", name="Cancel")).to_be_focused()
        page.keyboard.press("Enter")
        expect(question).to_be_hidden()
        assert not console.sent("PUT", GROUP)
        expect(page.locator(".head").get_by_role("button", name="Pause")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Shift+Tab")
        expect(question.get_by_role("button", name="Pause")).to_be_focused()
        page.keyboard.press("Enter")
        until(page, lambda: console.sent("PUT", GROUP))
        page.locator(".head").get_by_role("button", name="Delete").focus()
        page.keyboard.press("Enter")
        expect(question.get_by_role("textbox")).to_be_focused()
        page.keyboard.press("Escape")
        expect(question).to_be_hidden()
        assert re.search("Delete", page.evaluate("document.activeElement.textContent"))


@pytest.mark.parametrize(("width", "height"), [(720, 450), (320, 640)])
def test_at_twice_the_size_nothing_is_cut(width: int, height: int, open_page: Open) -> None:
    """A desk's 1440 and a phone's 640 pixels at a zoom of 200 %."""
    console = fleet(12, name="n" * 128)
    with open_page(console, width=width, height=height) as page:
        expect(page.locator("td", has_text="210000").first).to_be_visible()
        edit(page, "9")
        page.get_by_text("More parameters").click()
        page.get_by_role("button", name="Add a floor").click()
        console.answers[PREVIEW] = {
            "offers": None,
            "plan": PLAN | {"actions": RENTALS},
            "must_ask": True,
        }
        press(page, "Save", "#dialog")
        question = page.locator("#question")
        expect(question.get_by_role("heading")).to_be_in_viewport()  # read from its beginning
        expect(question.get_by_role("button", name="Cancel")).to_be_in_viewport()
        said = page.locator("#said").bounding_box()
        assert said is not None
        assert said["width"] <= 1  # read aloud, not shown
        for part in ("document.documentElement", "document.getElementById('dialog')"):
            assert page.evaluate(f"{part}.scrollWidth - {part}.clientWidth") <= 0, part

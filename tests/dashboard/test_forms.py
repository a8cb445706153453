"""The forms: groups are made and changed with the server's checks and a preview of the cost."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from fakes.console.console_scenes import empty, fleet
from fakes.console.server import Console
from tests.dashboard.page_waits import Open, until

pytestmark = pytest.mark.browser

DAY = {"cron": "0 8 * * mon-fri", "duration_s": 36_000, "min_load": 200}


def test_a_group_is_made_with_a_preview_of_its_cost(open_page: Open) -> None:
    """As the server answers for a group that has no autogroup yet: services/owner/preview.py."""
    console = empty()
    console.answers["/api/v0/preview"] = {
        "offers": None,
        "no_plan": "It costs nothing until it has an autogroup.",
        "warnings": ["A floor without a cap."],
        "must_ask": False,
    }
    with open_page(console) as page:
        page.get_by_role("button", name="New endpoint group").click()
        page.get_by_label("Name").fill("shop")
        page.get_by_label("Minimum load").fill("100")
        expect(page.locator(".preview")).to_have_text(
            "It costs nothing until it has an autogroup. A floor without a cap."
        )
        page.get_by_role("button", name="Create", exact=True).click()
        expect(page.locator("#dialog")).to_be_hidden()
    assert console.sent("POST", "/api/v0/endptjobs/") == [
        {"endpoint_name": "shop", "min_load": 100}
    ]


def test_floors_by_time_of_day_are_added_changed_and_removed(open_page: Open) -> None:
    console = fleet(1)
    night = {"cron": "0 22 * * *", "duration_s": 5400.0, "min_load": 10.0}
    console.endpoints[7]["schedules"] = [night, night]
    console.answers["/api/v0/preview"] = {"offers": None, "must_ask": False}
    with open_page(console) as page:
        form = page.locator("#dialog")
        page.locator(".head").get_by_role("button", name="Edit").click()
        expect(form.get_by_label("Hours").first).to_have_value("1.5")
        form.get_by_label("Minimum load").nth(1).fill("20")
        form.get_by_role("button", name="Remove").nth(1).click()
        page.get_by_role("button", name="Add a floor").click()
        expect(form.get_by_label("Begins").nth(1)).to_be_focused()
        page.keyboard.type("0 8 * * mon-fri")
        form.get_by_label("Hours").nth(1).fill("10")
        form.get_by_label("Minimum load").nth(2).fill("200")
        until(page, lambda: _floors(console) == [night | {"min_load": 20}, DAY])
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#dialog")).to_be_hidden()
    (sent,) = console.sent("PUT", "/api/v0/endptjobs/7/")
    assert sent == {"schedules": [night | {"min_load": 20}, DAY], "revision": 4}


def _floors(console: Console) -> object:
    """The floors of the newest preview that the page asked for."""
    asked = console.sent("POST", "/api/v0/preview")
    return asked[-1]["endpoint"].get("schedules") if asked else None


def test_a_bad_floor_is_told_and_keeps_the_form_and_untouched_ones_are_not_sent(
    open_page: Open,
) -> None:
    console = fleet(1)
    console.endpoints[7]["schedules"] = [DAY]
    console.answers["/api/v0/preview"] = {"offers": None, "must_ask": False}
    with open_page(console) as page:
        form = page.locator("#dialog")
        page.locator(".head").get_by_role("button", name="Edit").click()
        form.get_by_label("Most workers").fill("8")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#dialog")).to_be_hidden()
        refusal = "cron hour: '25' is not allowed; allowed: 0 to 23"
        console.refusals["/api/v0/preview"] = (400, refusal)
        page.locator(".head").get_by_role("button", name="Edit").click()
        form.get_by_label("Begins").fill("0 25 * * *")
        expect(page.locator("dialog .error")).to_have_text(refusal)
        expect(page.locator("#dialog")).to_be_visible()
    assert console.sent("PUT", "/api/v0/endptjobs/7/") == [{"max_workers": 8, "revision": 4}]


def test_what_few_need_is_folded_away_and_sent_like_the_rest(open_page: Open) -> None:
    console = fleet(1)
    console.answers["/api/v0/preview"] = {"offers": None, "must_ask": False}
    with open_page(console) as page:
        page.locator(".head").get_by_role("button", name="Edit").click()
        share = page.get_by_label("Share on time")
        expect(share).to_be_hidden()
        page.get_by_text("More parameters").click()
        share.fill("0.95")
        page.get_by_label("Queue order").fill("fifo")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#dialog")).to_be_hidden()
    assert console.sent("PUT", "/api/v0/endptjobs/7/") == [
        {"slo_target": 0.95, "queue_order": "fifo", "revision": 4}
    ]


def test_an_autogroups_search_can_be_emptied_and_its_numbers_cannot(open_page: Open) -> None:
    console = fleet(1)
    console.answers["/api/v0/preview"] = {"offers": None, "must_ask": False}
    with open_page(console) as page:
        page.locator("td .tools").get_by_role("button", name="Edit").last.click()
        page.locator("#dialog").get_by_label("Weight").fill("")
        expect(page.locator("dialog .error")).to_have_text("weight: a number is needed")
        page.locator("#dialog").get_by_label("Weight").fill("0.5")
        page.locator("#dialog").get_by_label("Machines").fill("")
        expect(page.locator("dialog .error")).to_be_empty()
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#dialog")).to_be_hidden()
    (sent,) = console.sent("PUT", "/api/v0/autojobs/12/")
    assert sent == {"search_params": "", "weight": 0.5, "revision": 2}


def test_an_autogroups_preview_tells_what_its_offers_cost(open_page: Open) -> None:
    console = fleet(1)
    console.answers["/api/v0/preview"] = {
        "plan": {"actions": [], "refused": []},
        "offers": {"n": 12, "cheapest_usd_per_hour": 0.34, "dearest_usd_per_hour": 0.61},
        "usd_per_hour_idle": [0.0, 1.02],
        "usd_per_hour_max": 1.83,
        "warnings": ["No HF_TOKEN in the template."],
    }
    with open_page(console) as page:
        page.locator("td .tools").get_by_role("button", name="Edit").last.click()
        page.locator("#dialog").get_by_label("Weight").fill("0.5")
        expect(page.locator(".preview")).to_contain_text("at most $1.83")
        expect(page.locator(".preview")).to_contain_text("12 offers, $0.340 to $0.610")
        expect(page.locator(".preview")).to_contain_text("No HF_TOKEN")


def test_the_servers_validation_is_shown_while_typing_and_keeps_the_form(open_page: Open) -> None:
    console = fleet(1)
    console.refusals["/api/v0/preview"] = (
        400,
        "target_util: 7 is out of bounds; allowed: above 0 to 1",
    )
    with open_page(console) as page:
        page.locator(".head").get_by_role("button", name="Edit").click()
        page.get_by_label("Target utilisation").fill("7")
        expect(page.locator("dialog .error")).to_contain_text("allowed: above 0 to 1")
        expect(page.locator("#dialog")).to_be_visible()
        page.keyboard.press("Escape")
        question = page.locator("#question")
        expect(question).to_contain_text("What was typed is lost.")
        question.get_by_role("button", name="Cancel").click()
        expect(page.get_by_label("Target utilisation")).to_have_value("7")
        page.locator("#dialog").get_by_role("button", name="Cancel").click()
        question.get_by_role("button", name="Close").click()
        expect(page.locator("#dialog")).to_be_hidden()
        page.locator(".head").get_by_role("button", name="Edit").click()
        page.locator("#dialog").get_by_role("button", name="Cancel").click()
        expect(page.locator("#dialog")).to_be_hidden()  # nothing was typed: nothing is asked
    assert console.sent("PUT", "/api/v0/endptjobs/7/") == []


def test_what_stops_machines_is_in_vain_or_may_cost_more_is_asked_as_the_server_says(
    open_page: Open,
) -> None:
    console = fleet(1)
    stop = {"action": "stop", "instance_id": 5, "sentence": "max_workers is 0."}
    money = ("usd_per_hour_now", "usd_per_hour_after", "worst_first_hour_usd", "once_usd")
    plan = {"actions": [stop], "refused": [], **dict.fromkeys(money, 0.0)}
    offers = {"n": 0, "cheapest_usd_per_hour": None, "dearest_usd_per_hour": None}
    answers: dict[str, dict[str, object]] = {
        "instance 5: max_workers is 0.": {"offers": None, "plan": plan, "warnings": []},
        "none has gpu_ram": {
            "offers": offers, "plan": plan | {"actions": []}, "warnings": ["none has gpu_ram"],
        },
        "max_workers 500": {
            "offers": None, "no_plan": "It costs nothing.", "risks": ["max_workers 500"],
        },
    }  # fmt: skip
    with open_page(console) as page:
        question, form = page.locator("#question"), page.locator("#dialog")
        for words, answer in answers.items():
            console.answers["/api/v0/preview"] = {**answer, "must_ask": True}
            page.locator(".head").get_by_role("button", name="Edit").click()
            form.get_by_label("Most workers").fill("0")
            form.get_by_role("button", name="Save").click()
            expect(question).to_contain_text(words)
            question.get_by_role("button", name="Cancel").click()
            form.get_by_role("button", name="Cancel").click()
            question.get_by_role("button", name="Close").click()
        assert not console.sent("PUT", "/api/v0/endptjobs/7/")
        console.answers["/api/v0/preview"] = {"offers": None, "plan": plan, "must_ask": True}
        page.get_by_role("button", name="Caps").click()
        form.get_by_label("Cap, $ per hour").fill("0.5")
        expect(form.locator(".preview")).to_contain_text("At once: stop 1")
        form.get_by_role("button", name="Save").click()
        expect(question).to_contain_text("instance 5")
        question.get_by_role("button", name="Save").click()
        until(page, lambda: console.sent("PUT", "/api/v0/account"))
        asked = console.sent("POST", "/api/v0/preview")
        assert asked[-1] == {"account": {"max_usd_per_hour": 0.5}}
        page.get_by_role("button", name="New endpoint group").click()
        form.get_by_role("button", name="Create", exact=True).click()
        expect(form.get_by_role("alert")).to_have_text("Nothing is filled in yet.")
    assert not console.sent("POST", "/api/v0/endptjobs/")


def test_only_what_differs_is_sent_and_an_emptied_field_becomes_automatic(open_page: Open) -> None:
    console = fleet(1)
    console.answers["/api/v0/preview"] = {"offers": None, "must_ask": False}
    with open_page(console) as page:
        page.locator(".head").get_by_role("button", name="Edit").click()
        page.get_by_label("Most workers").fill("8")
        page.get_by_label("Target utilisation").fill("")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#dialog")).to_be_hidden()
    assert console.sent("PUT", "/api/v0/endptjobs/7/") == [
        {"max_workers": 8, "unset": ["target_util"], "revision": 4}
    ]

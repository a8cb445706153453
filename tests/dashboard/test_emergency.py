"""At 03:00 on a phone: what is wrong is told, old news look old, and spending can be ended."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from fakes.console.console_scenes import empty, fleet
from fakes.console.server import KEY
from tests.dashboard.page_waits import PLAN, Open, until

pytestmark = pytest.mark.browser


def test_everything_can_be_destroyed_after_the_words_are_typed(open_page: Open) -> None:
    console = fleet(3)
    console.answers["/api/v0/panic"] = {}
    with open_page(console) as page:
        page.get_by_role("button", name="Destroy everything").click()
        question = page.locator("#question")
        expect(question).to_contain_text("Deployment dev: 3 machines at $")
        question.get_by_role("button", name="Destroy everything").click()
        expect(question).to_be_visible()  # not without the words
        assert console.sent("POST", "/api/v0/panic") == []
        question.get_by_role("textbox").fill("destroy everything")
        question.get_by_role("button", name="Destroy everything").click()
        until(page, lambda: console.sent("POST", "/api/v0/panic"))
        health = page.locator("#answers").first
        console.status["account"]["is_panicking"] = True
        expect(health).to_contain_text("everything is being destroyed; 3 machines left")
        console.is_looking = False  # no list of Vast's comes that is newer than the panic
        for group in console.status["groups"]:
            group["n_workers"] = 0
        expect(health).to_contain_text("a whole list of Vast's that proves it has not come yet")
        console.status["account"]["inventory"]["at"] = console.status["now"] + 5
        expect(health).to_contain_text("no machine is left, by Vast's list of")
    assert console.sent("POST", "/api/v0/panic") == [{"confirm": "destroy everything"}]


def test_a_group_is_deleted_and_the_accounts_caps_are_changed_from_the_page(
    open_page: Open,
) -> None:
    console = fleet(2)
    with open_page(console) as page:
        page.get_by_role("button", name="Caps").click()
        form = page.locator("#dialog")
        form.get_by_label("Cap, $ per hour").fill("2")
        form.get_by_role("button", name="Save").click()
        until(page, lambda: console.sent("PUT", "/api/v0/account"))
        page.get_by_role("button", name="Delete", exact=True).click()
        question = page.locator("#question")
        question.get_by_role("textbox").fill("TGI-Llama3")
        question.get_by_role("button", name="Delete").click()
        until(page, lambda: 7 not in console.endpoints)
    (sent,) = console.sent("PUT", "/api/v0/account")
    assert sent["max_usd_per_hour"] == 2
    assert sent["expected"]["max_usd_per_hour"] == 5.0  # what the form showed


def test_what_a_change_rents_and_costs_is_asked_and_no_means_no(open_page: Open) -> None:
    console = fleet(2)
    console.answers["/api/v0/preview"] = {"offers": None, "plan": PLAN, "warnings": []}
    with open_page(console) as page:
        page.locator(".head").get_by_role("button", name="Edit").click()
        form = page.locator("#dialog")
        form.get_by_label("Most workers").fill("40")
        form.get_by_role("button", name="Save").click()
        question = page.locator("#question")
        expect(question).to_contain_text("rent 1x RTX 4090, machine 5, at $0.410 an hour")
        expect(question).to_contain_text("first hour at most $0.71")
        expect(question).to_contain_text("refused by cap_hour")
        question.get_by_role("button", name="Cancel").click()
        assert console.sent("PUT", "/api/v0/endptjobs/7/") == []
        form.get_by_role("button", name="Save").click()
        question.get_by_role("button", name="Save").click()
        until(page, lambda: console.sent("PUT", "/api/v0/endptjobs/7/"))


def test_pause_asks_what_stops(open_page: Open) -> None:
    console = fleet(2)
    with open_page(console) as page:
        page.locator(".head").get_by_role("button", name="Pause").click()
        question = page.locator("#question")
        expect(question).to_contain_text("ready workers will drain and stop")
        question.get_by_role("button", name="Pause").click()
        until(page, lambda: console.sent("PUT", "/api/v0/endptjobs/7/"))
    assert console.sent("PUT", "/api/v0/endptjobs/7/") == [{"endpoint_state": "suspended"}]


def test_old_news_are_grey_and_judge_nothing(open_page: Open) -> None:
    console = fleet(2)
    with open_page(console) as page:
        expect(page.locator(".answer .short").first).to_have_text("Healthy")
        console.refusals["/api/v0/status"] = (503, "The scaler does not answer.")
        expect(page.locator("#freshness")).to_contain_text("ago.")
        expect(page.locator(".answer .short").first).to_contain_text("Not known for")
        expect(page.locator("body.stale")).to_have_count(1)
        del console.refusals["/api/v0/status"]
        expect(page.locator(".answer .short").first).to_have_text("Healthy")
        expect(page.locator("body.stale")).to_have_count(0)


def test_every_reason_is_there_and_every_group_can_be_found(open_page: Open) -> None:
    console = fleet(1)
    [group] = console.status["groups"]
    console.status["groups"] = [
        group
        | {
            "id": 100 + i,
            "endpoint_name": f"group-{i}",
            "health": "bad" if i > 30 else "ok",
            "health_reasons": [f"reason {i}"] if i > 30 else [],
        }
        for i in range(40)
    ]
    with open_page(console) as page:
        page.get_by_text("and 5 more").click()
        expect(page.locator(".answer").first).to_contain_text("group-39: reason 39")
        expect(page.locator("#groups .tab").first).to_contain_text("group-31")
        page.get_by_label("Find a group").fill("group-7")
        expect(page.locator("#groups .tab:not(.new)")).to_have_count(1)


def test_an_empty_deployment_is_not_called_healthy(open_page: Open) -> None:
    with open_page(empty()) as page:
        expect(page.locator(".answer .short").first).to_have_text("Nothing yet")


def test_the_key_stays_in_the_tab_by_choice_only(open_page: Open) -> None:
    with open_page(fleet(1), signs_in=False) as page:
        page.get_by_label("Key").fill(KEY)
        page.get_by_label("Remember it in this tab").check()
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#fleet")).to_be_visible()
        page.reload()
        expect(page.locator("#fleet")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        assert page.evaluate("sessionStorage.length") == 0

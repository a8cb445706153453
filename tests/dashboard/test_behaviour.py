"""What the dashboard does: signs in, follows, steers, checks, and believes nobody."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from fakes.console.console_scenes import NOW, SPEND, fleet
from fakes.console.server import KEY
from tests.dashboard.page_waits import Open, two_more_looks, until

pytestmark = pytest.mark.browser

HOSTILE = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\"><svg onload=document.title='owned'>",
    "javascript:document.title='owned'",
    "{{constructor.constructor('document.title=1')()}}",
    "</td></table><iframe src=//evil.example>",
    "=cmd|' /C calc'!A0",
    "\u202egnp.exe\u0000\u001b[31m",
    "' autofocus onfocus=document.title='owned' x='",
    "<style>*{display:none}</style>",
    "a" * 600,
]


def test_a_bad_key_is_told_and_shows_nothing(open_page: Open) -> None:
    with open_page(fleet(1), signs_in=False) as page:
        page.get_by_label("Key").fill("blk.wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("was all of it pasted?")
        expect(page.locator("#fleet")).to_be_hidden()


def test_the_key_is_in_memory_only_and_gone_after_signing_out(open_page: Open) -> None:
    with open_page(fleet(1)) as page:
        kept = page.evaluate(
            "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie,"
            " location.href, document.documentElement.outerHTML])"
        )
        assert KEY not in kept
        assert page.get_by_label("Key").input_value() == ""
        page.get_by_role("button", name="Sign out").click()
        expect(page.locator("#fleet")).to_be_hidden()
        expect(page.locator("#group")).to_be_empty()


def test_what_changes_in_the_fleet_appears_without_a_reload(open_page: Open) -> None:
    console = fleet(2)
    with open_page(console) as page:
        expect(page.locator(".answer").first).to_contain_text("Healthy")
        console.status["groups"][0] |= {"health": "bad", "health_reasons": ["No worker is ready."]}
        console.workers[7][0]["state"] = "error"
        console.events.insert(
            0, console.events[0] | {"event_id": "new", "message": "Replaced the failed one."}
        )
        expect(page.locator(".answer").first).to_contain_text("TGI-Llama3: No worker is ready.")
        expect(page.locator(".decisions li").first).to_contain_text("Replaced the failed one.")
        expect(page.locator("td .state.error")).to_have_text("error")


def test_what_caches_held_shows_where_workers_tell_it(open_page: Open) -> None:
    console = fleet(2)
    with open_page(console) as page:
        console.status["groups"][0]["cache"] = {"hit_share": 0.37, "spared_share": 0.21}
        expect(page.locator("#group")).to_contain_text(re.compile(r"Cache\s*37\s?%"))
        expect(page.locator("#group")).to_contain_text("which spares 21")
        console.status["groups"][0]["cache"] = {"hit_share": None, "spared_share": None}
        expect(page.locator("#group")).not_to_contain_text("workers' caches")


def test_freeze_is_one_click_and_shows_for_everybody(open_page: Open) -> None:
    console = fleet(1)
    with open_page(console) as page:
        page.get_by_role("button", name="Freeze everything").click()
        expect(page.locator("#badges")).to_contain_text("frozen: nothing is rented, started")
        assert console.sent("POST", "/api/v0/freeze") == [{"frozen": True}]
        page.get_by_role("button", name="Unfreeze everything").click()
        expect(page.locator("#badges")).not_to_contain_text("frozen")


def test_unfreezing_asks_where_it_would_rent(open_page: Open) -> None:
    console = fleet(1)
    console.status["account"]["is_frozen"] = True
    start = {"action": "start", "instance_id": 21000001, "sentence": "3 requests wait."}
    plan = {
        "actions": [start],
        "refused": [],
        "notes": [],
        "caps": [],
        "once_usd": 0.0,
        "usd_per_hour_now": 0.1,
        "usd_per_hour_after": 0.5,
        "worst_first_hour_usd": 0.5,
    }
    console.answers["/api/v0/preview"] = {"plan": plan, "must_ask": True, "offers": None}
    with open_page(console) as page:
        page.get_by_role("button", name="Unfreeze everything").click()
        question = page.locator("#question")
        expect(question).to_contain_text("instance 21000001")
        question.get_by_role("button", name="Cancel").click()
        expect(page.locator("#badges")).to_contain_text("frozen")
        assert not console.sent("POST", "/api/v0/freeze")
        page.get_by_role("button", name="Unfreeze everything").click()
        question.get_by_role("button", name="Unfreeze", exact=True).click()
        expect(page.locator("#badges")).not_to_contain_text("frozen")
        assert console.sent("POST", "/api/v0/preview")[-1] == {"unfreeze": True}


def test_rollout_promote_and_pause_are_sent_as_the_command_sends_them(open_page: Open) -> None:
    console = fleet(2)
    console.answers |= {"/api/v0/rollout": {}, "/api/v0/promote": {}}
    with open_page(console) as page:
        page.get_by_label("Percent of the requests for autogroup 12").fill("25")
        page.get_by_role("button", name="Set %").nth(1).click()
        until(page, lambda: console.sent("POST", "/api/v0/rollout"))
        page.get_by_role("button", name="Promote").nth(1).click()
        question = page.locator("#question")
        expect(question).to_contain_text("It gets all requests")
        question.get_by_role("button", name="Cancel").click()
        assert console.sent("POST", "/api/v0/promote") == []
        page.get_by_role("button", name="Promote").nth(1).click()
        question.get_by_role("button", name="Promote").click()
        until(page, lambda: console.sent("POST", "/api/v0/promote"))
    assert console.sent("POST", "/api/v0/rollout") == [{"autogroup_id": 12, "percent": 25}]
    assert console.sent("POST", "/api/v0/promote") == [{"autogroup_id": 12}]


def test_what_the_days_cost_is_shown_with_deleted_groups_and_a_forecast(open_page: Open) -> None:
    with open_page(fleet(1)) as page:
        bill = page.locator("#bill")
        expect(bill).to_contain_text("$58.10 so far, about $93.00 by its end")
        expect(bill.locator("tbody tr")).to_contain_text("old (deleted)")
        expect(bill.locator("tbody tr")).to_contain_text("$0.300")


def test_a_refused_change_is_told_until_it_is_put_away(open_page: Open) -> None:
    console = fleet(1)
    console.refusals["/api/v0/promote"] = (400, "autogroup 11 has no ready worker")
    with open_page(console) as page:
        page.get_by_role("button", name="Promote").first.click()
        page.locator("#question").get_by_role("button", name="Promote").click()
        problem = page.locator("#problems li")
        expect(problem).to_contain_text("Promote: autogroup 11 has no ready worker")
        two_more_looks(page, console)
        expect(problem).to_be_visible()
        problem.get_by_role("button").click()
        expect(problem).to_have_count(0)


def test_changes_of_state_are_shown_on_demand_and_changes_by_people_with_their_values(
    open_page: Open,
) -> None:
    console = fleet(1)
    console.events.insert(
        0, console.events[0] | {"kind": "state", "message": "21000000: ready -> draining"}
    )
    console.events[-1]["facts"] = {"before": {"min_load": 1}, "after": {"min_load": 2}}
    with open_page(console) as page:
        expect(page.locator(".decisions")).to_contain_text("min_load 1 → 2")
        expect(page.locator(".decisions")).not_to_contain_text("ready -> draining")
        page.get_by_label("also every change of state").check()
        expect(page.locator(".decisions")).to_contain_text("ready -> draining")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_is_text_and_nothing_else(text: str, open_page: Open) -> None:
    console = fleet(3, name=text)
    console.workers[7][0] |= {"error": text, "gpu_name": text, "state": text, "status": text}
    console.events[0] |= {"message": text, "event_id": text}
    console.events[0]["facts"]["reason"]["beaten"] = [text]
    for row in console.status["groups"][0]["autogroups"]:
        row["template_hash"] = text
    console.answers["/api/v0/compare"]["rows"][0] |= {"verdict": text, "gpu_types": [text]}
    console.series["values"][f"capacity:{text}"] = [100.0] * len(console.series["t"])
    console.status["account"]["inventory"] |= {"state": "unknown", "problem": text}
    console.status["groups"][0]["health_reasons"] = [text]
    console.answers["/api/v0/spend"] = SPEND | {"rows": [{**SPEND["rows"][0], "day": text}]}
    with open_page(console, width=390, height=844) as page:
        expect(page.locator(".decisions li").first).to_be_visible()
        page.locator(".u-wrap").first.wait_for()
        page.locator(".head").get_by_role("button", name="Edit").click()
        expect(page.locator("#dialog")).to_be_visible()
        assert page.title() == "Ballast"
        assert page.locator("main script, main iframe, main style, main img, main svg").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert not re.search("[\u202a-\u202e\u0000\u001b]", page.locator("body").inner_text())


def test_a_dead_server_is_told_and_the_last_picture_stays(open_page: Open) -> None:
    console = fleet(1)
    with open_page(console) as page:
        expect(page.locator(".answer").first).to_contain_text("Healthy")
        console.refusals["/api/v0/status"] = (503, "the database throttles")
        expect(page.locator("#freshness")).to_contain_text("the database throttles")
        # The picture stays, grey; what is judged healthy now nobody knows.
        expect(page.locator(".answer").first).to_contain_text("Not known for")
        expect(page.locator(".answer").nth(1)).to_contain_text("an hour")


def test_a_silent_scaler_and_an_unknown_inventory_are_trouble(open_page: Open) -> None:
    console = fleet(1)
    console.status["account"]["scaler"]["last_round_at"] = NOW - 600
    console.status["account"]["inventory"] |= {"state": "unknown", "problem": "HTTP 500"}
    with open_page(console) as page:
        expect(page.locator(".answer").first).to_contain_text("Trouble")
        expect(page.locator(".answer").first).to_contain_text("silent for 10 minutes")
        expect(page.locator(".answer").first).to_contain_text("not trusted (HTTP 500)")


def test_five_hundred_workers_are_sorted_and_shown_on_demand(open_page: Open) -> None:
    with open_page(fleet(500)) as page:
        rows = page.locator("table", has_text="500 workers").locator("tbody tr")
        expect(rows).to_have_count(50)
        page.get_by_role("button", name="Show all 500").click()
        expect(rows).to_have_count(500)
        page.get_by_role("button", name="$/h").click()
        page.get_by_role("button", name="$/h").click()
        prices = [
            float(text.strip("$")) for text in rows.locator("td:nth-child(8)").all_inner_texts()
        ]
        assert prices == sorted(prices, reverse=True)


def test_it_works_by_keyboard_and_keeps_the_focus_over_updates(open_page: Open) -> None:
    console = fleet(2)
    with open_page(console, signs_in=False) as page:
        page.get_by_label("Key").focus()
        page.keyboard.type(KEY)
        page.keyboard.press("Enter")
        page.locator("#fleet").wait_for()
        sort = page.get_by_role("button", name="observed")
        sort.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="observed ▴")).to_be_focused()
        two_more_looks(page, console)
        expect(page.get_by_role("button", name="observed ▴")).to_be_focused()


def test_a_slow_click_is_not_lost_to_an_update(open_page: Open) -> None:
    console = fleet(2)
    console.answers["/api/v0/promote"] = {}
    with open_page(console) as page:
        page.get_by_role("button", name="Promote").nth(1).hover()
        page.mouse.down()
        two_more_looks(page, console)
        page.mouse.up()
        expect(page.locator("#question")).to_contain_text("Promote autogroup 12?")


def test_typing_is_not_disturbed_by_updates(open_page: Open) -> None:
    console = fleet(2)
    with open_page(console) as page:
        percent = page.get_by_label("Percent of the requests for autogroup 12")
        percent.fill("33")
        two_more_looks(page, console)
        expect(percent).to_have_value("33")


def test_the_theme_can_be_changed(open_page: Open) -> None:
    with open_page(fleet(1)) as page:
        before = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.get_by_role("button", name="Theme: dark or light").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
        page.get_by_role("button", name="Theme: dark or light").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == before


def test_the_pages_own_check_finds_a_planted_script(open_page: Open) -> None:
    """A canary of the corpus test: were a name inserted as markup, its script would be seen."""
    with open_page(fleet(1)) as page:
        expect(page.locator(".answer").first).to_be_visible()
        page.evaluate(
            "document.querySelector('.answer p').innerHTML = '<svg></svg><iframe></iframe>'"
        )
        assert page.locator("main script, main iframe, main style, main img, main svg").count() == 2

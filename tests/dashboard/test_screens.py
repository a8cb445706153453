"""What the dashboard looks like: empty, one worker, many, 30 days, small, dark."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from playwright.sync_api import Page, expect

from fakes.console.console_scenes import empty, fleet
from fakes.console.server import Console

pytestmark = pytest.mark.browser
Open = Callable[..., AbstractContextManager[Page]]
Shoot = Callable[[Page, str], None]

SCENES: dict[str, tuple[Callable[[], Console], int, int, bool]] = {
    "empty": (empty, 1280, 900, False),
    "one-worker": (lambda: fleet(1), 1280, 900, False),
    "busy": (lambda: fleet(12), 1280, 900, False),
    "busy-dark": (lambda: fleet(12), 1280, 900, True),
    "busy-phone": (lambda: fleet(12), 390, 844, False),
    "busy-phone-dark": (lambda: fleet(12), 390, 844, True),
    "500-workers": (lambda: fleet(500), 1280, 900, False),
    "30-days": (lambda: fleet(12, minutes=30 * 1440), 1280, 900, False),
}


@pytest.mark.parametrize("name", SCENES)
def test_a_scene_fits_its_screen_and_answers_the_three_questions(
    name: str, open_page: Open, shoot: Shoot
) -> None:
    make, width, height, dark = SCENES[name]
    with open_page(make(), width=width, height=height, dark=dark) as page:
        if name == "30-days":
            page.get_by_role("button", name="30 d").click()
        expect(page.locator(".answer")).to_have_count(3)
        if name != "empty":
            page.locator(".u-wrap").first.wait_for()
            expect(page.locator(".decisions li").first).to_be_visible()
            expect(page.locator("td", has_text="210000").first).to_be_visible()
        shoot(page, name)
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, f"the page is {overflow} px wider than the screen"

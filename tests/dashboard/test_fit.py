"""Forty groups, two hundred workers and names of 128 letters fit a desk's screen and a phone's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from fakes.console.console_scenes import fleet
from fakes.console.server import Console
from tests.dashboard.page_waits import Open

pytestmark = pytest.mark.browser
Shoot = Callable[[Page, str], None]

TALLEST_BOX = {1440: 0.45, 390: 0.75}
"""Of the screen's height: the answer to "is it healthy?" leaves room for what follows."""


def crowd() -> Console:
    """The group that is shown has 200 workers; every fifth group is bad, with a reason."""
    console = fleet(200, name="n" * 128)
    [group] = console.status["groups"]
    others = [
        group
        | {
            "id": 100 + i,
            "endpoint_name": f"{i:02d}-" + "m" * 125,
            "health": "ok" if i % 5 else "bad",
            "health_reasons": [] if i % 5 else [f"reason {i}: no worker is ready"],
        }
        for i in range(39)
    ]
    console.status["groups"] = [group, *others]
    return console


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_a_crowd_fits(width: int, height: int, open_page: Open, shoot: Shoot) -> None:
    with open_page(crowd(), width=width, height=height) as page:
        expect(page.locator("td", has_text="210000").first).to_be_visible()
        shoot(page, f"crowd-{width}")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        boxes = page.locator(".answer").evaluate_all(
            "all => all.map(one => one.getBoundingClientRect())"
            ".map(box => [box.left, box.right, box.height])"
        )
        assert len(boxes) == 3
        for left, right, tall in boxes:
            assert left >= 0
            assert right <= width
            assert tall <= TALLEST_BOX[width] * height, tall
        reasons = page.locator(".answer").first
        for i in (0, 5):  # one long name does not hide the next group's trouble
            expect(reasons.get_by_text(f"reason {i}: no worker")).to_be_in_viewport(ratio=1)
        cut = page.locator("#groups .tab").evaluate_all(
            "all => all.filter(one => one.getBoundingClientRect().width > innerWidth).length"
        )
        assert cut == 0
        page.get_by_label("Find a group").fill("07-")
        expect(page.locator("#groups .tab:not(.new)")).to_have_count(1)

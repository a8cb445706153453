"""Write docs/images/dashboard.png: the dashboard at the end of the demo, opened before it began.

.venv/bin/python -m docs.pictures

It takes three minutes and needs chromium (apt-get install chromium). The same scene in the dark and
on a phone is left under out/screenshots, to look at.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page, sync_playwright
from rich.console import Console

from lab.local.demo.demo import TIME_SCALE, Demo, add_arguments
from lab.local.system.local_system import LocalSystem, Options, local_system

CHROMIUM = "/usr/bin/chromium"
HERE = Path(__file__).parent
TARGET = HERE / "images" / "dashboard.png"
OTHERS = HERE.parent / "out" / "screenshots"
SIZES = {"desk": (1280, 1060), "phone": (390, 844)}
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SETTLES_MS = 3_000  # more than between two looks of the page at the fleet


def main() -> None:
    """Run the demo with the page open, and take its pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    options = Options(time_scale=TIME_SCALE, round_interval_s=1.0)
    with local_system(options, print) as system, dashboard(system) as page:
        Demo(system, Console(), parser.parse_args()).run()
        photograph(page)


@contextmanager
def dashboard(system: LocalSystem) -> Iterator[Page]:
    """The page, signed in."""
    with sync_playwright() as playwright:
        # Chromium's own sandbox cannot start as root in a container; only our own page is shown.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(locale="en-GB", timezone_id="UTC")
        page.goto(f"{system.url}/dashboard")
        page.get_by_label("Key").fill(system.account_key)
        page.get_by_role("button", name="Sign in").click()
        page.locator("#fleet").wait_for()
        yield page
        browser.close()


def photograph(page: Page) -> None:
    """Every size in both themes; what a desk shows by day is in the documents."""
    OTHERS.mkdir(parents=True, exist_ok=True)
    for size, (width, height) in SIZES.items():
        for theme in THEMES:
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme=theme)
            page.wait_for_timeout(SETTLES_MS)
            page.screenshot(path=OTHERS / f"demo-{size}-{theme}.png", full_page=True)
            if (size, theme) == ("desk", "light"):
                page.screenshot(path=TARGET)


if __name__ == "__main__":
    main()

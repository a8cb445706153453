"""Write docs/images/dashboard.png: run the demo, and photograph the dashboard as it ends.

.venv/bin/python -m docs.pictures

It takes three minutes and needs chromium (apt-get install chromium). The same scene in the dark and
on a phone is left under out/screenshots, to look at.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from rich.console import Console

from devstack.demo import TIME_SCALE, Demo, add_arguments
from devstack.local_system import LocalSystem, Options, local_system

CHROMIUM = "/usr/bin/chromium"
HERE = Path(__file__).parent
TARGET = HERE / "images" / "dashboard.png"
OTHERS = HERE.parent / "out" / "screenshots"
SIZES = {"desk": (1280, 1000), "phone": (390, 844)}
SETTLES_MS = 4_000
"""Charts are drawn with the second look at the fleet."""


def main() -> None:
    """Run the demo and take its pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    options = Options(time_scale=TIME_SCALE, round_interval_s=1.0)
    with local_system(options, print) as system:
        Demo(system, Console(), parser.parse_args()).run()
        photograph(system)


def photograph(system: LocalSystem) -> None:
    """Every size in both themes; the first is the one that the documents show."""
    OTHERS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        # Chromium's own sandbox cannot start as root in a container; only our own page is shown.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for size in SIZES:
            for theme in ("light", "dark"):
                _shoot(browser, system, size, theme)
        browser.close()


def _shoot(browser: Browser, system: LocalSystem, size: str, theme: str) -> None:
    width, height = SIZES[size]
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        locale="en-GB",
        timezone_id="UTC",
    )
    page.goto(f"{system.url}/dashboard")
    page.get_by_label("Key").fill(system.account_key)
    page.get_by_role("button", name="Show the fleet").click()
    page.locator(".u-wrap").first.wait_for()
    page.wait_for_timeout(SETTLES_MS)
    page.screenshot(path=OTHERS / f"demo-{size}-{theme}.png", full_page=True)
    if (size, theme) == ("desk", "light"):
        page.screenshot(path=TARGET)
    page.close()


if __name__ == "__main__":
    main()

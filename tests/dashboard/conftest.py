"""A real headless Chromium, and a page of the dashboard over a fake console."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from fakes.console.server import KEY, Console, serve

CHROMIUM = "/usr/bin/chromium"
SHOTS = Path(__file__).parent.parent.parent / "out" / "screenshots"

Open = Callable[..., AbstractContextManager[Page]]


expect.set_options(timeout=60_000)  # other tests share the machine


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Tests run as root in containers, where Chromium's own sandbox cannot start.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Open:
    """Open the dashboard over a console, signed in; fails on any error or foreign request."""

    @contextmanager
    def open_it(
        console: Console,
        *,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        signs_in: bool = True,
    ) -> Iterator[Page]:
        problems: list[str] = []
        with serve(console) as url:
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                locale="en-GB",
                timezone_id="UTC",
            )
            page.set_default_timeout(60_000)
            page.on("pageerror", lambda error: problems.append(f"script error: {error}"))
            page.on("request", lambda request: _check_host(request.url, url, problems))
            page.on(
                "console",
                lambda said: (
                    problems.append(said.text) if "Content Security" in said.text else None
                ),
            )
            page.goto(f"{url}/dashboard")
            if signs_in:
                page.get_by_label("Key").fill(KEY)
                page.get_by_role("button", name="Sign in").click()
                page.locator("#fleet").wait_for()
            yield page
            page.close()
        assert problems == []

    return open_it


@pytest.fixture
def shoot() -> Callable[[Page, str], None]:
    """Keep a screenshot of the whole page under out/screenshots, which git ignores."""

    def keep(page: Page, name: str) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / f"{name}.png", full_page=True)

    return keep


def _check_host(requested: str, url: str, problems: list[str]) -> None:
    if not requested.startswith((f"{url}/", "data:")):
        problems.append(f"request to another host: {requested}")

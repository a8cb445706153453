"""Waiting for what the page does, and a plan for it to show."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from playwright.sync_api import Page

from fakes.console.server import Console

Open = Callable[..., AbstractContextManager[Page]]

RENT = {
    "action": "rent",
    "offer": {"gpu_type": "1x RTX 4090", "machine_id": 5, "usd_per_hour": 0.41},
    "sentence": "A test of this hardware.",
}
PLAN = {
    "actions": [RENT], "refused": [RENT | {"cap": "cap_hour"}], "notes": [],
    "usd_per_hour_now": 0.1, "usd_per_hour_after": 0.51, "once_usd": 0.2,
    "worst_first_hour_usd": 0.71,
}  # fmt: skip

PATIENCE_S = 60.0
"""The browser shares its machine with other tests; conftest.py lets `expect` wait as long."""


def until(page: Page, is_so: Callable[[], object]) -> None:
    """Let the page go on until a condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "it never came"
        page.wait_for_timeout(50)


def two_more_looks(page: Page, console: Console) -> None:
    """Wait until the page has asked for the status twice more."""
    seen = len(console.sent("GET", "/api/v0/status"))
    until(page, lambda: len(console.sent("GET", "/api/v0/status")) >= seen + 3)

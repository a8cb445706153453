"""What somebody else changes between a look and a deed is shown, and not overwritten."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.console.server import Console
from tests.ballast.cli.conftest import Ballast

GROUP, CAPS = "/api/v0/endptjobs/7/", "/api/v0/account/"


def between(console: Console, change: Callable[[], None]) -> threading.Thread:
    """Somebody changes something while the command is asking what its own change would cost."""
    console.delays_s["/api/v0/preview"] = 0.3

    def wait() -> None:
        while not console.sent("POST", "/api/v0/preview"):
            time.sleep(0.01)
        change()

    other = threading.Thread(target=wait)
    other.start()
    return other


@pytest.mark.parametrize(
    ("words", "path", "sent"),
    [
        (("update", "endpoint", "TGI-Llama3", "--max_workers", "9"), GROUP, {"max_workers": 9}),
        (("resume", "TGI-Llama3"), GROUP, {"endpoint_state": "active"}),
    ],
)
def test_a_row_that_somebody_else_changed_is_not_overwritten(
    ballast: Ballast, console: Console, words: tuple[str, ...], path: str, sent: dict[str, object]
) -> None:
    other = between(
        console, lambda: console.endpoints[7].update({"target_util": 0.5, "revision": 5})
    )
    refused = ballast(*words, "--yes")
    other.join()
    assert refused.code == 1
    assert "somebody else changed it meanwhile: target_util" in refused.err
    assert console.endpoints[7]["revision"] == 5  # nothing of ours
    console.delays_s.clear()
    assert ballast(*words, "--yes").code == 0
    assert console.sent("PUT", path)[-1] == {**sent, "revision": 5}


def test_what_the_scaler_itself_wrote_is_no_change_of_somebody_else(
    ballast: Ballast, console: Console
) -> None:
    other = between(
        console, lambda: console.autogroups[11].update({"rollout_by": 3.0, "revision": 9})
    )
    assert ballast("update", "autogroup", "11", "--weight", "2", "--yes").code == 0
    other.join()
    assert console.sent("PUT", "/api/v0/autojobs/11/")[-1] == {"weight": 2.0, "revision": 9}


def test_caps_that_somebody_else_changed_are_not_overwritten(
    ballast: Ballast, console: Console
) -> None:
    caps = console.status["account"]["caps"]
    other = between(console, lambda: caps.update(usd_per_hour=2.0))
    refused = ballast("update", "account", "--max_usd_per_day", "60", "--yes")
    other.join()
    assert refused.code == 1
    assert "max_usd_per_hour 5.0 → 2.0" in refused.err
    assert caps["usd_per_day"] == 50.0
    assert ballast("update", "account", "--max_usd_per_day", "60", "--yes").code == 0
    assert console.sent("PUT", CAPS)[-1]["expected"]["max_usd_per_hour"] == 2.0
    assert caps["usd_per_day"] == 60.0


def test_a_file_is_compared_anew_with_what_somebody_else_changed(
    ballast: Ballast, console: Console, tmp_path: Path
) -> None:
    path = tmp_path / "group.yaml"
    path.write_text("endpoint_name: TGI-Llama3\nmax_usd_per_hour: 2\n", encoding="utf-8")
    other = between(console, lambda: console.endpoints[7].update(revision=5))
    refused = ballast("apply", "-f", str(path), "--yes")
    other.join()
    assert refused.code == 1
    assert "0 of 1 change made" in refused.err
    assert "run it again" in refused.err
    assert ballast("apply", "-f", str(path), "--yes").code == 0

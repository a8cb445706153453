"""Interruptible machines that say nothing more: what their rows in a listing tell of it."""

from __future__ import annotations

import pytest

from chalicelib.core.model.worker import WorkerState
from tests.core.bid_scenes import DOWN, NOW, UP
from tests.core.test_interruptible import record, state_after, worker


@pytest.mark.parametrize(
    ("silent_s", "word", "after"),
    [
        (25, "paused", DOWN),  # also where most are silent at once, and none is suspected
        (25, "a word of tomorrow", DOWN),
        (25, "running", UP),
        (25, None, UP),
        (5, "paused", UP),
    ],
)
def test_a_silent_machine_was_outbid_if_any_word_but_running_is_told(
    silent_s: float, word: str | None, after: WorkerState
) -> None:
    row = worker(reported_at=NOW - silent_s)
    assert row.state is UP
    assert state_after(row, record("running", word)) is after

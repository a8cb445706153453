"""Lines that no logger writes: a megabyte without an end, progress bars, a flood of short ones."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from workers.openai.server import BACK_END
from workers.pyworker.model.model_log import (
    LINES_AT_ONCE,
    LogTail,
    cause_in,
    follow_lines,
    shown,
    sign_of,
)

MARKERS = BACK_END.log_markers
FULL = "OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize(
    "line",
    [
        FULL,
        FULL + "\r",  # of a server that ends lines as Windows does
        "Loading:  5%|#\rLoading: 80%|########\r" + FULL,
        "(EngineCore pid=7) ERROR 11-29 02:29:25 [core.py:274] " + FULL,
        FULL + " " + "\0" * 2**20,
    ],
)
def test_the_cause_is_what_a_terminal_shows(line: str) -> None:
    assert cause_in(["Loading", line]).rstrip("\0 ") == FULL


@pytest.mark.parametrize("unit", ["a", "a.", "Error", "1", " ", "\x1b[1m", "(a", "A1 ", "é", "\0"])
def test_a_line_of_a_megabyte_is_data_and_costs_nothing(unit: str) -> None:
    """64 KB of one word took 30 s of the loop: the square of its length."""
    line = unit * 2**20
    assert cause_in([line, FULL, line]) == FULL
    assert sign_of(shown(line), MARKERS) is None


async def test_many_short_lines_leave_the_loop_to_others(tmp_path: Path) -> None:
    (path := tmp_path / "model.log").write_bytes(b"x\n" * 20_000)
    n_read, most_at_once, n_turns = 0, 0, 0

    async def others() -> None:
        nonlocal n_turns, most_at_once
        while n_read < 20_000:
            before = n_read
            await asyncio.sleep(0)
            most_at_once = max(most_at_once, n_read - before)
            n_turns += 1

    running = asyncio.create_task(others())
    async for _line in follow_lines(LogTail(path)):
        n_read += 1
        if n_read == 20_000:
            break
    await running
    assert most_at_once <= 2 * LINES_AT_ONCE

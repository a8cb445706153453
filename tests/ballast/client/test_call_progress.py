"""A call's decisions, in virtual time."""

from __future__ import annotations

import random

import pytest

from ballast.client.call_progress import MAX_SILENCE_S, CallProgress
from ballast.client.errors import ControlPlaneSilentError
from ballast.client.route_reply import Waiting

REFUSED = "http://127.0.0.1:1 does not answer (ConnectionError)"


def ask_until(progress: CallProgress, ends_at: float, now: float = 0.0) -> float:
    """A control plane that never answers, asked in the client's own rhythm."""
    while now < ends_at:
        now += progress.take_silence(REFUSED, now, now)
    return now


def test_a_control_plane_that_never_answers_is_told_within_half_a_minute() -> None:
    progress = CallProgress(600.0, 0.0, random.Random(1))
    with pytest.raises(ControlPlaneSilentError, match=r"127\.0\.0\.1:1.*BALLAST_URL"):
        ask_until(progress, 2 * MAX_SILENCE_S)


def test_an_answer_in_between_ends_the_silence() -> None:
    progress = CallProgress(600.0, 0.0, random.Random(1))
    now = ask_until(progress, MAX_SILENCE_S - 10)
    now += progress.take_waiting(Waiting(request_idx=7, status="loading"), now, now)
    assert ask_until(progress, now + MAX_SILENCE_S - 10, now) > MAX_SILENCE_S
    assert progress.request_idx == 7
